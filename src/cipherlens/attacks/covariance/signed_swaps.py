"""Local search for a rearrangement with inversions: swaps of pairs under any signs, and single inversions.

A value in the wrong place has the wrong sign half of the time. Then a swap that keeps signs does not help, and
neither does an inversion that keeps places. Both at once do.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cipherlens.attacks.shared.swaps import Pairs, choose_pairs, greedy_swap_search, rearrange
from cipherlens.ciphers.structure import Order

Floats = NDArray[np.float64]

_TURNS = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]])
"""Signs with which the two values of a pair can change places."""
_Signed = tuple[Order, Floats, Floats]


def swap_signed(weights: Floats, seen: Floats, source: Order, signs: Floats) -> tuple[Order, Floats]:
    """Improve ``source`` and ``signs`` (n,) so that the sum of ``weights * sign(seen, source, signs)`` falls.

    ``weights`` and ``seen`` are stacks (k, n, n) of the blocks that make up a symmetric matrix.
    """

    def measure(state: _Signed) -> float:
        return float(np.vdot(weights, state[2]))

    def propose(state: _Signed, least: float) -> tuple[Pairs, Callable[[Pairs], _Signed]]:
        source, signs, moved = state
        prices, turns = price_signed(weights, moved)

        def make(pairs: Pairs) -> _Signed:
            tried, turned = source.copy(), signs.copy()
            tried[pairs] = source[pairs[:, ::-1]]
            # A pair of a place with itself is an inversion: its signs are (-1, -1).
            turned[pairs] = _TURNS[turns[pairs[:, 0], pairs[:, 1]]] * signs[pairs[:, ::-1]]
            return tried, turned, sign(seen, tried, turned)

        return choose_pairs(prices, least), make

    return greedy_swap_search((source, signs, sign(seen, source, signs)), measure, propose)[:2]


def sign(matrix: Floats, source: Order, signs: Floats) -> Floats:
    """Rows and columns (..., n, n) in the order of ``source``, those with a sign of -1 inverted."""
    signed: Floats = rearrange(matrix, source) * np.outer(signs, signs)
    return signed


def price_signed(weights: Floats, moved: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """Change of the sum under each single change, (n, n), and which of ``_TURNS`` it takes.

    Row i, column j: the values at i and j change places, under the signs that add least. On the diagonal the value
    is inverted. Stacks (k, n, n) are as for :func:`swap_signed`.
    """
    product = (weights @ np.swapaxes(moved, -1, -2)).sum(axis=0)
    wanted, ends = (np.diagonal(stack, axis1=1, axis2=2) for stack in (weights, moved))
    own, crossed = np.diagonal(product), wanted.T @ ends
    # T M T' multiplied out, for a T that differs from the identity in rows i and j only.
    kept = _add_transposed(np.diagonal(crossed)[:, None] + crossed) + _add_transposed(
        np.einsum("kij,kij->ij", weights, moved)
    )
    changed = _add_transposed(np.einsum("kij,kji->ij", weights, moved))
    mixed = np.einsum("ki,kij->ij", wanted, moved) + np.einsum("ki,kji->ij", wanted, moved)
    mixed += np.einsum("kj,kij->ij", ends, weights) + np.einsum("kj,kji->ij", ends, weights)
    gained = 2 * product - mixed
    prices = [
        kept + first * second * changed + first * gained + second * gained.T - 2 * (own[:, None] + own)
        for first, second in _TURNS
    ]
    least, best = np.min(prices, axis=0), np.argmin(prices, axis=0)
    np.fill_diagonal(least, 4 * (np.diagonal(crossed) - own))
    np.fill_diagonal(best, len(_TURNS) - 1)
    return least, best


def _add_transposed(matrix: Floats) -> Floats:
    return matrix + matrix.T
