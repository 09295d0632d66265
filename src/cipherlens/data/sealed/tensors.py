"""safetensors files without copies: written from arrays in memory, read as views of the file's bytes.

The library's functions copy a shard twice when writing, which slows sealing by a tenth. They copy it once when
reading, which prevents random access to a large data set. Tests check both directions against the library.
"""

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.schema import Count, parse
from cipherlens.untrusted import parse_json

_DTYPES = {"U8": np.uint8, "F32": np.float32, "I64": np.int64}
_NAMES = {np.dtype(dtype): name for name, dtype in _DTYPES.items()}
_ALIGNMENT = 8
"""The header is padded to a multiple of this, as by the safetensors library."""
_LENGTH_BYTES = 8
"""A file begins with the header's length in this many bytes (safetensors format)."""
_MAX_HEADER = 100_000_000
"""Maximum bytes of a header, as in the safetensors library."""
_METADATA = "__metadata__"
_MOST_AXES = 8
"""Tensors with more axes are refused; those of shards have at most four. Chosen by hand."""


def serialize(
    tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str] | None = None
) -> list[bytes | memoryview]:
    """The parts of a safetensors file, in the order of writing; takes uint8, float32 and int64 arrays."""
    header: dict[str, Any] = {_METADATA: dict(metadata)} if metadata else {}
    arrays = [np.ascontiguousarray(tensor) for tensor in tensors.values()]
    position = 0
    for name, array in zip(tensors, arrays, strict=True):
        entry = {"dtype": _NAMES[array.dtype], "shape": list(array.shape)}
        header[name] = entry | {"data_offsets": [position, position + array.nbytes]}
        position += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return [struct.pack("<Q", len(text)), text, *(array.reshape(-1).view(np.uint8).data for array in arrays)]


@dataclass(frozen=True)
class _Entry:
    """One tensor's entry in the header."""

    dtype: str
    shape: tuple[Count, ...]
    data_offsets: tuple[Count, Count]


def parse_tensors(content: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    """The tensors of a safetensors file by name, as views of its bytes (n,).

    Raises ValueError where the header does not fit these bytes, before anything is allocated.
    """
    if len(content) < _LENGTH_BYTES:
        raise ValueError("no header")
    start = _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES].tobytes(), "little")
    if start > min(len(content), _MAX_HEADER):
        raise ValueError(f"a header of {start - _LENGTH_BYTES} bytes")
    header = parse_json(content[_LENGTH_BYTES:start].tobytes())
    header.pop(_METADATA, None)
    return {name: _view(content[start:], parse(entry, _Entry)) for name, entry in header.items()}


def parse_metadata(content: NDArray[np.uint8]) -> dict[str, str]:
    """The metadata of a file that :func:`parse_tensors` has accepted: texts by name."""
    end = _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES].tobytes(), "little")
    found = parse_json(content[_LENGTH_BYTES:end].tobytes()).get(_METADATA, {})
    return {str(name): str(text) for name, text in dict(found).items()}


def _view(data: NDArray[np.uint8], entry: _Entry) -> NDArray[Any]:
    if entry.dtype not in _DTYPES or len(entry.shape) > _MOST_AXES:
        raise ValueError(f"a tensor of dtype {entry.dtype} with {len(entry.shape)} axes")
    dtype, (start, end) = np.dtype(_DTYPES[entry.dtype]), entry.data_offsets
    if end > len(data) or end - start != math.prod(entry.shape) * dtype.itemsize:
        raise ValueError("a tensor that does not fill its place")
    return data[start:end].view(dtype).reshape(entry.shape)
