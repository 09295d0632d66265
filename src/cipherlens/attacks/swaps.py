"""Local search for a rearrangement: swaps of pairs, many at once."""

import numpy as np
from numpy.typing import NDArray

from cipherlens.ciphers.rearrangement import Order

Floats = NDArray[np.float32]

_ROUNDS = 100
_LEAST_GAIN = 1e-7


def swap_pairs(weights: Floats, seen: Floats, source: Order) -> Order:
    """Improve ``source`` (n,) so that the sum of ``weights * seen[source][:, source]`` falls, until no swap helps.

    Both matrices are (n, n) and symmetric. In every round all swaps are priced, the best ones that share no place
    are made together, and half of them given up as long as together they do not help.
    """
    moved = seen[np.ix_(source, source)]
    value = float(np.vdot(weights, moved))
    for _ in range(_ROUNDS):
        pairs = _choose(_price(weights, moved), _LEAST_GAIN * abs(value))
        while len(pairs):
            tried = source.copy()
            tried[pairs[:, 0]], tried[pairs[:, 1]] = source[pairs[:, 1]], source[pairs[:, 0]]
            after = seen[np.ix_(tried, tried)]
            reached = float(np.vdot(weights, after))
            if reached < value:
                break
            pairs = pairs[: len(pairs) // 2]
        else:
            break
        source, moved, value = tried, after, reached
    return source


def _price(weights: Floats, moved: Floats) -> Floats:
    """(n, n): what each swap alone adds to the sum."""
    product = weights @ moved
    ends = np.diag(product)
    gain = product + product.T - ends[:, None] - ends[None]
    lengths = [np.diag(m)[:, None] + np.diag(m)[None] - 2 * m for m in (weights, moved)]
    prices: Floats = 2 * gain + lengths[0] * lengths[1]
    return prices


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
