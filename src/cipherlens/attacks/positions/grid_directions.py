"""Embeds many pixels in the plane, from their nearest neighbours only.

The graph of the most correlated places looks like the grid of the pixels. The smoothest eigenvectors of its
Laplacian embed it (Belkin and Niyogi, Neural Computation 15(6), 2003). Stress majorisation straightens the map by
the lengths of its edges (Gansner, Koren and North 2004). phases.py finds the rows and columns. The attack assumes
of natural images only that near pixels are alike. Correlations of all pairs of places need not fit into memory.
"""

import numpy as np
from numpy.typing import NDArray

from cipherlens.attacks.positions.phases import Plane, fill_grid, snap
from cipherlens.ciphers.structure import Order

_STEPS_AWAY = np.sqrt([1.0] * 4 + [2.0] * 4 + [4.0] * 4)
"""Distances in pixels of the twelve nearest places of a grid: adjacent, diagonal, two apart."""
_NEAREST = len(_STEPS_AWAY)
_BESIDE = 4
"""Places that are adjacent to a place of the grid: its neighbours in the graph of the Laplacian."""
_ROWS = 1000
"""Places compared with all others at a time: a limit on memory, set by hand."""
_ITERATIONS = 40
"""Iterations of stress majorisation. Set by hand."""
_ANGLES = 180
"""Rotations compared within a quarter turn, two per degree. Set by hand."""
_SMALL = 1e-6
"""Added to Laplacians, and the minimum length that is divided by, against singularity. Set by hand."""
_PLANE = 0.3
"""Share of triangles below which the graph is not that of a plane. Set by hand."""
_OBLONG = 2
"""Maximum ratio of the sides: above 2 both smoothest eigenvectors vary along the longer side."""


def arrange_lattice(samples: NDArray[np.float32], height: int, width: int) -> tuple[Order, float]:
    """For every place of the picture the place in the ciphertext that belongs there, and the map's regularity.

    ``samples`` (n, H * W) are the values of each place, centred and of length one along n. The regularity is in [0,
    1], and 1 where all places lie on whole rows and columns. It is 0 where the graph is not that of a plane, or one
    side is more than twice the other; nothing is moved then. The orientation of the picture is left open.
    """
    near = find_nearest(np.ascontiguousarray(samples.T))
    if max(height, width) > _OBLONG * min(height, width) or _count_triangles(near) < _PLANE:
        return np.arange(len(near)), 0.0
    plane = _straighten(_draw(near, height, width), near)
    plane, regular = snap(plane, height, width)
    return fill_grid(plane, height, width), regular


def find_nearest(vectors: NDArray[np.float32]) -> NDArray[np.int64]:
    """Numbers (P, 12) of the most similar of vectors (P, n), the most similar first."""
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
    """Share of places whose two nearest neighbours are neighbours as well: near 1 in a plane, near 0 by chance."""
    return float((near[near[:, 0]] == near[:, 1:2]).any(axis=1).mean())


def _draw(near: NDArray[np.int64], height: int, width: int) -> Plane:
    """Map (P, 2) by the two smoothest eigenvectors of the Laplacian: a half wave along each side of the picture."""
    from scipy.sparse import csr_array, diags_array, eye_array
    from scipy.sparse.linalg import eigsh

    count = len(near)
    rows, columns = np.arange(count).repeat(_BESIDE), near[:, :_BESIDE].ravel()
    graph = csr_array((np.ones(len(rows)), (rows, columns)), shape=(count, count))
    graph = graph.maximum(graph.T)
    laplacian = diags_array(graph.sum(axis=1)) - graph + _SMALL * eye_array(count)
    start = np.random.default_rng(0).normal(size=count)
    waves = eigsh(laplacian.tocsc(), k=3, sigma=0, which="LM", v0=start)[1][:, 1:]
    # With equal sides any rotation of the two eigenvectors is as smooth; the upright one has least fourth moments.
    angles = np.linspace(-np.pi / 4, np.pi / 4, _ANGLES, endpoint=False)
    turns = np.stack([[np.cos(angles), -np.sin(angles)], [np.sin(angles), np.cos(angles)]]).transpose(2, 0, 1)
    upright = waves @ min(turns, key=lambda turn: float(((waves @ turn) ** 4).sum()))
    if width > height:
        upright = upright[:, ::-1]
    ranks = upright.argsort(axis=0).argsort(axis=0)
    return np.asarray((ranks + 0.5) / count * [height, width] - 0.5)


def _straighten(plane: Plane, near: NDArray[np.int64]) -> Plane:
    """Move the places (P, 2) until their distances to their nearest places are those of a grid."""
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
