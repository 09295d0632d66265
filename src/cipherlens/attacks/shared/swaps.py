"""Local search for a rearrangement: swaps of pairs, many at once."""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from cipherlens.ciphers.structure import Order

Floats = NDArray[np.floating[Any]]
Pairs = NDArray[np.int64]
State = TypeVar("State")
_Rearranged = tuple[Order, Floats]

_ROUNDS = 100
"""Maximum rounds of swaps in one search. Set by hand."""
_LEAST_GAIN = 1e-7
"""Minimum gain of a swap, as a share of the objective's absolute value. Set by hand."""


def swap_pairs(weights: Floats, seen: Floats, source: Order) -> Order:
    """Improve ``source`` (n,) so that the sum of ``weights * seen[source][:, source]`` falls, until no swap helps.

    Both are (n, n) and symmetric, or stacks (k, n, n) of the blocks that make up a symmetric matrix.
    """

    def measure(state: _Rearranged) -> float:
        return float(np.vdot(weights, state[1]))

    def propose(state: _Rearranged, least: float) -> tuple[Pairs, Callable[[Pairs], _Rearranged]]:
        source, moved = state

        def make(pairs: Pairs) -> _Rearranged:
            tried = source.copy()
            tried[pairs] = source[pairs[:, ::-1]]
            return tried, rearrange(seen, tried)

        return choose_pairs(_price(weights, moved), least), make

    return greedy_swap_search((source, rearrange(seen, source)), measure, propose)[0]


def greedy_swap_search(
    state: State,
    measure: Callable[[State], float],
    propose: Callable[[State, float], tuple[Pairs, Callable[[Pairs], State]]],
) -> State:
    """Improve ``state`` so that ``measure`` falls, until no pair helps.

    ``propose`` takes the state and the minimum gain. It returns the pairs (k, 2) that gain more, best first and
    disjoint, and a function that applies pairs. The pairs are applied together; while that does not lower
    ``measure``, the worse half of them is dropped.
    """
    value = measure(state)
    for _ in range(_ROUNDS):
        pairs, make = propose(state, _LEAST_GAIN * abs(value))
        while len(pairs):
            tried = make(pairs)
            reached = measure(tried)
            if reached < value:
                break
            pairs = pairs[: len(pairs) // 2]
        else:
            break
        state, value = tried, reached
    return state


def rearrange(matrix: Floats, source: Order) -> Floats:
    """Rows and columns (..., n, n) in the order of ``source``."""
    moved: Floats = matrix[..., source[:, None], source[None]]
    return moved


def _price(weights: Floats, moved: Floats) -> Floats:
    """Change of the sum under each single swap, (n, n)."""
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


def choose_pairs(prices: Floats, least: float) -> Pairs:
    """Disjoint pairs (k, 2), the best first, that gain more than ``least``."""
    partner = prices.argmin(axis=1)
    price = prices[np.arange(len(prices)), partner]
    order = np.argsort(price, kind="stable")
    order = order[price[order] < -least]
    rank = np.full(len(prices), len(order))
    rank[order] = np.arange(len(order))
    # A pair is taken if no better one wants either of its places.
    wanted = rank.copy()
    np.minimum.at(wanted, partner[order], rank[order])
    free = (wanted[order] == rank[order]) & (wanted[partner[order]] == rank[order])
    return np.stack([order[free], partner[order[free]]], axis=1)
