"""Projection of a linear block map onto rearrangements, for schemes that only move and invert values.

A map found from second-order statistics is inexact. In these schemes every plain value is one encrypted value,
perhaps inverted, so linear assignment usually finds the right ones. Swaps and inversions then correct the rest, as
long as the likelihood of the prior's Gaussian model grows.
"""

from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from cipherlens.attacks.covariance.search import FLOOR
from cipherlens.attacks.covariance.signed_swaps import sign, swap_signed
from cipherlens.attacks.covariance.statistics import SPAN, BlockStatistics
from cipherlens.attacks.shared.embedding import assign
from cipherlens.attacks.shared.swaps import swap_pairs
from cipherlens.ciphers.structure import Order

Floats = NDArray[np.float64]

_ROUNDS = 10
"""Maximum rounds of channel ordering and swaps. Set by hand."""


@dataclass(frozen=True)
class Snapped:
    """A rearrangement: for every value of a plain block the place ``source`` (n,) of its encrypted one.

    ``signs`` (n,) are -1 where the value is inverted. ``neg_log_likelihood`` is the part of the negative
    log-likelihood that depends on both.
    """

    source: Order
    signs: Floats
    neg_log_likelihood: float


def project_to_permutation(
    matrix: Floats, prior: BlockStatistics, target: BlockStatistics, channels: int, inverts: bool
) -> Snapped:
    """The rearrangement nearest to ``matrix`` (n, n), which maps encrypted blocks to plain ones.

    ``prior`` and ``target`` are joint block statistics of images with ``channels`` channels. ``inverts``: the
    scheme can invert values.
    """
    near = target.displaced(0, 0)[0, :, 0]
    shared = near @ matrix  # covariance of encrypted values with estimated plain ones
    scale = np.sqrt(np.outer(np.diag(near), np.diag(matrix.T @ shared)))
    likeness = shared / np.maximum(scale, 1e-12)
    source = assign(-np.abs(likeness.T) if inverts else -likeness.T)
    signs = np.ones(len(source))
    if inverts:
        signs[likeness[source, np.arange(len(source))] < 0] = -1.0
    weights, seen = (_stack(matrix, len(source)) for matrix in (_invert(prior), target.covariance))
    for _ in range(_ROUNDS):
        before = source, signs
        chosen = _order_channels(weights, sign(seen, source, signs), channels)
        source, signs = source[chosen], signs[chosen]
        if inverts:
            source, signs = swap_signed(weights, seen, source, signs)
        else:
            source = swap_pairs(weights, seen, source)
        if np.array_equal(before[0], source) and np.array_equal(before[1], signs):
            break
    return Snapped(source, signs, float(np.vdot(weights, sign(seen, source, signs))))


def _order_channels(weights: Floats, moved: Floats, channels: int) -> Order:
    """The likeliest order of the channels; a search can exchange whole channels."""
    wanted, found = (_cut_channels(matrix, channels) for matrix in (weights, moved))
    shared = (wanted @ found.T).reshape((channels,) * 4)  # of each pair of channels with each other pair
    first, second = np.indices((channels, channels)).reshape(2, -1)
    orders = np.array(list(permutations(range(channels))))
    sums = shared[first, second, orders[:, first], orders[:, second]].sum(axis=1)
    parts = np.arange(moved.shape[-1]).reshape(channels, -1)
    likeliest: Order = parts[orders[sums.argmin()]].reshape(-1)
    return likeliest


def _cut_channels(matrix: Floats, channels: int) -> Floats:
    """(k, n, n) -> (channels * channels, values that two channels share)."""
    size = matrix.shape[-1] // channels
    parts = matrix.reshape(-1, channels, size, channels, size).transpose(1, 3, 0, 2, 4)
    return parts.reshape(channels * channels, -1)


def _invert(prior: BlockStatistics) -> Floats:
    """Precision of the prior's neighbourhoods, with the floor on the covariance of each block."""
    near = prior.displaced(0, 0)[0, :, 0]
    return np.linalg.inv(prior.covariance + FLOOR * np.kron(np.eye(SPAN * SPAN), near))


def _stack(matrix: Floats, size: int) -> Floats:
    """(k, k) -> (pairs of blocks, size, size)."""
    places = len(matrix) // size
    return matrix.reshape(places, size, places, size).transpose(0, 2, 1, 3).reshape(-1, size, size)
