"""From a linear map of blocks to the rearrangement that it must be, where the scheme only moves and inverts values.

A map found from second-order statistics is blurred; that every value of a plain block is one value of the encrypted
block, perhaps inverted, says so much more that the right ones can usually be read off it. What is left is put right
by swaps and inversions, as long as the likelihood of the prior's Gaussian model grows.
"""

from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from cipherlens.attacks.block_statistics import SPAN, BlockStatistics
from cipherlens.attacks.covariance import FLOOR
from cipherlens.attacks.embedding import assign
from cipherlens.attacks.swaps import rearrange, swap_pairs
from cipherlens.ciphers.rearrangement import Order

Floats = NDArray[np.float64]
Signs = NDArray[np.float64]

_ROUNDS = 10


@dataclass(frozen=True)
class Snapped:
    """For every value of a plain block the place ``source`` (n,) of its encrypted one.

    ``signs`` (n,) of the encrypted values: -1 where one is inverted. ``unlikeliness`` is the part of the negative
    logarithmic likelihood that depends on them.
    """

    source: Order
    signs: Signs
    unlikeliness: float


def snap(matrix: Floats, prior: BlockStatistics, target: BlockStatistics, channels: int, inverts: bool) -> Snapped:
    """The rearrangement nearest to ``matrix`` (n, n), which maps encrypted blocks to plain ones.

    ``prior`` and ``target`` are joint block statistics of images of so many ``channels``. Only schemes that
    ``inverts`` have values with other signs.
    """
    near = target.displaced(0, 0)[0, :, 0]
    shared = near @ matrix  # covariance of encrypted values with estimated plain ones
    scale = np.sqrt(np.outer(np.diag(near), np.diag(matrix.T @ shared)))
    likeness = shared / np.maximum(scale, 1e-12)
    source = assign(-np.abs(likeness.T) if inverts else -likeness.T)
    size = len(source)
    signs = np.ones(size)
    if inverts:
        signs[source] = np.where(likeness[source, np.arange(size)] < 0, -1.0, 1.0)
    weights, seen = _stack(_invert(prior), size), _stack(target.covariance, size)
    for _ in range(_ROUNDS):
        before = source, signs
        if inverts:
            signs = _flip(weights, seen, source, signs)
        signed = seen * np.outer(signs, signs)
        source = swap_pairs(weights, signed, _order_channels(weights, signed, source, channels))
        if np.array_equal(before[0], source) and np.array_equal(before[1], signs):
            break
    return Snapped(source, signs, float(np.vdot(weights, rearrange(signed, source))))


def _order_channels(weights: Floats, seen: Floats, source: Order, channels: int) -> Order:
    """The likeliest order of the channels, which searches confuse as wholes."""
    parts = source.reshape(channels, -1)
    orders = [parts[list(order)].reshape(-1) for order in permutations(range(channels))]
    return min(orders, key=lambda order: float(np.vdot(weights, rearrange(seen, order))))


def _invert(prior: BlockStatistics) -> Floats:
    """Precision of the prior's neighbourhoods, with the floor on the covariance of each block."""
    near = prior.displaced(0, 0)[0, :, 0]
    return np.linalg.inv(prior.covariance + FLOOR * np.kron(np.eye(SPAN * SPAN), near))


def _stack(matrix: Floats, size: int) -> Floats:
    """(k, k) -> (pairs of blocks, size, size)."""
    places = len(matrix) // size
    return matrix.reshape(places, size, places, size).transpose(0, 2, 1, 3).reshape(-1, size, size)


def _flip(weights: Floats, seen: Floats, source: Order, signs: Signs) -> Signs:
    """Invert values, always the one that gains most, as long as the likelihood grows."""
    terms = (weights * rearrange(seen, source)).sum(axis=0)
    np.fill_diagonal(terms, 0.0)  # a value with itself, in whatever block, keeps its sign
    plain_signs = signs[source]
    for _ in range(len(source)):
        gains = plain_signs * (terms @ plain_signs)
        worst = int(gains.argmax())
        if gains[worst] <= 0:
            break
        plain_signs[worst] *= -1
    flipped = np.empty_like(signs)
    flipped[source] = plain_signs
    return flipped
