"""Rows and columns of a map of pixels that is right from neighbour to neighbour, but slightly bent as a whole.

The offset of a coordinate from whole numbers is a phase that changes slowly over the map. The unwrapped phases
(least squares, Ghiglia and Romero, JOSA A 11(1), 1994) are the bend of the map. Without the bend all coordinates
are whole numbers.
"""

import numpy as np
from numpy.typing import NDArray

from cipherlens.attacks.shared.distances import squared_distances
from cipherlens.ciphers.structure import Order

Plane = NDArray[np.float64]
_PASSES = 8
"""Times that the bend is measured and removed. Set by hand."""
_SPREAD = 1.0
"""Standard deviation in pixels of the average over phases: larger ones blur the bends. Set by hand."""
_SHIFTS = 8
"""Maximum whole number by which a map is shifted. Set by hand."""
_MOST_LEFT = 4000
"""Maximum places that are put in empty cells by linear assignment: a limit on time (seconds)."""


def snap(plane: Plane, height: int, width: int) -> tuple[Plane, float]:
    """The map (P, 2) of rows and columns without its bends, and the mean coherence of its phases in [0, 1]."""
    regular = 0.0
    for _ in range(_PASSES):
        cells = _choose_cells(plane, height, width)
        bends, found = zip(*(_measure_bend(place, cells, (height, width)) for place in plane.T), strict=True)
        straight = plane - np.stack(bends, axis=1)
        sides = zip(straight.T, (height, width), strict=True)
        plane, regular = np.stack([_shift(place, side) for place, side in sides], axis=1), float(np.mean(found))
    return plane, regular


def _choose_cells(plane: Plane, height: int, width: int) -> NDArray[np.int64]:
    rows, columns = np.clip(np.rint(plane), 0, [height - 1, width - 1]).astype(np.int64).T
    return np.asarray(rows * width + columns)


def _measure_bend(place: Plane, cells: NDArray[np.int64], shape: tuple[int, int]) -> tuple[Plane, float]:
    """Smooth offset of coordinates (P,) from whole numbers, up to a whole number, and the mean coherence."""
    from scipy.ndimage import gaussian_filter

    wave = np.exp(2j * np.pi * place)
    sums = (
        gaussian_filter(np.bincount(cells, part, shape[0] * shape[1]).reshape(shape), _SPREAD, mode="nearest")
        for part in (wave.real, wave.imag, np.ones(len(place)))
    )
    real, imaginary, number = sums
    phases = np.arctan2(imaginary, real) / (2 * np.pi)
    bend = unwrap(phases)
    bend += np.angle(np.exp(2j * np.pi * (phases - bend)).mean()) / (2 * np.pi)
    coherence = np.hypot(real, imaginary) / np.maximum(number, 1e-3)
    return bend.ravel()[cells], float(coherence.mean())


def unwrap(phases: Plane) -> Plane:
    """The smooth field (H, W) whose slopes are nearest to those of ``phases``, which are known up to whole numbers.

    A Poisson equation, solved by the cosine transform. Its mean is zero.
    """
    from scipy.fft import dctn, idctn

    divergence, frequencies = np.zeros_like(phases), np.zeros_like(phases)
    for axis, side in enumerate(phases.shape):
        slope = np.diff(phases, axis=axis)
        slope -= np.rint(slope)
        ends = [(0, 0), (0, 0)]
        ends[axis] = (1, 1)
        divergence += np.diff(np.pad(slope, ends), axis=axis)
        curve = 2 * np.cos(np.pi * np.arange(side) / side) - 2
        frequencies += curve[:, None] if axis == 0 else curve[None]
    frequencies[0, 0] = 1
    spectrum = dctn(divergence) / frequencies
    spectrum[0, 0] = 0
    return np.asarray(idctn(spectrum))


def _shift(place: Plane, side: int) -> Plane:
    """The coordinates (P,) moved by the whole number that brings them nearest to 0 ... side - 1."""
    moved = [place + number for number in range(-_SHIFTS, _SHIFTS + 1)]
    return min(moved, key=lambda places: float(np.abs(places - np.clip(places, -0.5, side - 0.5)).sum()))


def fill_grid(plane: Plane, height: int, width: int) -> Order:
    """For every cell of the grid the number of a place of the map (P, 2): the nearest in it, or one left over."""
    from scipy.optimize import linear_sum_assignment

    cells = _choose_cells(plane, height, width)
    off = np.abs(plane - np.rint(plane)).max(axis=1)
    order = np.lexsort((off, cells))
    first = np.concatenate([[True], np.diff(cells[order]) > 0])
    source = np.full(height * width, -1, np.int64)
    source[cells[order[first]]] = order[first]
    left, empty = order[~first], np.flatnonzero(source < 0)
    source[empty] = left
    if 0 < len(left) <= _MOST_LEFT:
        grid = np.stack(np.divmod(empty, width), axis=1).astype(np.float64)
        source[empty] = left[linear_sum_assignment(squared_distances(grid, plane[left]))[1]]
    return source
