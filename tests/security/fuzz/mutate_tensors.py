"""Mutations of safetensors files: the header's types, shapes, offsets and names, and its length."""

import json
import struct
from random import Random
from typing import Any

from tests.security.fuzz.mutate_json import STRINGS, mutate_json, to_text

DTYPES = ("U8", "F32", "I64", "F64", "BF16", "F16", "BOOL", "I8", "F8_E4M3", "C64", "", "X", None, 5, ["F32"])
SHAPES: tuple[Any, ...] = (
    *([], [0], [-1], [1], [2**31], [2**62, 4], [2**63], [2**64], [0, 2**62, 2**62], [1.0], [True], ["1"], [1] * 70),
    *(None, 3, {}),
    *([4, 3, 16, 16], [16, 16, 3, 4], [4, 768], [3072], [4], [0, 3, 16, 16], [10**5, 10**5]),
)
OFFSETS: tuple[Any, ...] = (
    *([0, 0], [0], [], [-8, 8], [8, 0], [0, 2**63], [2**63, 2**64], [1, 33], [0.0, 32.0], [None, None], None, 0),
    *(["0", "8"], [True, 9]),
)
LENGTHS = (0, 1, 2, 7, 100, 10**6, 99_999_999, 100_000_000, 100_000_001, 2**31, 2**63, 2**64 - 1)


def mutate_tensors(rng: Random, content: bytes) -> tuple[bytes, str]:
    """Change the header of a safetensors file, and keep the rest."""
    (length,) = struct.unpack("<Q", content[:8])
    header, body = json.loads(content[8 : 8 + length]), content[8 + length :]
    kind = rng.randrange(6)
    if kind == 0:
        return struct.pack("<Q", rng.choice((*LENGTHS, length + 1, length - 1, length + 8))) + content[
            8:
        ], "header length"
    if kind == 1:
        header, note = mutate_json(rng, header)
    elif kind == 2:
        header["__metadata__"], note = (
            rng.choice(({"a": 1}, 5, None, {"a": "\x1b[2J"}, {"a": {}}, [], STRINGS)),
            "metadata",
        )
    else:
        note = _change_entry(rng, header)
    text = to_text(rng, header).encode()
    if rng.random() < 0.1:
        body, note = body[: rng.randrange(len(body) + 1)], f"{note}, body cut"
    return struct.pack("<Q", len(text)) + text + body, note


def _change_entry(rng: Random, header: dict[str, Any]) -> str:
    names = [name for name in header if name != "__metadata__"]
    name, kind = rng.choice(names), rng.randrange(6)
    entry = header[name]
    if kind == 0:
        entry["dtype"] = rng.choice(DTYPES)
    elif kind == 1:
        entry["shape"] = rng.choice(
            (*SHAPES, entry["shape"][::-1], [*entry["shape"], 1], [2 * side for side in entry["shape"]])
        )
    elif kind == 2:
        start, end = entry["data_offsets"]
        entry["data_offsets"] = rng.choice(
            (*OFFSETS, [start + 1, end + 1], [start, end + 8], [end, start], [start + 8, end])
        )
    elif kind == 3:
        header[rng.choice((*STRINGS, "images", "labels"))] = header.pop(name)
    elif kind == 4:
        other = rng.choice(names)
        header[name], header[other] = header[other], header[name]
    else:
        header[name] = rng.choice((None, [], "x", {}, 5, {"dtype": "U8"}, {**entry, "more": 1}))
    return f"{name}: {('dtype', 'shape', 'offsets', 'renamed', 'swapped', 'replaced')[kind]}"
