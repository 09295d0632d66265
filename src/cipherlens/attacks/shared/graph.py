"""Sparse graphs for scipy."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def link(weights: NDArray[Any], first: NDArray[np.int64], second: NDArray[np.int64], count: int) -> Any:
    """Sparse array (count, count) of ``weights`` (E,) between nodes ``first`` and ``second`` (E,).

    Its indices have 32 bits: before scipy 1.17.1 the functions of csgraph take no others.
    """
    from scipy.sparse import coo_array

    places = first.astype(np.int32), second.astype(np.int32)
    return coo_array((weights, places), shape=(count, count)).tocsr()
