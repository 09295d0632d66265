"""Places of many pixels in the plane, from their nearest relations only.

Who is most alike to whom is a graph that looks like the grid of the pixels. Its smoothest oscillations (Belkin and
Niyogi, Neural Computation 15(6), 2003) draw it, the lengths of its edges straighten the drawing (stress
majorisation, Gansner, Koren and North 2004), and phases.py finds the rows and columns in it. Nothing is known of
natural images but that near pixels are alike, and correlations of all pairs of places need not fit into memory.
"""

import numpy as np
from numpy.typing import NDArray

from cipherlens.attacks.positions.phases import Plane, fill_grid, snap
from cipherlens.ciphers.rearrangement import Order

_STEPS_AWAY = np.sqrt([1.0] * 4 + [2.0] * 4 + [4.0] * 4)
"""How far away, in pixels, the most alike places lie: beside, diagonally, two further."""
_NEAREST = len(_STEPS_AWAY)
_BESIDE = 4
_ROWS = 1000
"""Places compared with all others at a time."""
_ITERATIONS = 40
_ANGLES = 180
_SMALL = 1e-6
_PLANE = 0.3
"""Share of triangles under which relations are not those of a plane."""
_OBLONG = 2
"""In longer pictures both of the smoothest oscillations lie along the longer side."""


def arrange_lattice(samples: NDArray[np.float32], height: int, width: int) -> tuple[Order, float]:
    """For every place of the picture the place in the ciphertext that belongs there; and how regular the map is.

    ``samples`` (n, H * W): what each place shows, centred and of length one along n. The second is in [0, 1]: 1
    where all places lie on whole rows and columns, 0 where the relations are not those of a plane, or one side is
    more than twice the other: nothing is moved then. Which way up the picture lies is left open.
    """
    near = find_nearest(np.ascontiguousarray(samples.T))
    if max(height, width) > _OBLONG * min(height, width) or _count_triangles(near) < _PLANE:
        return np.arange(len(near)), 0.0
    plane = _straighten(_draw(near, height, width), near)
    plane, regular = snap(plane, height, width)
    return fill_grid(plane, height, width), regular


def find_nearest(vectors: NDArray[np.float32]) -> NDArray[np.int64]:
    """(P, 12): the numbers of the most alike of vectors (P, n), the most alike first."""
    found = []
    for start in range(0, len(vectors), _ROWS):
        alike = vectors[start : start + _ROWS] @ vectors.T
        own = np.arange(len(alike))
        alike[own, start + own] = -np.inf
        best = np.argpartition(alike, -_NEAREST, axis=1)[:, -_NEAREST:]
        order = np.argsort(-np.take_along_axis(alike, best, axis=1), axis=1)
        found.append(np.take_along_axis(best, order, axis=1))
    return np.concatenate(found).astype(np.int64)


def _count_triangles(near: NDArray[np.int64]) -> float:
    """The share of places whose two most alike are alike, too: nearly all in a plane, hardly any by chance."""
    return float((near[near[:, 0]] == near[:, 1:2]).any(axis=1).mean())


def _draw(near: NDArray[np.int64], height: int, width: int) -> Plane:
    """A map (P, 2) by the two smoothest oscillations over the graph: half a wave along each side of the picture."""
    from scipy.sparse import csr_array, diags_array, eye_array
    from scipy.sparse.linalg import eigsh

    count = len(near)
    rows, columns = np.arange(count).repeat(_BESIDE), near[:, :_BESIDE].ravel()
    graph = csr_array((np.ones(len(rows)), (rows, columns)), shape=(count, count))
    graph = graph.maximum(graph.T)
    laplacian = diags_array(graph.sum(axis=1)) - graph + _SMALL * eye_array(count)
    start = np.random.default_rng(0).normal(size=count)
    waves = eigsh(laplacian.tocsc(), k=3, sigma=0, which="LM", v0=start)[1][:, 1:]
    # Where the sides are alike, any turn of the two waves is as smooth; upright they have the least fourth moments.
    angles = np.linspace(-np.pi / 4, np.pi / 4, _ANGLES, endpoint=False)
    turns = np.stack([[np.cos(angles), -np.sin(angles)], [np.sin(angles), np.cos(angles)]]).transpose(2, 0, 1)
    upright = waves @ min(turns, key=lambda turn: float(((waves @ turn) ** 4).sum()))
    if width > height:
        upright = upright[:, ::-1]
    ranks = upright.argsort(axis=0).argsort(axis=0)
    return np.asarray((ranks + 0.5) / count * [height, width] - 0.5)


def _straighten(plane: Plane, near: NDArray[np.int64]) -> Plane:
    """Move the places (P, 2) until they lie as far from those most alike to them as such places do on a grid."""
    from scipy.sparse import csr_array, diags_array, eye_array
    from scipy.sparse.linalg import splu

    count = len(near)
    rows, columns = np.arange(count).repeat(_NEAREST), near.ravel()
    shape = (count, count)
    lengths = csr_array((np.tile(_STEPS_AWAY, count), (rows, columns)), shape=shape)
    edges = csr_array((np.ones(len(rows)), (rows, columns)), shape=shape)
    total, times = (lengths + lengths.T).tocoo(), (edges + edges.T).tocoo()
    first, second = total.row, total.col
    away = total.data / times.data
    weights = times.data / away**2
    graph = csr_array((weights, (first, second)), shape=shape)
    solver = splu((diags_array(graph.sum(axis=1)) - graph + _SMALL * eye_array(count)).tocsc())
    middle = plane.mean(axis=0)
    for _ in range(_ITERATIONS):
        across = plane[first] - plane[second]
        pull = (weights * away / np.maximum(np.hypot(*across.T), _SMALL))[:, None] * across
        sums = np.stack([np.bincount(first, part, minlength=count) for part in pull.T], axis=1)
        plane = solver.solve(sums)
        plane += middle - plane.mean(axis=0)
    return plane
