"""Messages between the page's process and the eavesdropper's: one line of JSON, and the bytes of one array."""

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray


def write_message(facts: dict[str, Any], array: NDArray[Any]) -> bytes:
    """The bytes of a message."""
    said = facts | {"array": [array.dtype.str, list(array.shape)]}
    return json.dumps(said).encode() + b"\n" + np.ascontiguousarray(array).tobytes()


def read_head(line: bytes) -> tuple[dict[str, Any], int]:
    """What a message says, and how many bytes follow. Raises ValueError for a broken line."""
    facts: dict[str, Any] = json.loads(line)
    dtype, shape = facts["array"]
    return facts, int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize


def read_array(facts: dict[str, Any], content: bytes) -> NDArray[Any]:
    """The array of a message."""
    dtype, shape = facts["array"]
    return np.frombuffer(content, dtype).reshape(shape)
