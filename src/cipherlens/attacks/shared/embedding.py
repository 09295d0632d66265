"""Embedding of positions in the plane by their correlations, and matching with that of public images."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.attacks.shared.distances import squared_distances
from cipherlens.attacks.shared.graph import link
from cipherlens.attacks.shared.swaps import Floats
from cipherlens.ciphers.structure import Order

Plane = NDArray[np.float64]

_NEIGHBOURS = 8
"""Neighbours of each position in the graph of Isomap. Set by hand."""
_ANGLES = 90
"""Rotations compared within a quarter turn, one per degree. Set by hand."""


def embed(correlation: Floats) -> Plane:
    """Isomap embedding (n, 2): distances are those of shortest paths among the most correlated positions.

    Tenenbaum, de Silva and Langford, Science 290, 2000. ``correlation`` is (n, n).
    """
    from scipy.linalg import eigh
    from scipy.sparse.csgraph import shortest_path

    count = len(correlation)
    distance = np.sqrt(np.maximum(2 - 2 * correlation, 1e-6))
    nearest = np.argpartition(distance, _NEIGHBOURS + 1, axis=1)[:, : _NEIGHBOURS + 1]
    rows = np.arange(count).repeat(nearest.shape[1])
    graph = link(distance[rows, nearest.ravel()], rows, nearest.ravel(), count)
    chains = shortest_path(graph, directed=False)
    apart = ~np.isfinite(chains)
    chains[apart] = chains[~apart].max()
    squared = chains**2
    centred = -(squared - squared.mean(axis=0) - squared.mean(axis=1)[:, None] + squared.mean()) / 2
    values, vectors = eigh(centred, subset_by_index=[count - 2, count - 1])
    plane: Plane = vectors * np.sqrt(np.maximum(values, 0))
    return np.asarray(plane / np.abs(plane).mean())


def lay_over(seen: Plane, prior: Plane) -> list[Order]:
    """Eight assignments between two embeddings (n, 2), one for each symmetry of the square.

    Each gives, for every position of ``prior``, the index of a position of ``seen``.
    """
    seen, prior = (_square_up(plane) for plane in (seen, prior))
    quarter = np.array([[0.0, -1.0], [1.0, 0.0]])
    turns = [np.linalg.matrix_power(quarter, number) for number in range(4)]
    laid = [seen @ turn * [mirror, 1.0] for mirror in (1.0, -1.0) for turn in turns]
    return [assign(squared_distances(prior, plane)) for plane in laid]


def _square_up(plane: Plane) -> Plane:
    """The embedding rotated so that its square outline is upright: there the fourth moments are minimal."""
    angles = np.linspace(0, np.pi / 2, _ANGLES, endpoint=False)
    turns = np.stack([[np.cos(angles), -np.sin(angles)], [np.sin(angles), np.cos(angles)]]).transpose(2, 0, 1)
    moments = ((plane @ turns) ** 4).mean(axis=1).sum(axis=1)
    return np.asarray(plane @ turns[moments.argmin()])


def assign(cost: NDArray[Any]) -> Order:
    """For every row of ``cost`` (n, n) the column that a cheapest assignment gives it."""
    from scipy.optimize import linear_sum_assignment

    columns: Order = linear_sum_assignment(cost)[1].astype(np.int64)
    return columns
