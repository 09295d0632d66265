"""A prior for the covariance attack that needs no images: a parametric autocovariance of natural images."""

import numpy as np
from numpy.typing import NDArray

from cipherlens.attacks.covariance.statistics import SPAN, BlockStatistics
from cipherlens.errors import UsageError

Floats = NDArray[np.float64]
_MEAN = 0.45
"""Mean pixel of natural images, in units of [0, 1]. Set by hand."""
_VARIANCE = 0.06
"""Variance of the pixels of natural images, in the same units. Set by hand."""
_BRIGHTNESS = -0.06
"""Mean log(0.99 quantile) of photos: their brightest pixels are nearly white."""
_COUNT = 10**9
"""Stands for unlimited blocks, so that whitening keeps every direction."""
_TORUS = 1024
"""Side in pixels of the torus on which spectra are sampled, larger than any neighbourhood. Set by hand."""
_LUMA = (3.3, 1 / 600, 1.0)
"""(exponent, lowest frequency, variance) of the brightness signal, chosen as _CHROMA."""
_CHROMA = (4.2, 1 / 300, 0.2)
"""The same for colour differences; both were chosen on 200 photos of 224 pixels and 1,000 of 32."""
_WHOLE = (2.4, 0.01, 1.0)
"""The same for whole images of equal contrast, where regions count as much as edges. Set by hand."""
_NOISE = 1e-5
"""Independent variance of each pixel, as a share of _VARIANCE, for an invertible covariance. Set by hand."""


def parametric_statistics(block: int, channels: int, joint: bool = False) -> BlockStatistics:
    """Block statistics of typical natural images with ``channels`` channels, for blocks of ``block`` x ``block``.

    Power spectra fall as a power of the frequency, and are flat below one period per 600 pixels. Field (JOSA A
    4(12), 1987) describes the power laws of natural images. Exponents are larger here, because normalising blocks
    by their activity favours smooth ones. One brightness signal is common to all channels. Their differences are
    smoother and have a fifth of its variance. Raises UsageError for blocks under 2 pixels or no channel.
    """
    if block < 2 or channels < 1:
        raise UsageError(
            f"no image statistics for blocks of {block} in {channels} channels",
            hint="use blocks of 2 or more pixels a side and at least one channel",
        )
    luma, chroma = _covariance(block, *_LUMA), _covariance(block, *_CHROMA)
    common, apart = np.ones((channels, channels)), np.eye(channels) - 1 / channels
    both = np.einsum("piqj,cd->pciqdj", luma, common) + np.einsum("piqj,cd->pciqdj", chroma, apart)
    k = SPAN * SPAN * channels * block**2
    covariance = _VARIANCE * (both.reshape(k, k) + _NOISE * np.eye(k))
    mean = np.full((1, channels * block**2) if joint else (channels, block**2), _MEAN)
    return BlockStatistics(block, mean, covariance, _BRIGHTNESS, _COUNT)


def _covariance(block: int, exponent: float, lowest: float, variance: float) -> Floats:
    """(S*S, n, S*S, n) covariance of the pixels of S x S blocks."""
    at_distance = autocovariance(exponent, lowest, variance)
    # Pixels in the order (block row, block column, row, column).
    places = np.indices((SPAN, SPAN, block, block)).reshape(4, -1)
    y, x = places[0] * block + places[2], places[1] * block + places[3]
    covariance = at_distance[y[:, None] - y, x[:, None] - x]
    return np.asarray(covariance.reshape(SPAN * SPAN, block**2, SPAN * SPAN, block**2))


def correlate_pixels(height: int, width: int) -> NDArray[np.float32]:
    """Correlation (H * W, H * W) of the pixels of typical natural images, each image less its mean."""
    places = np.indices((height, width)).reshape(2, -1)
    across = places[:, :, None] - places[:, None]
    covariance = autocovariance(*_WHOLE)[across[0], across[1]]
    centred = covariance - covariance.mean(axis=0) - covariance.mean(axis=1)[:, None] + covariance.mean()
    scale = np.sqrt(np.diag(centred))
    correlation: NDArray[np.float32] = (centred / np.outer(scale, scale)).astype(np.float32)
    return correlation


def autocovariance(exponent: float, lowest: float, variance: float) -> Floats:
    """Covariance at every displacement on a torus, for the power spectrum (f^2 + lowest^2)^(-exponent / 2)."""
    frequency = np.fft.fftfreq(_TORUS)
    squared = frequency[:, None] ** 2 + frequency[None] ** 2
    at_distance = np.fft.ifft2((squared + lowest**2) ** (-exponent / 2)).real
    return np.asarray(at_distance * (variance / at_distance[0, 0]))
