"""Second-order ciphertext-only attack on block-linear ciphers y = x K, one matrix per channel or one for all.

A linear map that is the same for all images is fixed by second-order statistics up to the symmetries of natural
images. The attack compares covariances of neighbouring blocks, over all channel pairs, between public images and
ciphertexts. Whitening leaves a rotation that all channels share, because colour channels are almost equal.
Eigenvectors, Procrustes iterations, plane turns and reflections find the rotation. A free map per channel then
maximises the likelihood. No key, pair or label is used.

The constants were chosen by hand, while looking at CIFAR-10 test images and 400 imagenette test photos
(docs/attacks/covariance.md).
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
"""Added to whitened variances, so that badly estimated directions do not dominate. Chosen by hand."""
_DRAWS = 100
"""Random combinations of displaced covariances, each of which gives a start. Chosen by hand."""
_STARTS = 4
"""Number of these starts, the best ones, that are refined. Chosen by hand."""
_MEAN_WEIGHT = 0.3
"""Length of the block means in Procrustes iterations. Chosen by hand."""
_ROUNDS = 4
"""Maximum alternations of plane turns and descent. Chosen by hand."""
_SWEEPS = 10
"""Maximum sweeps of plane turns in one alternation. Chosen by hand."""
_SWEEP_GAIN = 0.01
"""Minimum decrease of the divergence for a plane turn. Chosen by hand."""
_ROTATION_STEPS = 40
"""Maximum L-BFGS iterations for the rotation. Chosen by hand."""
_MAP_STEPS = 80
"""Maximum L-BFGS iterations for the free maps. Chosen by hand."""
_TOLERANCE = 1e-3
"""Decrease of the divergence in one iteration below which L-BFGS stops. Chosen by hand."""
_REFLECTIONS_TRIED = 8
"""Maximum reflections tried at one minimum. Chosen by hand."""
_REFLECTION_RISE = 0.1
"""Reflections that raise the divergence by more are not tried. Chosen by hand."""
_ESCAPE_GAIN = 0.003
"""Minimum decrease of the divergence for keeping a reflection. Chosen by hand."""
_MAX_ESCAPES = 40
"""Maximum reflections kept in one search. Chosen by hand."""
_LARGEST_WHOLE = 128
"""Values of a block up to which all channels are searched, above it their sum: a limit on time, set by hand."""
_SEEDS_APART = 1_000_003
"""Difference of the seeds of two searches: each adds up to _MAX_ESCAPES to its own."""
_DISPLACEMENTS = [(0, 1), (1, 0), (1, 1), (1, -1)]
"""(rows, columns) to the blocks compared with each block: right, below and both diagonals."""


@dataclass(frozen=True)
class Recovery:
    """What the attack found: decrypt further images of the same key with :meth:`decrypt`.

    ``matrices`` (C, n, n) and ``offsets`` (C, n): a block y of channel c is decrypted as y @ matrices[c] +
    offsets[c]. ``reconstruction`` (N, C, H, W) float32 is nominally in [0, 1] and not clipped. ``objective`` is the
    final divergence between the statistics of both sets of images. ``agreement`` in [0, 1] is the share of the
    displaced covariances that the map explains. ``starts`` are the divergences that the starts reached.
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
    target = block_statistics(ct_images, block, prior.joint)
    return next(search(ct_images, target, prior, seed, offset, tries=1))


def search(
    ct_images: NDArray[Any],
    target: BlockStatistics,
    prior: BlockStatistics,
    seed: int,
    offset: bool,
    tries: int,
) -> Iterator[Recovery]:
    """``tries`` results of :func:`recover` that start from other random draws, one by one.

    ``target`` holds the statistics of the ciphertexts: several searches share them.
    """
    if prior.block != target.block or prior.channels != target.channels:
        raise UsageError(
            f"the prior describes blocks of {prior.block} in {prior.channels} channels, "
            f"the ciphertexts have blocks of {target.block} in {target.channels}",
            hint="compute the prior with the same block and number of channels",
        )
    plain_frame, ct_frame = Frame(prior), Frame(target)
    divergence = Divergence(plain_frame.covariance, ct_frame.covariance, target.channels, FLOOR)
    for number in range(tries):
        rotation, reached = _find_rotation(divergence, plain_frame, ct_frame, seed + _SEEDS_APART * number)
        start = np.repeat(rotation[None], target.channels, axis=0)
        maps, objective = fit_maps(divergence, start, _MAP_STEPS, _TOLERANCE)
        matrices = ct_frame.into @ maps @ plain_frame.out_of
        agreement = _agreement(divergence, maps)
        offsets = np.zeros_like(target.mean)
        found = Recovery(np.empty(0, np.float32), matrices, offsets, target.block, objective, agreement, reached)
        yield set_level(found, ct_images, prior, target, offset)


class Frame:
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


def _find_rotation(divergence: Divergence, plain: Frame, ct: Frame, seed: int) -> tuple[Floats, tuple[float, ...]]:
    """The rotation with the lowest divergence that starts and moves find, with the sign set by the means."""
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
    """Leave local minima by mirroring single directions, as long as descent afterwards ends lower."""
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
    """The unit vectors, in order, that are far from parallel to those before."""
    kept: list[Floats] = []
    for unit in units:
        if all(abs(float(unit @ other)) < 0.5 for other in kept):
            kept.append(unit)
    return kept


def compare(prior: BlockStatistics, target: BlockStatistics) -> float:
    """The agreement of two statistics of plain images, which no map has to be found for."""
    frames = Frame(prior), Frame(target)
    divergence = Divergence(frames[0].covariance, frames[1].covariance, target.channels, FLOOR)
    return _agreement(divergence, np.linalg.pinv(frames[1].into) @ frames[0].into)


def _agreement(divergence: Divergence, maps: Floats) -> float:
    """1 - |difference|^2 / |prior|^2 over the displaced covariances, at least 0."""
    prior = displaced_means(divergence.prior, divergence.channels)
    mapped = displaced_means(divergence.mapped(maps), divergence.channels)
    return max(0.0, 1 - float(np.sum((mapped - prior) ** 2) / np.sum(prior**2)))


def set_level(
    found: Recovery, ct_images: NDArray[Any], prior: BlockStatistics, target: BlockStatistics, offset: bool
) -> Recovery:
    """Set offsets and gain, and decrypt.

    A linear cipher maps black to zero, so only the gain is unknown. The 0.99 quantile of an image tells it more
    surely than its mean or its variance. Over single photos these give 0.11, 0.39 and 0.26 in the log.
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
