"""Scores of a reconstruction against the truth, per image. Clipping happens here, not in attacks."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.evaluation.perceptual import perceptual_distance

Images = NDArray[np.float32]

PACKAGES = ("torch", "torchmetrics.functional.image")
"""What scoring imports, which takes seconds."""
_BATCH_VALUES = 4_000_000
"""Values per batch of torchmetrics: a limit on memory, set by hand."""
_MOST_COMPARED = 200
"""Maximum originals among which a reconstruction is identified. Set by hand."""
_LEAST_EXPOSED = 3
"""Minimum images that count as the most exposed. Set by hand."""
_PARTS = 4
"""Parts of a side by which one image alone is judged. Set by hand."""
_SMALLEST_PART = 22
"""Minimum side of a part: twice the window of SSIM. Set by hand."""
_SMALLEST_OF_FIVE = 11 * 2**4
"""Minimum side for MS-SSIM: its window of 11 must fit at the fifth scale, a sixteenth of the side."""


@dataclass(frozen=True)
class Scores:
    """Per-image scores, each (N,) float64: SSIM, PSNR in dB, share of exactly equal values.

    ``ms_ssim`` is None for images that are too small. ``st_lpips``, of the first images only, is None where its
    weights are not installed (docs/attacks.md).
    """

    ssim: NDArray[np.float64]
    psnr: NDArray[np.float64]
    exact: NDArray[np.float64]
    ms_ssim: NDArray[np.float64] | None = None
    st_lpips: NDArray[np.float64] | None = None


def score(reconstruction: Images, plain: Images) -> Scores:
    """Compare (N, C, H, W) images in [0, 1]; the reconstruction is clipped, and NaN counts as 0.

    SSIM is Wang et al. 2004 (Gaussian window of 11, sigma 1.5), averaged over positions and channels. PSNR of an
    exact image is capped at 100 dB. A value is exact if it rounds to the same of 256 levels.
    """
    guess = _clip(reconstruction)
    error = np.mean((guess - plain) ** 2, axis=(1, 2, 3), dtype=np.float64)
    psnr = -10 * np.log10(np.maximum(error, 1e-10))
    exact = np.mean(np.rint(guess * 255) == np.rint(plain * 255), axis=(1, 2, 3))
    return Scores(
        structural_similarity(guess, plain),
        psnr,
        exact,
        multiscale_similarity(guess, plain),
        perceptual_distance(guess, plain),
    )


def mean_similarity(reconstruction: Images, plain: Images) -> float:
    """Mean SSIM of (N, C, H, W) images, clipped as in :func:`score`."""
    return float(structural_similarity(_clip(reconstruction), plain).mean())


def _clip(reconstruction: Images) -> Images:
    return np.clip(np.nan_to_num(reconstruction, nan=0.0), 0.0, 1.0).astype(np.float32)


def structural_similarity(first: Images, second: Images) -> NDArray[np.float64]:
    """SSIM per image, (N,), by torchmetrics, in batches that fit in memory."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    return _compare(structural_similarity_index_measure, first, second)


def multiscale_similarity(first: Images, second: Images) -> NDArray[np.float64] | None:
    """MS-SSIM (Wang, Simoncelli and Bovik 2003; five scales) per image, (N,), by torchmetrics.

    None where a side is below 176 pixels: the window of 11 does not fit into the smallest scale, a sixteenth.
    """
    if min(first.shape[2:]) < _SMALLEST_OF_FIVE:
        return None
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

    return _compare(multiscale_structural_similarity_index_measure, first, second)


def _compare(measure: Callable[..., Any], first: Images, second: Images) -> NDArray[np.float64]:
    import torch

    step = max(1, _BATCH_VALUES // max(1, int(np.prod(first.shape[1:]))))
    parts = [
        measure(
            torch.from_numpy(np.ascontiguousarray(first[start : start + step])),
            torch.from_numpy(np.ascontiguousarray(second[start : start + step])),
            data_range=1.0,
            reduction="none",
        ).reshape(-1)
        for start in range(0, len(first), step)
    ]
    return np.asarray(torch.cat(parts).numpy(), np.float64)


def reidentify(reconstruction: Images, plain: Images) -> float | None:
    """Share of reconstructions (N, C, H, W) that correlate most with their own original among all N.

    Correlation of the values ignores brightness and contrast. Chance is 1 / N. At most 200 images are compared; the
    result is None for a single one.
    """
    count = min(len(plain), _MOST_COMPARED)
    if count < 2:
        return None
    rows = [np.nan_to_num(images[:count]).reshape(count, -1) for images in (reconstruction, plain)]
    centred = [part - part.mean(axis=1, keepdims=True) for part in rows]
    found, known = (part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-6) for part in centred)
    likeness = found @ known.T
    own = likeness.diagonal()
    # A tie with another original does not count as found.
    better = (likeness >= own[:, None]).sum(axis=1)
    return float((better == 1).mean())


def mean_and_interval(values: NDArray[np.float64]) -> tuple[float, tuple[float, float]]:
    """Mean and its 95 % interval over images (normal approximation; the mean itself for a single image)."""
    mean = float(values.mean())
    half = 1.96 * float(values.std(ddof=1)) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return mean, (mean - half, mean + half)


def find_most_exposed(values: NDArray[np.float64]) -> NDArray[np.intp]:
    """Places of the images read best, best first: 1 %, but at least three. A mean over all hides them.

    Aerni, Zhang and Tramer (arXiv 2404.17399): what matters is the most exposed record.
    """
    return np.argsort(-values, kind="stable")[: max(_LEAST_EXPOSED, len(values) // 100)]


def interval_within(mean: float, reconstruction: Images, plain: Images) -> tuple[float, float]:
    """95 % interval of the SSIM of one image (1, C, H, W), from the spread over its parts; all for a small image.

    It says how sure the score of this image is, and nothing about other images.
    """
    height, width = (min(_PARTS, side // _SMALLEST_PART) for side in plain.shape[2:])
    if min(height, width) < 2:
        return -1.0, 1.0
    parts = [_cut(images, height, width) for images in (_clip(reconstruction), plain)]
    _, (low, high) = mean_and_interval(structural_similarity(*parts))
    half = (high - low) / 2
    return mean - half, mean + half


def _cut(image: Images, rows: int, columns: int) -> Images:
    """The parts (rows * columns, C, h, w) of an image (1, C, H, W), without what is left over at the far edges."""
    _, channels, height, width = image.shape
    h, w = height // rows, width // columns
    grid = image[0, :, : rows * h, : columns * w].reshape(channels, rows, h, columns, w)
    return np.ascontiguousarray(grid.transpose(1, 3, 0, 2, 4).reshape(-1, channels, h, w))
