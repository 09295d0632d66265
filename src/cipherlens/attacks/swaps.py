"""Local search for a rearrangement: swaps of pairs, many at once."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.ciphers.rearrangement import Order

Floats = NDArray[np.floating[Any]]

_ROUNDS = 100
_LEAST_GAIN = 1e-7


def swap_pairs(weights: Floats, seen: Floats, source: Order) -> Order:
    """Improve ``source`` (n,) so that the sum of ``weights * seen[source][:, source]`` falls, until no swap helps.

    Both are (n, n) and symmetric, or stacks (k, n, n) of the blocks that make up a symmetric matrix. In every round
    all swaps are priced, the best ones that share no place are made together, and half of them given up as long as
    together they do not help.
    """
    moved = rearrange(seen, source)
    value = float(np.vdot(weights, moved))
    for _ in range(_ROUNDS):
        pairs = _choose(_price(weights, moved), _LEAST_GAIN * abs(value))
        while len(pairs):
            tried = source.copy()
            tried[pairs[:, 0]], tried[pairs[:, 1]] = source[pairs[:, 1]], source[pairs[:, 0]]
            after = rearrange(seen, tried)
            reached = float(np.vdot(weights, after))
            if reached < value:
                break
            pairs = pairs[: len(pairs) // 2]
        else:
            break
        source, moved, value = tried, after, reached
    return source


def rearrange(matrix: Floats, source: Order) -> Floats:
    """Rows and columns (..., n, n) in the order of ``source``."""
    moved: Floats = matrix[..., source[:, None], source[None]]
    return moved


def _price(weights: Floats, moved: Floats) -> Floats:
    """(n, n): what each swap alone adds to the sum."""
    product = weights @ np.swapaxes(moved, -1, -2)
    if product.ndim == 3:
        product = product.sum(axis=0)
    squares = _measure_swaps(weights) * _measure_swaps(moved)
    prices: Floats = squares.reshape(-1, *product.shape).sum(axis=0) - 2 * _measure_swaps(product)
    return prices


def _measure_swaps(matrix: Floats) -> Floats:
    """u^T M u (..., n, n) for every u = e_i - e_j."""
    ends = np.diagonal(matrix, axis1=-2, axis2=-1)
    measured: Floats = ends[..., :, None] + ends[..., None, :] - matrix - np.swapaxes(matrix, -1, -2)
    return measured


def _choose(prices: Floats, least: float) -> NDArray[np.int64]:
    """Pairs (k, 2), the best first, of swaps that gain more than ``least`` and share no place."""
    partner = prices.argmin(axis=1)
    price = prices[np.arange(len(prices)), partner]
    order = np.argsort(price, kind="stable")
    order = order[price[order] < -least]
    rank = np.full(len(prices), len(order))
    rank[order] = np.arange(len(order))
    # A swap is made if no better one wants either of its places.
    wanted = rank.copy()
    np.minimum.at(wanted, partner[order], rank[order])
    free = (wanted[order] == rank[order]) & (wanted[partner[order]] == rank[order])
    return np.stack([order[free], partner[order[free]]], axis=1)
