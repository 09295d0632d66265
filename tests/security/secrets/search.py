"""Search artefacts: their bytes, and what is packed in them (base64, PNG, zip, gzip)."""

import base64
import binascii
import gzip
import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

from tests.security.secrets.needles import Needles

_PACKED = re.compile(rb"[A-Za-z0-9+/]{64,}={0,2}")


class Finder:
    """Finds needles in contents of any size, all at once: by eight bytes of each, and then whole."""

    def __init__(self, needles: Needles) -> None:
        self._needles = needles
        anchors = {needle: _choose_anchor(needle) for needle in needles}
        self._by_word: dict[int, list[tuple[bytes, int]]] = {}
        for needle, at in anchors.items():
            self._by_word.setdefault(int.from_bytes(needle[at : at + 8], "little"), []).append((needle, at))
        self._words = np.array(sorted(self._by_word), np.uint64)

    def search(self, content: bytes) -> set[str]:
        """What of the needles is in the content, or packed in it."""
        return {what for part in unpack(content) for what in self._search(part)}

    def search_files(self, root: Path) -> dict[str, set[str]]:
        """By path, what is in the files below a folder, and in their names."""
        found = {}
        for path in sorted(root.rglob("*")):
            if path.is_file() and (what := self.search(str(path).encode() + b"\n" + path.read_bytes())):
                found[path.relative_to(root).as_posix()] = what
        return found

    def _search(self, content: bytes) -> Iterator[str]:
        for offset in range(min(8, max(0, len(content) - 7))):
            words = np.frombuffer(content, "<u8", (len(content) - offset) // 8, offset)
            places = np.minimum(np.searchsorted(self._words, words), len(self._words) - 1)
            for hit in np.flatnonzero(self._words[places] == words).tolist():
                for needle, at in self._by_word[int(words[hit])]:
                    start = offset + 8 * hit - at
                    if start >= 0 and content.startswith(needle, start):
                        yield self._needles[needle]


def _choose_anchor(needle: bytes) -> int:
    """Where its eight bytes begin that other data is least likely to have: the most different ones."""
    return max(range(len(needle) - 7), key=lambda at: len(set(needle[at : at + 8])))


def unpack(content: bytes) -> Iterator[bytes]:
    """The content, and what is packed in it."""
    yield content
    for packed in _PACKED.findall(content):
        with suppress(binascii.Error, ValueError):
            yield from _open(base64.b64decode(packed[: len(packed) // 4 * 4]))
    yield from _open(content.partition(b"\n")[2])


def _open(content: bytes) -> Iterator[bytes]:
    yield content
    if content.startswith(b"PK"):
        with suppress(zipfile.BadZipFile), zipfile.ZipFile(io.BytesIO(content)) as archive:
            yield from (archive.read(name) for name in archive.namelist())
    if content.startswith(b"\x1f\x8b"):
        with suppress(OSError, EOFError, zlib.error):
            yield gzip.decompress(content)
    if content.startswith((b"\x89PNG", b"\xff\xd8")):
        with suppress(OSError, ValueError):
            pixels = np.asarray(Image.open(io.BytesIO(content)))
            yield pixels.tobytes()
            yield np.ascontiguousarray(np.moveaxis(pixels, -1, 0)).tobytes()
