"""Pictures go on from block to block: that tells which source is which coefficient, and what low ones lack."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cipherlens.attacks.covariance.jpeg.coefficients import BASIS, COUNT, SIDE
from cipherlens.attacks.covariance.jpeg.sources import Sources, correlate, steady

Floats = NDArray[np.float64]
_SPREADS = 0.3
"""What a difference of spreads, in the log, weighs beside a squared correlation. Chosen by hand."""
_SURE = 0.8
"""Correlation with a coefficient of the start from which a source is that coefficient. Chosen by hand."""
_GAIN = 1e-4
"""Share of the jumps that a change of places or signs must take away. Set by hand."""
_SURELY = 4.0
"""Standard errors from which something is added: many, for pixels of an edge are alike. Chosen by hand."""
_APART = 4
"""Pixels of an edge that are skipped to the next one looked at: neighbours say almost the same."""
_FITS, _LEAST_JUMP = 6, 0.5
"""Fits, and the jump in grey levels below which jumps weigh alike. Set by hand."""


@dataclass(frozen=True)
class _Jump:
    """Jumps across one direction's edges: values of the one block @ ``before`` - values of the other @ ``after``.

    ``pairs`` (2, P) are numbers of blocks. Both matrices (64, 8) extrapolate a coefficient's picture to the edge.
    """

    pairs: NDArray[np.int64]
    before: Floats
    after: Floats


def _list_jumps(sources: Sources) -> list[_Jump]:
    pictures = (BASIS * sources.steps[:, None]).reshape(COUNT, SIDE, SIDE)
    jumps = []
    for pairs, axis in ((sources.down, 1), (sources.right, 2)):
        lines = np.moveaxis(pictures, axis, 0)
        last, previous, first, second = lines[-1], lines[-2], lines[0], lines[1]
        jumps.append(_Jump(pairs, 1.5 * last - 0.5 * previous, 1.5 * first - 0.5 * second))
    return jumps


def arrange(sources: Sources) -> None:
    """Put each source in the place of its coefficient, with its sign.

    Most are alike to one coefficient of the start. Of the others, places and signs are those with the least jumps.
    """
    from scipy.optimize import linear_sum_assignment

    spreads = [np.log(part.std(axis=0) + 1e-9) for part in (sources.values, sources.start)]
    alike = correlate(sources.values[sources.some], sources.start[sources.some])
    unlike = np.abs(spreads[0][:, None] - spreads[1])
    _, places = linear_sum_assignment(_SPREADS * unlike - alike**2)
    near = alike[np.arange(COUNT), places]
    signs = np.where(near < 0, -1.0, 1.0)
    places, signs = _rearrange(_Energy(sources), places, signs, np.flatnonzero(np.abs(near) < _SURE))
    maps, shifts = np.empty_like(sources.maps), np.empty_like(sources.shifts)
    maps[:, places], shifts[places] = sources.maps * signs, sources.shifts * signs
    sources.maps, sources.shifts = maps, shifts
    sources.look()


class _Energy:
    """Mean square of all jumps, as a function of places and signs."""

    def __init__(self, sources: Sources) -> None:
        values = (sources.values - sources.values.mean(axis=0)).astype(np.float64)
        self._parts = []
        for jump in _list_jumps(sources):
            one, other = values[jump.pairs]
            both = np.hstack([one, -other])
            self._parts.append((both.T @ both / len(both), jump))

    def __call__(self, places: NDArray[np.int64], signs: Floats) -> float:
        total = 0.0
        for moments, jump in self._parts:
            lines = np.vstack([jump.before[places], jump.after[places]]) * np.tile(signs, 2)[:, None]
            total += float(np.einsum("ac,ab,bc->", lines, moments, lines, optimize=True))
        return total


def _rearrange(
    energy: _Energy, places: NDArray[np.int64], signs: Floats, unsure: NDArray[np.int64]
) -> tuple[NDArray[np.int64], Floats]:
    """Swap places and turn signs of the sources ``unsure`` while jumps get less."""
    best, goes_on = energy(places, signs), True
    while goes_on:
        goes_on = False
        for one in unsure:
            for other in unsure[unsure <= one]:
                for turned in (signs, *_turn(signs, one, other)):
                    swapped = places.copy()
                    swapped[[one, other]] = places[[other, one]]
                    found = energy(swapped, turned)
                    if found < best * (1 - _GAIN):
                        best, places, signs, goes_on = found, swapped, turned, True
    return places, signs


def _turn(signs: Floats, one: int, other: int) -> list[Floats]:
    turned = []
    for numbers in ([one], [other], [one, other]):
        changed = signs.copy()
        changed[numbers] *= -1
        turned.append(changed)
    return turned


def smooth(sources: Sources, number: int) -> None:
    """Add to one source what of the others makes jumps surely less, in whole numbers where it is whole.

    Least absolute jumps are found by weighted least squares.
    """
    fit = _JumpFit(sources, number)
    added = np.zeros(COUNT)
    for turn in range(_FITS):
        added -= fit.improve(added, turn % _APART)
    added[np.abs(added) < _SURELY * fit.measure_errors(added)] = 0
    _add(sources, number, added)


class _JumpFit:
    """Least squares for what to add to one source, weighted by the inverse of the jumps that are left."""

    def __init__(self, sources: Sources, number: int) -> None:
        self._number, self._others = number, np.arange(COUNT) != number
        values = sources.values - sources.values.mean(axis=0)
        self._jumps = [(jump, *values[jump.pairs]) for jump in _list_jumps(sources)]

    def _list_lines(self, added: Floats, begin: int) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """What the others would change (P, 63) and the jumps that are left (P,), for some pixels of an edge."""
        number, more = self._number, added.astype(np.float32)
        for jump, one, other in self._jumps:
            before, after = jump.before.astype(np.float32), jump.after.astype(np.float32)
            left = one @ before - other @ after
            left += np.outer(one @ more, before[number]) - np.outer(other @ more, after[number])
            for line in range(begin, SIDE, _APART):
                effect = one[:, self._others] * before[number, line] - other[:, self._others] * after[number, line]
                yield effect, left[:, line]

    def improve(self, added: Floats, begin: int) -> Floats:
        """What to take from ``added``, for the pixels of edges from ``begin`` on."""
        moments, wanted = np.zeros((COUNT - 1,) * 2), np.zeros(COUNT - 1)
        for effect, left in self._list_lines(added, begin):
            weighted = effect / np.maximum(np.abs(left[:, None]), _LEAST_JUMP)
            moments += weighted.T @ effect
            wanted += weighted.T @ left
        step = np.zeros(COUNT)
        step[self._others] = np.linalg.solve(steady(moments), wanted)
        return step

    def measure_errors(self, added: Floats) -> Floats:
        """Standard errors of ``added``, as if all pixels were independent."""
        moments, plain = np.zeros((COUNT - 1,) * 2), np.zeros((COUNT - 1,) * 2)
        for effect, left in self._list_lines(added, 0):
            moments += (effect / np.maximum(np.abs(left[:, None]), _LEAST_JUMP)).T @ effect
            plain += effect.T @ effect
        inverse, errors = np.linalg.inv(steady(moments)), np.zeros(COUNT)
        variances = np.einsum("ab,bc,ac->a", inverse, plain, inverse, optimize=True)
        errors[self._others] = np.sqrt(np.maximum(variances, 0))  # rounding may make a tiny one negative
        return errors


def _add(sources: Sources, number: int, added: Floats) -> None:
    """Add other sources to one; a whole one stays whole."""
    whole, before = sources.whole[number], sources.maps[:, number].copy()
    sources.maps[:, number] += sources.maps @ (np.round(added) if whole else added)
    sources.look()
    if whole and not sources.whole[number]:
        sources.maps[:, number] = before
        sources.look()
