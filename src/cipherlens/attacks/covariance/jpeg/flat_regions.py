"""Whole numbers begin in flat regions: neighbouring blocks differ by few steps there, so rounding is right.

Each source is fitted to its rounded differences there first, and then where pictures are less and less flat.
"""

import numpy as np

from cipherlens.attacks.covariance.jpeg.coefficients import COUNT
from cipherlens.attacks.covariance.jpeg.sources import Sources, score_values

_SHARES = np.geomspace(0.02, 1, 24)
"""Shares of the pairs, the flattest first. Chosen by hand."""
_SCALES = np.exp(np.arange(-1.2, 1.6, 0.04))
"""Factors by which low coefficients are tried: those of quality 25 to 95 where the table is that of 75."""
_FLATTEST = (0.1, 0.2)
"""Shares of the pairs in which they are tried. Chosen by hand."""
_FITS, _ENOUGH = 5, 100
"""Fits at each share, and differences other than zero that they need. Set by hand."""
_NOISE, _LIKELY, _ANY = 0.02, 0.05, 2.0
"""Variance of rounding; spread of what a source that is not whole may hold of others, and of whole ones."""
_LOST, _FOUND = 0.1, 0.5
"""Mean cosine below which a source is given up, and from which it is taken. Chosen by hand."""


def grow(sources: Sources) -> None:
    """Fit each source but the first that is not whole to whole differences, from flat regions to all."""
    differences = sources.differences @ sources.maps.astype(np.float32)
    spread = differences.std(axis=0)
    wide = _LIKELY * np.sqrt(np.maximum(1, spread.max() / np.maximum(spread, 1e-3)))
    penalty = _NOISE / np.where(sources.whole, _ANY, wide) ** 2
    waiting = np.flatnonzero(~sources.whole)
    maps = sources.maps.copy()
    for number in waiting[np.argsort(spread[waiting])]:
        if number > 0 and (found := _fit(differences, penalty, number)) is not None:
            maps[:, number] = sources.maps @ found
    sources.maps = maps
    sources.look()


def find_scale(sources: Sources) -> float:
    """By what factor the units of sources that are not whole are too large, for all together.

    Their scale is about that of the start, which is right for low coefficients, not for high ones.
    """
    differences = sources.differences @ sources.maps.astype(np.float32)
    total = np.zeros(len(_SCALES))
    for number in map(int, np.flatnonzero(~sources.whole[1:]) + 1):
        flattest = _sort_by_flatness(differences, number)
        for share in _FLATTEST:
            values = differences[flattest[: int(share * len(flattest))], number]
            total += [score_values(values * np.float32(scale)) for scale in _SCALES]
    return float(1 / _SCALES[int(total.argmax())])


def _sort_by_flatness(differences: np.ndarray, number: int) -> np.ndarray:
    """Pairs by how little all other sources differ."""
    return np.argsort(np.abs(np.delete(differences, number, axis=1)).sum(axis=1))


def _fit(differences: np.ndarray, penalty: np.ndarray, number: int) -> np.ndarray | None:
    """The combination (64,) of differences that is whole everywhere, close to that of ``number``; None if none."""
    alone = np.eye(COUNT)[number]
    flattest = _sort_by_flatness(differences, number)
    found, score = alone, 0.0
    for share in _SHARES:
        seen = differences[flattest[: int(share * len(flattest))]].astype(np.float64)
        moments = seen.T @ seen + np.diag(penalty)
        for _ in range(_FITS):
            values = seen @ found
            rounded = np.round(values)
            if np.count_nonzero(rounded) < _ENOUGH:
                break
            found = found + np.linalg.solve(moments, seen.T @ (rounded - values) - penalty * (found - alone))
        values = seen @ found
        score = score_values(values)
        if np.count_nonzero(np.abs(values) > 0.5) > _ENOUGH and score < _LOST:
            return None
    return found if score > _FOUND else None
