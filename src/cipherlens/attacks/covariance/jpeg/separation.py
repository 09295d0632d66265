"""Make sums of coefficients single ones: whole multiples of others are taken away while values get smaller."""

import numpy as np
from numpy.typing import NDArray

from cipherlens.attacks.covariance.jpeg.coefficients import COUNT
from cipherlens.attacks.covariance.jpeg.sources import Sources, correlate, steady

_ROUNDS = 3
"""Most rounds over all sources: a limit on time, set by hand."""
_DIVISORS, _ODD, _ENOUGH = (7, 5, 3, 2), 0.1, 50
"""A source is divided where fewer than this share of at least so many values are no multiple. Set by hand."""
_SPARSE = 0.5
"""Share of zeros without which values do not get smaller for the right reason. Chosen by hand."""
_POWER, _FLAT = 0.7, 0.1
"""Power of values whose sum is made small, and the share of their spread below which they count alike."""
_SAME = 0.6
"""Correlation from which two whole sources are one coefficient twice. Chosen by hand."""


def combine(sources: Sources) -> None:
    """Replace sparse whole sources by their smallest combinations with whole numbers."""
    for _ in range(_ROUNDS):
        sparse = (sources.rounded[sources.some] == 0).mean(axis=0) > _SPARSE
        chosen = np.flatnonzero(sources.whole & sparse)
        numbers, changed = sources.rounded[sources.some][:, chosen], False
        for place, number in enumerate(chosen):
            if (divisor := _find_divisor(numbers[:, place])) > 1:
                sources.maps[:, number] /= divisor
                numbers[:, place] = np.round(numbers[:, place] / divisor)
                changed = True
            while (step := _find_step(numbers, place)) is not None:
                other, sign = step
                numbers[:, place] -= sign * numbers[:, other]
                sources.maps[:, number] -= sign * sources.maps[:, chosen[other]]
                changed = True
        sources.look()
        if not changed:
            return


def _find_divisor(numbers: NDArray[np.float32]) -> int:
    """The largest number of which almost all values are multiples; 1 where there is none."""
    told = numbers[numbers != 0]
    fits = (divisor for divisor in _DIVISORS if np.count_nonzero(told % divisor) < _ODD * len(told))
    return next(fits, 1) if len(told) > _ENOUGH else 1


def _find_step(numbers: NDArray[np.float32], place: int) -> tuple[int, int] | None:
    """The source, and a sign, with which values become smallest when it is taken away; None if they grow."""
    costs = np.stack([_size(numbers[:, [place]] - sign * numbers) for sign in (1, -1)])
    costs[:, place] = np.inf
    row, other = np.unravel_index(costs.argmin(), costs.shape)
    if costs[row, other] >= _size(numbers[:, place]) - 1e-6:
        return None
    return int(other), (1, -1)[row]


def _size(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(np.sqrt(np.abs(values)).mean(axis=0), np.float32)


def sparsify(sources: Sources) -> None:
    """Take from sources that are not whole yet what makes most of their values small; not from the first."""
    values = sources.values[sources.some].astype(np.float64)
    for number in np.argsort(sources.score):
        if number == 0 or sources.whole[number]:
            continue
        others, own = np.arange(COUNT) != number, values[:, number]
        rest = values[:, others]
        for _ in range(2):
            least = min(0.15, _FLAT * own.std()) + 1e-9
            weighted = rest / (np.maximum(np.abs(own), least) ** (2 - _POWER))[:, None]
            moments = weighted.T @ rest
            taken = np.linalg.solve(steady(moments + 1e-3 * np.diag(np.diag(moments))), weighted.T @ own)
            own = own - rest @ taken
            sources.maps[:, number] -= sources.maps[:, others] @ taken
        values[:, number] = own
    sources.look()


def renew(sources: Sources) -> None:
    """Of two whole sources that are the same coefficient, start one anew: uncorrelated with all others."""
    values = sources.values[sources.some]
    again = np.abs(correlate(values, values))
    np.fill_diagonal(again, 0)
    for number in np.argsort(sources.score):
        better = again[number] * (sources.score >= sources.score[number])
        if sources.whole[number] and better.max() > _SAME:
            sources.maps[:, number] = _find_missing(sources, number)
            sources.look()
            return


def _find_missing(sources: Sources, number: int) -> NDArray[np.float64]:
    """The combination that is uncorrelated with all other sources, as large as the coefficient ``number``."""
    covariance = np.cov(sources.start[sources.some].T)
    root = np.linalg.cholesky(steady(covariance)).T
    others = root @ np.delete(sources.maps, number, axis=1)
    missing = np.linalg.solve(root, np.linalg.svd(others)[0][:, -1])
    sign = 1 if covariance[number] @ missing >= 0 else -1
    found: NDArray[np.float64] = sign * np.sqrt(covariance[number, number]) * missing
    return found
