"""Recovers where values went, and which were inverted, from known pairs."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cipherlens.attacks.shared.distances import squared_distances
from cipherlens.ciphers.structure import Bytes, Layout, Order

_CHUNK_VALUES = 20_000_000
"""Distances computed at a time: a limit on memory, set by hand."""
_MOST_PAIRS = 3_000_000_000
"""Maximum pairs of units that are compared, enough for all places of 224x224 pixels: a limit on time."""


@dataclass(frozen=True)
class Rearrangement:
    """``ct[group, i] = plain[group, source[group, i]] ^ mask[group, i]`` on units; ``unsure`` counts guesses."""

    source: NDArray[np.int64]
    mask: Bytes
    unsure: int

    def spread(self, layout: Layout) -> tuple[Order, NDArray[np.bool_]]:
        """For every unit of a flattened plain image its place in the ciphertext (-1: unknown), and if inverted."""
        places, count = layout.places, layout.places.size
        source, inverted = np.full(count, -1, np.int64), np.zeros(count, bool)
        plain = np.take_along_axis(places, np.broadcast_to(self.source, places.shape), axis=2)
        source[plain] = places
        inverted[plain] = self.mask != 0
        return source, inverted


def match(plain: Bytes, ct: Bytes, layout: Layout) -> Rearrangement:
    """The rearrangement that explains units (samples, groups, members) of known pairs.

    Units with the same values in all pairs cannot be told apart, and their order is guessed. Where the pairs are
    not exact (noise, JPEG), the nearest unit is taken.
    """
    if not layout.moves:
        return _compare_signs(plain, ct, layout)
    exact = _match_exactly(plain, ct, layout)
    return _match_nearest(plain, ct, layout) if exact is None else exact


def _compare_signs(plain: Bytes, ct: Bytes, layout: Layout) -> Rearrangement:
    """Which units are inverted where none moves: those nearer to their inverse."""
    differences = [np.abs(ct.astype(np.int64) - known).sum(axis=0) for known in (plain, layout.top - plain)]
    mask = np.where(differences[1] < differences[0], layout.top, 0).astype(np.uint8)
    unexplained = int((plain ^ mask != ct).any(axis=0).sum())
    return Rearrangement(np.zeros(mask.shape, np.int64), mask, unexplained)


def _match_exactly(plain: Bytes, ct: Bytes, layout: Layout) -> Rearrangement | None:
    """Match by sorting the values of each unit over all samples; None if some unit has no counterpart."""
    (known, known_flips), (seen, seen_flips) = (_canonical(units, layout) for units in (plain, ct))
    groups, members = plain.shape[1:]
    # Ties are broken at random, not by place: most ciphers leave something in place.
    chance = np.random.default_rng(0).permutation(groups * members)
    orders = [
        _sort_units(units, before) for units, before in ((known, chance), (seen, np.arange(groups * members)))
    ]
    first, second = (
        units.reshape(len(units), -1)[:, order] for units, order in zip((known, seen), orders, strict=True)
    )
    if not np.array_equal(first, second):
        return None
    source = np.empty(groups * members, np.int64)
    source[orders[1]] = orders[0]
    same = (first[:, 1:] == first[:, :-1]).all(axis=0)
    same &= (orders[0][1:] // members) == (orders[0][:-1] // members)
    flips = (known_flips.reshape(-1)[source] ^ seen_flips.reshape(-1)).reshape(groups, members)
    source = source.reshape(groups, members) % members
    unsure = np.concatenate([[False], same]) | np.concatenate([same, [False]])
    return Rearrangement(source, np.where(flips, layout.top, 0).astype(np.uint8), int(unsure.sum()))


def _canonical(units: Bytes, layout: Layout) -> tuple[Bytes, NDArray[np.bool_]]:
    """Units inverted where the first sample is in the upper half of the levels, and which those are."""
    flips = units[0] > layout.top // 2 if layout.inverts else np.zeros(units.shape[1:], bool)
    return units ^ np.where(flips, layout.top, 0).astype(np.uint8), flips


def _sort_units(units: Bytes, before: NDArray[np.int64]) -> NDArray[np.int64]:
    """Order of the units (samples, groups, members), group after group, by their values over all samples.

    Units with the same values come in the order of ``before``.
    """
    samples, groups, members = units.shape
    group = np.arange(groups).repeat(members).astype(">u4").view(np.uint8).reshape(-1, 4)
    rows = np.ascontiguousarray(np.concatenate([group, units.reshape(samples, -1).T], axis=1)[before])
    return before[np.argsort(rows.view(np.dtype((np.void, rows.shape[1])))[:, 0], kind="stable")]


def _match_nearest(plain: Bytes, ct: Bytes, layout: Layout) -> Rearrangement:
    """For every unit of the ciphertexts the nearest unit of the plain images, upright or inverted.

    With more than _MOST_PAIRS pairs of units the result is a random guess.
    """
    if plain.shape[1] * plain.shape[2] ** 2 > _MOST_PAIRS:
        source = np.random.default_rng(0).permuted(np.indices(plain.shape[1:])[1], axis=1)
        return Rearrangement(source, np.zeros(source.shape, np.uint8), source.size)
    known, seen = (np.ascontiguousarray(units.transpose(1, 2, 0), np.float32) for units in (plain, ct))
    members = known.shape[1]
    turned = layout.top - known
    step = max(1, _CHUNK_VALUES // (known.shape[0] * members))
    sources, flips = [], []
    for start in range(0, members, step):
        part = seen[:, start : start + step]
        distances = [squared_distances(part, known)]
        if layout.inverts:
            distances.append(squared_distances(part, turned))
        best = np.concatenate(distances, axis=2).argmin(axis=2)
        sources.append(best % members)
        flips.append(best >= members)
    mask = np.where(np.concatenate(flips, axis=1), layout.top, 0).astype(np.uint8)
    return Rearrangement(np.concatenate(sources, axis=1), mask, mask.size)
