"""What must not be found: a key, what is derived from it, and the tables of ciphers, in every usual encoding."""

import base64
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from cipherlens.ciphers.base import BoundCipher
from cipherlens.keys import Key, KeyStream

WINDOW = 64
"""Entries of a table that are searched at once: enough that no other data has them by chance."""
_DTYPES = ("u1", "<u2", "<i2", "<i4", "<i8", "<f2", "<f4", "<f8", ">i4", ">i8", ">f4", ">f8")
Needles = dict[bytes, str]
"""Bytes, and what they are."""


def encode_secret(secret: bytes, name: str) -> Needles:
    """Some 32 secret bytes as such, and as hexadecimal digits, base64 (at any offset), a list, or a literal."""
    found = {secret: "bytes", repr(secret)[2:-1].encode(): "literal"}
    for text in (secret.hex(), secret.hex().upper()):
        found[text.encode()] = "hexadecimal"
    for offset in range(3):
        for encode in (base64.standard_b64encode, base64.urlsafe_b64encode):
            # The first and the last four signs depend on the neighbours.
            found[encode(bytes(offset) + secret)[4:-4]] = f"base64 at offset {offset}"
    for between in (", ", ",", " ", "\n"):
        found[between.join(map(str, secret)).encode()] = "list"
    return {needle: f"{name}, as {form}" for needle, form in found.items()}


def encode_table(table: NDArray[np.generic], name: str) -> Needles:
    """Parts of a table, and of its transposes, as bytes of every type that holds them, and as text."""
    needles: Needles = {}
    for order, values in _arrange(table):
        flat = values.reshape(-1)
        for start in sorted({0, (len(flat) - WINDOW) // 2, len(flat) - WINDOW}):
            part = flat[max(0, start) : max(0, start) + WINDOW]
            for form, needle in _encode_part(part):
                needles[needle] = f"{name} {order} from entry {start}, as {form}"
    return needles


def _arrange(table: NDArray[np.generic]) -> Iterator[tuple[str, NDArray[np.generic]]]:
    yield "as it is", table
    if table.ndim >= 2:
        yield "transposed", np.ascontiguousarray(np.swapaxes(table, -1, -2))
    if set(np.unique(table).tolist()) == {0, 255}:
        yield "as bits", (table != 0).astype(np.uint8)


def _encode_part(part: NDArray[np.generic]) -> Iterator[tuple[str, bytes]]:
    exact = part.dtype.kind in "iub"
    for dtype in _DTYPES:
        kind = np.dtype(dtype)
        if not exact and (kind.kind != "f" or kind.itemsize < 4):
            continue  # a rounded matrix is an estimate
        with np.errstate(over="ignore", invalid="ignore"):
            cast = part.astype(kind)
        if not exact or np.array_equal(cast.astype(part.dtype), part):
            yield dtype, cast.tobytes()
    for cast in (part, part.astype(np.float32)) if not exact else (part,):
        values = cast.tolist()
        for separators in ((", ", ": "), (",", ":")):
            yield "text", json.dumps(values[:16], separators=separators)[1:-1].encode()


def list_tables(bound: BoundCipher) -> Mapping[str, NDArray[np.generic]]:
    """All tables of a bound cipher with enough entries, by name."""
    found = {name: value for name, value in vars(bound).items() if isinstance(value, np.ndarray)}
    return {name: table for name, table in found.items() if table.size >= WINDOW}


def encode_cipher(bound: BoundCipher) -> Needles:
    """All tables of a bound cipher."""
    needles: Needles = {}
    for name, table in list_tables(bound).items():
        needles |= encode_table(table, f"{bound.cipher.name}'s {name}")
    return needles


@contextmanager
def note_subkeys() -> Iterator[dict[str, bytes]]:
    """By label, every subkey that is derived meanwhile in this process, and the beginning of each stream."""
    found: dict[str, bytes] = {}
    derive, begin = Key.subkey, KeyStream.__init__

    def note(self: Key, label: str) -> Key:
        made = derive(self, label)
        found[f"subkey {label}"] = made.to_bytes()
        return made

    def note_stream(self: KeyStream, key: Key, label: str) -> None:
        begin(self, key, label)
        found[f"keystream {label}"] = self.bytes(32)
        begin(self, key, label)

    with patch.object(Key, "subkey", note), patch.object(KeyStream, "__init__", note_stream):
        yield found
