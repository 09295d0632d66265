"""Photos of another origin in several forms: their pooled statistics fit pictures that none of them resembles.

Cameras, resizing and JPEG differ between origins, by blur and sharpness above all. A mean over forms that differ in
these is nearer to an unknown origin than the photos as they are.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cipherlens.attacks.base import Images
from cipherlens.attacks.covariance.statistics import SPAN, BlockStatistics, block_statistics

_BLUR, _SHARP = 0.7, 1.0
"""Standard deviations in pixels of the blur, and of what sharpening takes away. Chosen by hand."""
_SCALES = (0.75, 0.5)
"""Factors by which photos are reduced. Chosen by hand."""
_SHARPENED = 0.6
"""Factor of the form that is reduced and then sharpened. Chosen by hand."""


def vary(images: Images, block: int) -> list[Images]:
    """Photos (N, C, H, W) in [0, 1] as they are, reduced, blurred, sharpened; sides are whole blocks.

    Reduced forms of photos that are too small for them are left out.
    """
    forms = [images, _blur(images, _BLUR), _sharpen(images)]
    forms += [reduce_images(images, scale) for scale in _SCALES]
    forms.append(_sharpen(reduce_images(images, _SHARPENED)))
    cut = [form[..., : form.shape[2] // block * block, : form.shape[3] // block * block] for form in forms]
    return [form for form in cut if min(form.shape[2:]) >= SPAN * block]


def pool(forms: Sequence[Images], block: int, joint: bool) -> BlockStatistics:
    """The mean of the forms' statistics, each covariance divided by its trace."""
    found = [block_statistics(form, block, joint) for form in forms]
    traces = [float(np.trace(one.covariance)) for one in found]
    shapes = [one.covariance / trace for one, trace in zip(found, traces, strict=True)]
    return BlockStatistics(
        block=block,
        mean=np.mean([one.mean for one in found], axis=0),
        covariance=np.mean(shapes, axis=0) * float(np.mean(traces)),
        brightness=float(np.mean([one.brightness for one in found])),
        count=sum(one.count for one in found),
    )


def _blur(images: Images, deviation: float) -> Images:
    from scipy.ndimage import gaussian_filter

    blurred: NDArray[np.float32] = gaussian_filter(images, (0, 0, deviation, deviation), mode="nearest")
    return blurred


def _sharpen(images: Images) -> Images:
    return np.asarray(np.clip(2 * images - _blur(images, _SHARP), 0, 1), np.float32)


def reduce_images(images: Images, scale: float) -> Images:
    """Reduced by interpolation, after a blur that keeps fine detail from folding over."""
    from scipy.ndimage import zoom

    smooth = _blur(images, 0.5 * np.sqrt(1 / scale**2 - 1))
    reduced: NDArray[np.float32] = zoom(smooth, (1, 1, scale, scale), order=1, mode="nearest", grid_mode=True)
    return reduced
