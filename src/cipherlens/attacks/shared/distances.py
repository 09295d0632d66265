"""Squared distances of all pairs."""

from typing import Any

from numpy.typing import NDArray


def squared_distances(first: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
    """Distances (..., n, m) of rows (..., n, d) and (..., m, d); rounding can make them slightly negative."""
    lengths = (first**2).sum(axis=-1)[..., :, None] + (second**2).sum(axis=-1)[..., None, :]
    distances: NDArray[Any] = lengths - 2 * first @ second.swapaxes(-1, -2)
    return distances
