"""Requests and answers of the Open Inference Protocol v2, with its binary tensor extension.

A body is JSON, or JSON whose length the header ``Inference-Header-Content-Length`` gives, followed by the tensors'
bytes: little-endian, row-major, in the order of the inputs.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from cipherlens.inference import LENGTH_HEADER
from cipherlens.service.errors import RequestError, malformed, unfit

DATATYPES = {"UINT8": "<u1", "FP16": "<f2", "FP32": "<f4", "BF16": "<u2"}
"""Datatypes of inputs, as NumPy reads their bytes. BF16 is the upper half of FP32."""
_BINARY_ONLY = ("FP16", "BF16")
_MOST_DIMENSIONS = 8
Name = Annotated[str, Meta(min_length=1, max_length=256)]
Side = Annotated[int, Meta(ge=0, le=2**31)]


class Parameters(msgspec.Struct):
    """Parameters that are known; others are ignored, as the protocol asks."""

    binary_data_size: Annotated[int, Meta(ge=0, le=2**40)] | None = None
    binary_data: bool | None = None
    binary_data_output: bool = False
    key_fingerprint: Annotated[str, Meta(max_length=64)] | None = None
    cipher: Annotated[str, Meta(max_length=256)] | None = None
    model_id: Annotated[str, Meta(max_length=64)] | None = None
    allow_plain: bool = False


class Input(msgspec.Struct):
    """One input tensor."""

    name: Name
    shape: Annotated[list[Side], Meta(min_length=1, max_length=_MOST_DIMENSIONS)]
    datatype: Name
    parameters: Parameters = msgspec.field(default_factory=Parameters)
    data: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)


class Output(msgspec.Struct):
    """One output that is asked for."""

    name: Name
    parameters: Parameters = msgspec.field(default_factory=Parameters)


class _Request(msgspec.Struct):
    inputs: Annotated[list[Input], Meta(min_length=1, max_length=16)]
    id: Annotated[str, Meta(max_length=256)] = ""
    parameters: Parameters = msgspec.field(default_factory=Parameters)
    outputs: Annotated[list[Output], Meta(max_length=16)] = msgspec.field(default_factory=list)


@dataclass(frozen=True)
class Request:
    """A request whose only input is ``images``, as they came. ``binary``: which outputs go out as bytes."""

    id: str
    images: NDArray[Any]
    outputs: tuple[str, ...]
    binary: dict[str, bool]
    parameters: Parameters


Check = Callable[[Input, Parameters, tuple[str, ...]], None]
"""Function that raises RequestError where what a request announces does not fit."""
_DECODER = msgspec.json.Decoder(_Request)
_Byte = Annotated[int, Meta(ge=0, le=255)]
_FLAT: dict[bool, Any] = {True: msgspec.json.Decoder(list[float]), False: msgspec.json.Decoder(list[_Byte])}
_MOST_CHARACTERS, _BRACKETS = 32, 1 << 20
"""Characters of a number in JSON with what is around it, and of the brackets of all. A limit on memory."""


def unpack(body: bytes, encoding: str, limit: int) -> bytes:
    """A body without its compression (gzip or deflate). Raises RequestError where it is larger than ``limit``."""
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "deflate"):
        raise RequestError(415, "malformed", f"content encoding {encoding[:40]!r} is not supported: gzip, deflate")
    unpacker = zlib.decompressobj(31 if encoding == "gzip" else 15)
    try:
        found = unpacker.decompress(body, limit + 1)
    except zlib.error:
        raise malformed(f"the body is not {encoding}") from None
    if len(found) > limit:
        raise RequestError(413, "too large", f"the unpacked body is larger than {limit:,} bytes")
    if not unpacker.eof:
        raise malformed(f"the {encoding} body is cut off")
    return found


def parse_request(body: bytes, length: str | None, check: Check) -> Request:
    """A request from a body and the value of ``LENGTH_HEADER``. Raises RequestError for any other content.

    ``check`` is called before the values are read, so that nothing large is made of what does not fit.
    """
    text, rest = _split(body, length)
    try:
        asked = _DECODER.decode(text)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise malformed(f"the request is not one of this protocol: {str(error)[:200]}") from None
    if len(asked.inputs) != 1:
        raise unfit(f"{len(asked.inputs)} inputs given, the model takes one")
    default = asked.parameters.binary_data_output
    wanted = {
        out.name: default if out.parameters.binary_data is None else out.parameters.binary_data
        for out in asked.outputs
    }
    check(asked.inputs[0], asked.parameters, tuple(wanted))
    images = _read_tensor(asked.inputs[0], rest)
    return Request(asked.id, images, tuple(wanted), wanted or {"": default}, asked.parameters)


def _split(body: bytes, length: str | None) -> tuple[bytes, bytes]:
    if length is None:
        return body, b""
    if not (length.isascii() and length.isdecimal() and len(length) < 16) or int(length) > len(body):
        raise malformed(f"{LENGTH_HEADER} is not a length within the body")
    return body[: int(length)], body[int(length) :]


def _read_tensor(given: Input, rest: bytes) -> NDArray[Any]:
    if given.datatype not in DATATYPES:
        raise unfit(f"datatype {given.datatype[:40]!r} is not taken: {', '.join(DATATYPES)}")
    dtype, size = np.dtype(DATATYPES[given.datatype]), given.parameters.binary_data_size
    values = prod(given.shape)
    if size is None:
        if rest:
            raise malformed("there are bytes behind the JSON, but no binary_data_size")
        return _read_numbers(given, dtype, values)
    if bytes(given.data):
        raise malformed("an input has data and binary_data_size")
    if size != len(rest) or size != values * dtype.itemsize:
        raise malformed(
            f"{given.name[:40]!r}: {values:,} values of {given.datatype} announced as {size:,} bytes, "
            f"{len(rest):,} came"
        )
    return _widen(np.frombuffer(rest, dtype).reshape(given.shape), given.datatype)


def _read_numbers(given: Input, dtype: np.dtype[Any], values: int) -> NDArray[Any]:
    if given.datatype in _BINARY_ONLY:
        raise malformed(f"{given.datatype} exists in binary form only")
    raw = bytes(given.data)
    if not values <= len(raw) <= _MOST_CHARACTERS * values + _BRACKETS:  # before memory is allocated
        raise malformed("an input has another number of values than its shape says")
    try:
        found = _decode(raw, dtype.kind == "f", len(given.shape))
    except (msgspec.MsgspecError, RecursionError, ValueError):
        raise malformed("the data of an input are not numbers of its datatype in a regular array") from None
    if found.size != values:
        raise malformed(f"an input has {found.size:,} values, its shape says {values:,}")
    with np.errstate(over="ignore"):
        return found.astype(dtype).reshape(given.shape)


def _decode(raw: bytes, real: bool, dimensions: int) -> NDArray[Any]:
    """Numbers in a flat list, or in lists as deep as the shape."""
    try:
        return np.array(_FLAT[real].decode(raw))
    except msgspec.ValidationError:
        kind: Any = float if real else _Byte
        for _ in range(dimensions):
            kind = list[kind]
        return np.array(msgspec.json.decode(raw, type=kind))


def _widen(array: NDArray[Any], datatype: str) -> NDArray[Any]:
    """16 bits as float32, without rounding; other arrays as they are."""
    if datatype == "BF16":
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.float32) if datatype == "FP16" else array


def write_answer(
    model: str, version: str, request: Request, outputs: dict[str, NDArray[np.float32]]
) -> tuple[bytes, dict[str, str]]:
    """The body and headers of an answer with these FP32 outputs."""
    described, chunks = [], []
    for name, values in outputs.items():
        facts: dict[str, Any] = {"name": name, "shape": list(values.shape), "datatype": "FP32"}
        if request.binary.get(name, request.binary.get("", False)):
            chunks.append(np.ascontiguousarray(values, "<f4").tobytes())
            facts["parameters"] = {"binary_data_size": len(chunks[-1])}
        else:
            facts["data"] = values.reshape(-1).tolist()
        described.append(facts)
    text = msgspec.json.encode(
        {"model_name": model, "model_version": version, "id": request.id, "outputs": described}
    )
    if not chunks:
        return text, {"Content-Type": "application/json"}
    headers = {"Content-Type": "application/octet-stream", LENGTH_HEADER: str(len(text))}
    return b"".join([text, *chunks]), headers
