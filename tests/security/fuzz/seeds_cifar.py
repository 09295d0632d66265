"""Small CIFAR batches in torchvision's layout, right and wrong."""

import os
import pickle
from functools import lru_cache
from random import Random
from typing import Any

import numpy as np

from tests.security.fuzz.mutate_json import pick_value
from tests.security.fuzz.trees import Tree

_CALLS: tuple[Any, ...] = (
    *((os.system, "echo hacked"), (eval, "1+1"), (np.dtype, "O"), (np.ndarray, (10**10,))),
    *((np.ndarray, (2, 3072), "O"), (np.ndarray, (0, 2**62))),
)
_LISTS: tuple[Any, ...] = (
    *([0], [0, 1, 2], [-1, 5], [0, 10], ["a", "b"], [None, 0], [0.5, 1], [[0], [1]], [10**30, 0], "ab", (0, 1)),
)
_WHOLE: tuple[Any, ...] = ([], 5, None, "x", [[1, 2]], [("data", 1)], {1: 2}, ["ab"], set(), np.zeros(3))


@lru_cache(1)
def make_cifar() -> Tree:
    """CIFAR-10 with two images a batch."""
    rng, folder = np.random.default_rng(0), "cifar-10-batches-py"
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    tree: Tree = {f"{folder}/{name}": pickle.dumps(_batch(rng), protocol=2) for name in names}
    tree[f"{folder}/batches.meta"] = pickle.dumps({"label_names": [f"class{i}" for i in range(10)]}, protocol=2)
    return tree


def _batch(rng: np.random.Generator) -> dict[str, Any]:
    data = rng.integers(0, 256, (2, 3072), dtype=np.uint8)
    return {"data": data, "labels": rng.integers(0, 10, 2).tolist(), "batch_label": "x", "filenames": ["a", "b"]}


class Evil:
    """What a pickle must not be able to call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self._call = function, arguments

    def __reduce__(self) -> Any:
        return self._call


def spoil_cifar(rng: Random, content: bytes) -> bytes:
    """A batch (or the names) that pickles well, and holds something else."""
    value, kind = pickle.loads(content), rng.random()
    name = rng.choice(list(value))
    if kind < 0.15:
        value[name] = Evil(*rng.choice(_CALLS))
    elif kind < 0.3:
        value.pop(name)
    elif kind < 0.4:
        value = rng.choice(_WHOLE)
    else:
        value[name] = rng.choice((_pick_array, pick_value, lambda r: r.choice(_LISTS)))(rng)
    return pickle.dumps(value, protocol=rng.choice((0, 1, 2, 4, 5)))


def _pick_array(rng: Random) -> Any:
    shape = rng.choice(((2, 3072), (3, 3072), (2, 3071), (6144,), (0, 3072), (2, 3, 32, 32), (), (1, 1), (2, 0)))
    dtype = rng.choice(("u1", "f4", "i8", "O", "U1", "bool", "M8[s]", "c8", "V8", "i1", ">u2", "u1,u1"))
    return np.zeros(shape, dtype)
