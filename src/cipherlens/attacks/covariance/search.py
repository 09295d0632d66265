"""Second-order ciphertext-only attack on block-linear ciphers y = x K, one matrix per channel or one for all.

A linear map that is the same for all images is fixed by second-order statistics up to the symmetries of natural
images. The attack compares covariances of neighbouring blocks, over all channel pairs, between public images and
ciphertexts: whitening leaves a rotation that all channels share, because colour channels are almost equal;
a start by eigenvectors, Procrustes iterations, plane turns and reflections find the rotation; a free map per
channel then maximises the likelihood. No key, pair or label is used.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.attacks.covariance.divergence import Divergence, fit_maps, fit_rotation
from cipherlens.attacks.covariance.moves import (
    align,
    nearest_rotation,
    reflection_directions,
    start_rotations,
    turn_planes,
)
from cipherlens.attacks.covariance.statistics import (
    SPAN,
    BlockStatistics,
    block_statistics,
    brightness,
    displaced,
    transform,
    whitening,
)
from cipherlens.ciphers.blockmaps import apply_maps
from cipherlens.errors import UsageError

Floats = NDArray[np.float64]
FLOOR = 0.003
_DRAWS = 100
_STARTS = 4
_MEAN_WEIGHT = 0.3
_ROUNDS = 4
_SWEEPS = 10
_SWEEP_GAIN = 0.01
_ROTATION_STEPS = 40
_MAP_STEPS = 80
_TOLERANCE = 1e-3
_REFLECTIONS_TRIED = 8
_REFLECTION_RISE = 0.1
_ESCAPE_GAIN = 0.003
_MAX_ESCAPES = 40
_LARGEST_WHOLE = 128
"""Pixels of a block up to which the rotation is sought in all channels at once."""
_SEEDS_APART = 1_000_003
_DISPLACEMENTS = [(0, 1), (1, 0), (1, 1), (1, -1)]


@dataclass(frozen=True)
class Recovery:
    """What the attack found: decrypt further images of the same key with :meth:`decrypt`.

    ``matrices`` (C, n, n) and ``offsets`` (C, n): a block x of channel c is estimated as y @ matrices[c] +
    offsets[c]. ``reconstruction`` (N, C, H, W) float32 is nominally in [0, 1] and not clipped. ``objective`` is the
    final divergence between the two images' statistics, ``agreement`` the part in [0, 1] of the displaced
    covariances that the map explains, ``starts`` the divergences that the different starts reached.
    """

    reconstruction: NDArray[np.float32]
    matrices: Floats
    offsets: Floats
    block: int
    objective: float
    agreement: float
    starts: tuple[float, ...]

    def decrypt(self, ct_images: NDArray[Any]) -> NDArray[np.float32]:
        """Estimate the plain images (N, C, H, W) of further ciphertexts under the same key."""
        return apply_maps(ct_images, self.block, self.matrices, self.offsets)


def recover(
    ct_images: NDArray[Any],
    prior: BlockStatistics,
    block: int,
    seed: int = 0,
    offset: bool = False,
) -> Recovery:
    """Estimate the plain images behind ciphertexts (N, C, H, W), floats, and the map that decrypts them.

    ``prior`` holds the statistics of public images with as many channels (``block_statistics``), or a model of
    them (``parametric_statistics``). ``offset=True`` is for affine ciphers, y = x K + o: the mean of the plain
    images is then unknown and taken from the prior. A prior with all channels of a block together is for ciphers
    that mix them. Raises UsageError where the prior does not fit, ShapeError or DataError where the images do not
    (see ``block_statistics``).
    """
    return next(search(ct_images, prior, block, seed, offset, tries=1))


def search(
    ct_images: NDArray[Any], prior: BlockStatistics, block: int, seed: int, offset: bool, tries: int
) -> Iterator[Recovery]:
    """``tries`` results of :func:`recover` that start from other random draws, one by one."""
    target = block_statistics(ct_images, block, prior.joint)
    if prior.block != block or prior.channels != target.channels:
        raise UsageError(
            f"the prior describes blocks of {prior.block} in {prior.channels} channels, "
            f"the ciphertexts have blocks of {block} in {target.channels}",
            hint="compute the prior with the same block and number of channels",
        )
    plain_frame, ct_frame = _Frame(prior), _Frame(target)
    divergence = Divergence(plain_frame.covariance, ct_frame.covariance, target.channels, FLOOR)
    for number in range(tries):
        rotation, reached = _find_rotation(divergence, plain_frame, ct_frame, seed + _SEEDS_APART * number)
        start = np.repeat(rotation[None], target.channels, axis=0)
        maps, objective = fit_maps(divergence, start, _MAP_STEPS, _TOLERANCE)
        matrices = ct_frame.into @ maps @ plain_frame.out_of
        agreement = _agreement(divergence, maps)
        offsets = np.zeros_like(target.mean)
        found = Recovery(np.empty(0, np.float32), matrices, offsets, block, objective, agreement, reached)
        yield _set_level(found, ct_images, prior, target, offset)


class _Frame:
    """Coordinates in which every channel's block covariance is the identity and the channels are aligned."""

    def __init__(self, statistics: BlockStatistics) -> None:
        channels, size = statistics.mean.shape
        reference = channels // 2
        near = statistics.displaced(0, 0)
        rank = min(size, statistics.count - 1)
        roots = [whitening(near[c, :, c], rank) for c in range(channels)]
        axes = np.linalg.eigh(near[reference, :, reference])[1][:, ::-1]
        turns = [
            nearest_rotation(roots[reference][0] @ near[reference, :, c] @ roots[c][0]).T @ axes
            for c in range(channels)
        ]
        self.into = np.stack([root @ turn for (root, _), turn in zip(roots, turns, strict=True)])
        self.out_of = np.stack([turn.T @ root for (_, root), turn in zip(roots, turns, strict=True)])
        self.covariance = transform(statistics.covariance, self.into)
        self.displaced = displaced_means(self.covariance, channels)
        mean = np.matmul(statistics.mean[:, None], self.into)[:, 0].sum(axis=0)
        self.mean = mean / np.linalg.norm(mean)


def displaced_means(covariance: Floats, channels: int) -> Floats:
    """(L, n, n): covariances at the displacements, averaged over all pairs of aligned channels."""
    size = len(covariance) // (SPAN * SPAN * channels)
    grid = covariance.reshape(SPAN, SPAN, channels, size, SPAN, SPAN, channels, size)
    return np.stack([displaced(grid, dy, dx).mean(axis=(0, 2)) for dy, dx in _DISPLACEMENTS])


def _find_rotation(
    divergence: Divergence, plain: _Frame, ct: _Frame, seed: int
) -> tuple[Floats, tuple[float, ...]]:
    """The rotation with the least divergence that several starts and moves find, its sign set by the means."""
    terms = plain.displaced, ct.displaced, _MEAN_WEIGHT * plain.mean, _MEAN_WEIGHT * ct.mean
    drawn = start_rotations(plain.displaced, ct.displaced, plain.mean, ct.mean, _DRAWS, seed)
    whole = divergence.size <= _LARGEST_WHOLE
    sought = divergence if whole else divergence.sum_channels()
    settled = [_settle(sought, align(rotation, *terms)) for rotation in drawn[:_STARTS]]
    rotation, value = min(settled, key=lambda pair: pair[1])
    rotation, _ = _escape(sought, rotation, value, seed)
    if not whole:
        rotation, _ = fit_rotation(divergence, rotation, _ROTATION_STEPS, _TOLERANCE)
    sign = 1.0 if ct.mean @ rotation @ plain.mean >= 0 else -1.0
    return sign * rotation, tuple(reached for _, reached in settled)


def _settle(divergence: Divergence, rotation: Floats) -> tuple[Floats, float]:
    """Plane turns and descent in alternation until no plane turn gains."""
    value = np.inf
    for _ in range(_ROUNDS):
        rotation, sweeps = turn_planes(divergence, rotation, _SWEEPS, _SWEEP_GAIN)
        rotation, value = fit_rotation(divergence, rotation, _ROTATION_STEPS, _TOLERANCE)
        if sweeps == 0:
            break
    return rotation, value


def _escape(divergence: Divergence, rotation: Floats, value: float, seed: int) -> tuple[Floats, float]:
    """Leave local minima by mirroring single directions, as long as settling afterwards ends lower."""
    for attempt in range(_MAX_ESCAPES):
        units, rises = reflection_directions(divergence, rotation, seed + attempt)
        for unit in _distinct(units[rises < _REFLECTION_RISE])[:_REFLECTIONS_TRIED]:
            mirrored = rotation - 2 * np.outer(rotation @ unit, unit)
            settled, reached = _settle(divergence, mirrored)
            if reached < value - _ESCAPE_GAIN:
                rotation, value = settled, reached
                break
        else:
            break
    return rotation, value


def _distinct(units: Floats) -> list[Floats]:
    """Those unit vectors, in order, that are far from parallel to the ones before."""
    kept: list[Floats] = []
    for unit in units:
        if all(abs(float(unit @ other)) < 0.5 for other in kept):
            kept.append(unit)
    return kept


def _agreement(divergence: Divergence, maps: Floats) -> float:
    """1 - |difference|^2 / |prior|^2 over the displaced covariances, at least 0."""
    prior = displaced_means(divergence.prior, divergence.channels)
    mapped = displaced_means(divergence.mapped(maps), divergence.channels)
    return max(0.0, 1 - float(np.sum((mapped - prior) ** 2) / np.sum(prior**2)))


def _set_level(
    found: Recovery, ct_images: NDArray[Any], prior: BlockStatistics, target: BlockStatistics, offset: bool
) -> Recovery:
    """Set offsets and contrast, and decrypt.

    A linear cipher maps black to zero, so only the contrast is open; the bright end of an image tells it much more
    surely than its mean or its variance (0.11 against 0.39 and 0.26 in the log, over single photos).
    """
    means = np.matmul(target.mean[:, None], found.matrices)[:, 0]
    if offset:
        found = replace(found, offsets=prior.mean - means)
        return replace(found, reconstruction=found.decrypt(ct_images))
    sign = 1.0 if means.sum() >= 0 else -1.0
    found = replace(found, matrices=sign * found.matrices)
    gain = np.exp(prior.brightness - brightness(found.decrypt(ct_images)))
    found = replace(found, matrices=gain * found.matrices)
    return replace(found, reconstruction=found.decrypt(ct_images))
