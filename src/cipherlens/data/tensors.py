"""safetensors files without copies: written from arrays as they lie in memory, read by mapping.

The library's own functions copy a shard twice when writing and once when reading, which costs sealing a tenth of
its speed and makes random access to a large data set impossible. Tests check both directions against the library.
"""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.errors import DataError

RESTORE = "copy it again from where it was made, or encrypt again"
_DTYPES = {"U8": np.uint8, "F32": np.float32, "I64": np.int64}
_NAMES = {np.dtype(dtype): name for name, dtype in _DTYPES.items()}
_ALIGNMENT = 8
_MAX_HEADER = 100_000_000


def serialize(
    tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str] | None = None
) -> list[bytes | memoryview]:
    """The parts of a safetensors file, to be written one after the other; uint8, float32 and int64 arrays."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    arrays = [np.ascontiguousarray(tensor) for tensor in tensors.values()]
    position = 0
    for name, array in zip(tensors, arrays, strict=True):
        entry = {"dtype": _NAMES[array.dtype], "shape": list(array.shape)}
        header[name] = entry | {"data_offsets": [position, position + array.nbytes]}
        position += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return [struct.pack("<Q", len(text)), text, *(array.reshape(-1).view(np.uint8).data for array in arrays)]


def map_tensor(path: Path, name: str) -> NDArray[Any]:
    """A tensor of a safetensors file, memory-mapped read-only. Raises DataError if it cannot be."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > _MAX_HEADER:
                raise ValueError(f"a header of {length} bytes")
            entry = json.loads(file.read(length))[name]
        dtype, shape = _DTYPES[entry["dtype"]], tuple(entry["shape"])
        if 0 in shape:
            return np.empty(shape, dtype)
        return np.memmap(path, dtype, "r", 8 + length + entry["data_offsets"][0], shape)
    except (OSError, ValueError, KeyError, struct.error) as error:
        raise DataError(f"shard {path.name} cannot be read: {error}", hint=RESTORE) from None
