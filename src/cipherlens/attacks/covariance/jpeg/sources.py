"""Sources: combinations of estimated coefficients, which become whole numbers where JPEG rounded them.

A map that the covariance attack finds mixes the coefficients of a block. Each coefficient alone is a whole number
of steps, and mostly zero. So a combination with whole numbers only is one coefficient, or a sum of few.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.attacks.covariance.jpeg.coefficients import COUNT

Floats = NDArray[np.float64]
WHOLE = 0.72
"""Mean cosine from which values are whole numbers. Rounding pixels lowers it, to 0.74 for steps of 5."""
_LEAST = 30
"""Values other than zero without which a source tells nothing. Set by hand."""
_LOOKED_AT, _PAIRS = 15_000, 40_000
"""At most so many blocks, and pairs of neighbours, are looked at where all are not needed: limits on time."""
_SCALES = np.exp(np.arange(-1.2, 3.4, 0.04))
"""Factors by which steps are tried: those of quality 25 to 97 where the table is that of 75."""
_MOSTLY = 0.9
"""Share of values other than zero above which a factor is too large to tell. Set by hand."""
_PROMISING, _BETTER = 0.25, 0.02
"""Mean cosine that makes a factor worth trying, and by how much it must be better. Chosen by hand."""
_NEAR, _MOST_GAIN = 0.15, 1.3
"""Mean cosine from which rounded values are a target, and the largest correction of their scale. Set by hand."""


class Sources:
    """Sources of blocks in a grid, ``values`` = coefficients in steps @ ``maps`` + ``shifts``.

    ``score`` is the mean of cos(2 pi value) over values that do not round to zero. ``rounded`` are whole numbers.
    """

    def __init__(self, coefficients: NDArray[np.float32], steps: Floats, seed: int) -> None:
        """``coefficients`` (N, H, W, 64), and ``steps`` (64,) that serve as their units."""
        self.steps, self.grid = steps, coefficients.shape[:3]
        self.start = np.asarray(coefficients.reshape(-1, COUNT) / steps, np.float32)
        self.maps, self.shifts = np.eye(COUNT), np.zeros(COUNT)
        random = np.random.default_rng(seed)
        self.some = random.permutation(len(self.start))[:_LOOKED_AT]
        self.down, self.right = (self._list_pairs(random, axis) for axis in (1, 2))
        first, second = np.concatenate([self.down, self.right], axis=1)
        self.differences = self.start[first] - self.start[second]
        moments = (self.start.T @ self.start).astype(np.float64)
        self._inverse = np.linalg.inv(steady(moments + 1e-7 * np.diag(np.diag(moments))))
        self.look()

    def _list_pairs(self, random: np.random.Generator, axis: int) -> NDArray[np.int64]:
        """Numbers (2, P) of blocks that lie one below the other (axis 1), or side by side (axis 2)."""
        numbers, size = np.arange(len(self.start)).reshape(self.grid), self.grid[axis]
        pairs = np.stack([numbers.take(range(begin, begin + size - 1), axis).ravel() for begin in (0, 1)])
        return pairs[:, random.permutation(pairs.shape[1])[: _PAIRS // 2]]

    @property
    def whole(self) -> NDArray[np.bool_]:
        """Which sources have whole numbers (64,)."""
        return self.score > WHOLE

    def look(self) -> None:
        """Compute values and scores after a change of the maps. The first source gets the shift that fits best."""
        self.values = self.start @ self.maps.astype(np.float32) + self.shifts.astype(np.float32)
        turn = np.angle(np.exp(2j * np.pi * self.values[self.some, 0]).mean()) / (2 * np.pi)
        self.shifts[0] -= turn
        self.values[:, 0] -= np.float32(turn)
        self.rounded = np.round(self.values)
        told = np.abs(self.values) > 0.5
        cosines = np.einsum("bk,bk->k", np.cos(2 * np.pi * (self.values - self.rounded)), told)
        counts = told.sum(0)
        self.score = np.where(counts >= _LEAST, cosines / np.maximum(counts, 1), 0.0)

    def rescale(self) -> None:
        """Find the scale of each source that is not whole yet, but for the first, whose mean is large."""
        for number in np.flatnonzero(~self.whole[1:]) + 1:
            values, best, factor = self.values[self.some, number], max(self.score[number], _PROMISING), 1.0
            for scale in _SCALES:
                found = score_values(values * np.float32(scale), _MOSTLY)
                if found > best + _BETTER:
                    best, factor = found, scale
            self.maps[:, number] *= factor
        self.look()

    def round(self, times: int) -> None:
        """Fit the maps to the rounded values, without making them smaller."""
        for _ in range(times):
            target = (self.rounded - self.shifts).astype(np.float32)
            maps = self._inverse @ (self.start.T @ target).astype(np.float64)
            fitted = self.start @ maps.astype(np.float32)
            overlap = np.einsum("bk,bk->k", fitted, target)
            gain = np.einsum("bk,bk->k", target, target) / np.maximum(overlap, 1e-9)
            near = (self.score > _NEAR) & (gain < _MOST_GAIN)
            self.maps[:, near] = (maps * gain)[:, near]
            self.look()


def steady(moments: Floats) -> Floats:
    """Second moments that can be inverted, though some values never differ from zero."""
    return np.asarray(moments + (1e-9 * np.trace(moments) + 1e-12) * np.eye(len(moments)), np.float64)


def correlate(values: NDArray[np.float32], others: NDArray[np.float32]) -> Floats:
    """Correlations of columns (n, K) with others (n, L); 0 for what never differs."""
    spreads = []
    for part in (values, others):
        centred = part - part.mean(axis=0)
        spreads.append(centred / np.maximum(centred.std(axis=0), 1e-9))
    return np.asarray(spreads[0].T @ spreads[1] / len(values), np.float64)


def score_values(values: NDArray[Any], most: float = 1.0) -> float:
    """Mean of cos(2 pi value) over values (n,) that do not round to zero; 0 for few, or more than ``most``."""
    told = values[np.abs(values) > 0.5]
    if not _LEAST <= len(told) <= most * len(values):
        return 0.0
    return float(np.cos(2 * np.pi * told).mean())
