"""Natural image statistics in NumPy: power-law noise fields and layers of occluding leaves.

The dead leaves model has opaque shapes with power-law sizes that occlude one another. It has the sharp edges,
heavy-tailed gradients and scale invariance of natural images: Lee, Mumford and Huang, "Occlusion models for natural
images" (IJCV 2001). Gaussian fields with a power spectrum of about 1/f^2 are the texture inside the leaves.
"""

from dataclasses import dataclass

import numpy as np

from cipherlens.data.synthetic.shapes import Floats

PAINT_CHANNELS = 8  # red, green, blue, shading along x and y, amplitudes of the three noise fields
_LEAVES_AT_ONCE = 16
"""Leaves that one matrix product paints; ``count_leaves`` gives multiples of it. Chosen by hand."""


@dataclass(frozen=True)
class Layers:
    """K leaves for each of N images, frontmost first.

    ``conics`` (N, K, 2, 6) are two quadratic forms per leaf in (1, x, y, x^2, xy, y^2). The leaf is where both
    exceed 1/2; its edge is where they rise from 0 to 1. ``paint`` (N, K, 8): see ``PAINT_CHANNELS``.
    """

    conics: Floats
    paint: Floats


def pixel_grid(size: int) -> tuple[Floats, Floats]:
    """Pixel centres ``x`` (right) and ``y`` (down), each float32 (size * size,), over [-1, 1]."""
    centres = ((2 * np.arange(size) + 1) / size - 1).astype(np.float32)
    return np.tile(centres, size), np.repeat(centres, size)


def conic(center: Floats, angle: Floats, curvatures: tuple[Floats, Floats], steepness: Floats) -> Floats:
    """Coefficients (..., 6) of ``1/2 + steepness * (1 - s^2 * curvatures[0] - t^2 * curvatures[1])``.

    ``s`` and ``t`` are the coordinates about ``center`` (..., 2), rotated by ``angle`` (...). Two positive
    curvatures give an ellipse; a second one of zero gives an infinite band.
    """
    cos, sin, (first, second) = np.cos(angle), np.sin(angle), curvatures
    xx = first * cos**2 + second * sin**2
    xy = 2 * (first - second) * cos * sin
    yy = first * sin**2 + second * cos**2
    x, y = center[..., 0], center[..., 1]
    constant = 1 - (xx * x * x + xy * x * y + yy * y * y)
    form = np.stack([constant, 2 * xx * x + xy * y, 2 * yy * y + xy * x, -xx, -xy, -yy], axis=-1)
    form *= steepness[..., None]
    form[..., 0] += 0.5
    return form


def _monomials(x: Floats, y: Floats) -> Floats:
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y])


def cover_leaves(conics: Floats, monomials: Floats) -> Floats:
    """Coverage in [0, 1], (N, K, P), of the leaves with ``conics`` (N, K, 2, 6)."""
    coverage: Floats = conics[:, :, 0] @ monomials
    np.minimum(coverage, conics[:, :, 1] @ monomials, out=coverage)
    return np.clip(coverage, 0, 1, out=coverage)


def composite(layers: Layers, x: Floats, y: Floats, passed: Floats) -> Floats:
    """Visible paint (N, 8, P) of the leaves behind the layers in front of them.

    ``passed`` (N, P) is the transmittance of the layers in front. It is updated in place with that of these leaves.
    One matrix product paints sixteen leaves of every image.
    """
    monomials = _monomials(x, y)
    shown = np.zeros((len(passed), PAINT_CHANNELS, len(x)), np.float32)
    for start in range(0, layers.conics.shape[1], _LEAVES_AT_ONCE):
        group = slice(start, start + _LEAVES_AT_ONCE)
        weights = cover_leaves(layers.conics[:, group], monomials)
        for leaf in range(weights.shape[1]):
            weights[:, leaf] *= passed
            passed -= weights[:, leaf]
        shown += layers.paint[:, group].transpose(0, 2, 1) @ weights
    return shown


def noise_fields(white: Floats, size: int, slopes: Floats, angles: Floats, stretch: Floats) -> Floats:
    """Unit-variance Gaussian fields (N, F, size * size) with power spectra 1/f^(2 * slope).

    ``white`` (N, F, 2, size, size // 2 + 1) is standard normal. ``slopes`` (N, F) set the roughness of each field.
    Where ``stretch`` (N, F) exceeds 1, a field has a grain along ``angles`` (N, F). Wavelengths above half the
    image are damped, so that the periodicity of the fields is not visible.
    """
    fy = (np.fft.fftfreq(size) * size).astype(np.float32)[:, None]
    fx = np.arange(size // 2 + 1, dtype=np.float32)
    cos, sin = np.cos(angles)[..., None, None], np.sin(angles)[..., None, None]
    along, across = cos * fx + sin * fy, cos * fy - sin * fx
    power = np.square(along * stretch[..., None, None]) + np.square(across / stretch[..., None, None])
    amplitude = np.power(power + 4, -slopes[..., None, None] / 2)
    amplitude[..., 0, 0] = 0
    multiplicity = np.where((fx == 0) | (2 * fx == size), 1, 2).astype(np.float32)
    total = np.sqrt((np.square(amplitude) * multiplicity).sum(axis=(-2, -1), keepdims=True) * 2)
    amplitude *= size * size / total * np.sqrt(2 / multiplicity)  # half of an edge column's power is dropped
    spectrum = (white[:, :, 0] + np.complex64(1j) * white[:, :, 1]) * amplitude
    fields = np.fft.irfft2(spectrum, s=(size, size), axes=(-2, -1))
    return fields.reshape(*fields.shape[:2], size * size).astype(np.float32, copy=False)
