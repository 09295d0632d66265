"""Corrects the last pixels of a permutation by correlations with near places, then by the likelihood.

It is for maps of grid_directions.py, which are right in most places and shifted by a pixel or two in some.
Correlations with distant places are left out: they are small, and say little about single pixels.
"""

import numpy as np
from numpy.typing import NDArray

from cipherlens.attacks.shared.embedding import assign
from cipherlens.attacks.shared.swaps import Floats, rearrange, swap_pairs
from cipherlens.ciphers.structure import Order

_WIDTHS = (5.0, 3.0, 2.0)
"""Standard deviations in pixels of the windows for correlations, used one after the other. Set by hand."""
_STEPS = 5
"""Maximum reassignments in each window. Set by hand."""
_NOISE = 0.3
"""Added to the prior's diagonal before inversion: variance that neighbours do not predict. Set by hand."""


def fit_near(seen: Floats, prior: Floats, source: Order, height: int, width: int) -> Order:
    """Reassign places until their correlations with places in windows around them are as in ``prior``.

    ``seen`` and ``prior`` are correlations (H * W, H * W). ``source`` (H * W,) gives the place of ``seen`` in every
    place of the picture.
    """
    for spread in _WIDTHS:
        window = _cut_window(height, width, spread)
        expected = window * prior
        for _ in range(_STEPS):
            rows = seen[source]
            found = assign(window @ rows**2 - 2 * (expected @ rows))
            settled = np.array_equal(found, source)
            source = found
            if settled:
                break
    return source


def swap_likely(seen: Floats, prior: Floats, source: Order) -> Order:
    """Swap places while the likelihood of the prior's Gaussian model grows; it depends mainly on near places."""
    precision = np.linalg.inv(prior + _NOISE * np.eye(len(prior))).astype(np.float32)
    return swap_pairs(precision, seen, source)


def choose_way(seen: Floats, prior: Floats, source: Order, height: int, width: int) -> Order:
    """The orientation that fits ``prior`` best: of eight for a square, of four for a rectangle."""
    picture = source.reshape(height, width)
    turns = range(4) if height == width else (0, 2)
    ways = [np.rot90(side, turn).ravel() for side in (picture, picture[:, ::-1]) for turn in turns]
    return min(ways, key=lambda way: measure_misfit(seen, prior, way))


def measure_misfit(seen: Floats, prior: Floats, source: Order) -> float:
    """Mean square difference of the two correlations, the places of ``seen`` rearranged."""
    return float(np.mean((rearrange(seen, source) - prior) ** 2))


def _cut_window(height: int, width: int, spread: float) -> NDArray[np.float32]:
    """Gaussian weights (H * W, H * W) of pairs of places by their distance; zero on the diagonal."""
    down, across = (np.subtract.outer(np.arange(side), np.arange(side)) for side in (height, width))
    fall = [np.exp(-(steps**2) / (2 * spread**2)) for steps in (down, across)]
    window = np.kron(*fall).astype(np.float32)
    np.fill_diagonal(window, 0)
    return window
