"""Mutations of bytes: flips, cuts, insertions, doubled parts, splices of two seeds, numbers that are borders."""

import struct
from random import Random

MAGICS = (
    *(b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"GIF89a", b"BM", b"II*\x00", b"MM\x00*", b"RIFF"),
    *(b"%!PS-Adobe-3.0 EPSF",),
    *(b"PAR1", b"PK\x03\x04", b"\x1f\x8b\x08", b"\x80\x04", b"\x80\x02", b"DDS ", b"BLP2", b"8BPS", b"P6\n"),
    *(b"SIMPLE",),
    *(b"\xef\xbb\xbf", b"\xff\xfe", b"\x00" * 16, b"\xff" * 16, b"\x1b[2J", b"{}", b"[" * 3000, b"\xed\xa0\x80"),
)
BORDERS = (
    0,
    1,
    2,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    1 << 63,
    (1 << 64) - 1,
)
HEAD = 2048
LONGEST = 32_000_000
"""Doubled again and again, files would fill the memory before anything reads them."""


def mutate_bytes(rng: Random, content: bytes, other: bytes = b"") -> tuple[bytes, str]:
    """One to four changes of a file's bytes; ``other`` is a second seed to splice with."""
    done = []
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        change = rng.choice(_CHANGES)
        content, at = change(rng, content, other)
        done.append(f"{change.__name__.strip('_')} at {at}")
    return content[:LONGEST], ", ".join(done)


def _place(rng: Random, content: bytes) -> int:
    """A position, mostly near the beginning, where headers are, or the end, where footers are."""
    size = len(content)
    if not size:
        return 0
    kind = rng.random()
    if kind < 0.5:
        return rng.randrange(min(size, rng.choice((32, 256, HEAD))))
    return rng.randrange(size) if kind < 0.85 else size - 1 - rng.randrange(min(size, 256))


def _flip(rng: Random, content: bytes, _: bytes) -> tuple[bytes, int]:
    changed, at = bytearray(content), 0
    for _i in range(rng.choice((1, 1, 1, 3, 10)) if content else 0):
        at = _place(rng, content)
        changed[at] ^= 1 << rng.randrange(8)
    return bytes(changed), at


def _set(rng: Random, content: bytes, _: bytes) -> tuple[bytes, int]:
    at = _place(rng, content)
    return content[:at] + bytes([rng.randrange(256)]) + content[at + 1 :], at


def _number(rng: Random, content: bytes, _: bytes) -> tuple[bytes, int]:
    at, size = _place(rng, content), rng.choice("BHIQ")
    packed = struct.pack(
        rng.choice("<>") + size, rng.choice(BORDERS) & ((1 << 8 * struct.calcsize("<" + size)) - 1)
    )
    return content[:at] + packed + content[at + len(packed) :], at


def _cut(rng: Random, content: bytes, _: bytes) -> tuple[bytes, int]:
    at = _place(rng, content)
    return content[:at], at


def _drop(rng: Random, content: bytes, _: bytes) -> tuple[bytes, int]:
    at = _place(rng, content)
    return content[:at] + content[at + rng.choice((1, 4, 100)) :], at


def _insert(rng: Random, content: bytes, _: bytes) -> tuple[bytes, int]:
    at = _place(rng, content)
    return content[:at] + rng.randbytes(rng.choice((1, 2, 8, 1000))) + content[at:], at


def _magic(rng: Random, content: bytes, _: bytes) -> tuple[bytes, int]:
    at, magic = rng.choice((0, 0, _place(rng, content), len(content))), rng.choice(MAGICS)
    return content[:at] + magic + content[at + rng.choice((0, len(magic))) :], at


def _double(rng: Random, content: bytes, _: bytes) -> tuple[bytes, int]:
    at = _place(rng, content)
    part = content[at : at + rng.choice((4, 64, 4096))]
    return content[:at] + part * rng.choice((2, 2, 50)) + content[at + len(part) :], at


def _splice(rng: Random, content: bytes, other: bytes) -> tuple[bytes, int]:
    at = _place(rng, content)
    return content[:at] + other[rng.choice((at, _place(rng, other))) :], at


_CHANGES = (_flip, _flip, _set, _number, _number, _cut, _drop, _insert, _magic, _double, _splice)
