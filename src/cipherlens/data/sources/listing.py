"""The files of an image folder or of a bucket, of which there may be millions: a table on disk, not in memory."""

import heapq
import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple
from weakref import finalize

import numpy as np
from numpy.typing import NDArray

from cipherlens.data.sources.checks import FileFacts, printable
from cipherlens.errors import DataError

_CACHE_KIB = 512
"""Memory of a table, in KiB; what is more, SQLite writes to a temporary file without a name. More was no faster."""
_SHAPE = "(number INTEGER PRIMARY KEY, label INTEGER, path BLOB, size INTEGER, version INTEGER)"
_SORT = """
INSERT INTO images SELECT row_number() OVER (ORDER BY label, path) - 1, label, path, size, version FROM found
"""
_SHOW = "SELECT printable(path) AS name, size, version FROM images ORDER BY name, size, version"


class Found(NamedTuple):
    """One file: its path below the source, its size in bytes, a number that changes with its content."""

    name: str
    size: int
    version: int


class Listing:
    """The images of a split, ordered by label, and then by path, folder by folder.

    Raises DataError where the folder for temporary files is full.
    """

    def __init__(self, found: Iterable[tuple[int, Found]], separator: str = os.sep) -> None:
        self._separator = separator
        self._table = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        finalize(self, self._table.close)
        self._table.create_function("printable", 1, lambda path: printable(_decode(path, separator)))
        counts = Counter[int]()
        with _explain():
            self._table.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            self._table.execute(f"CREATE TABLE images {_SHAPE}")
            self._table.execute(f"CREATE TABLE found {_SHAPE}")
            self._table.execute("BEGIN")
            self._table.executemany("INSERT INTO found VALUES (NULL, ?, ?, ?, ?)", _rows(found, counts, separator))
            self._table.execute(_SORT)
            self._table.execute("DROP TABLE found")
            self._table.execute("COMMIT")
        self._labels = np.array(sorted(counts), np.int64)
        self._counts = np.array([counts[label] for label in sorted(counts)], np.int64)

    def __len__(self) -> int:
        return int(self._counts.sum())

    @property
    def labels(self) -> NDArray[np.int64]:
        """The label of each image (N,)."""
        return np.repeat(self._labels, self._counts)

    def take(self, positions: Sequence[int]) -> list[tuple[int, Found]]:
        """Label and file of the images at these positions, from 0 on."""
        with _explain():
            query = "SELECT label, path, size, version FROM images WHERE number = ?"
            rows = [self._table.execute(query, (int(i),)).fetchone() for i in positions]
        return [
            (label, Found(_decode(path, self._separator), size, version)) for label, path, size, version in rows
        ]

    def show(self) -> Iterator[FileFacts]:
        """Every file, sorted, by a name that can be printed."""
        with _explain():
            yield from self._table.execute(_SHOW)


class ListedFiles(Iterable[FileFacts]):
    """The files of some listings, sorted, one after the other."""

    def __init__(self, listings: Iterable[Listing]) -> None:
        self._listings = list(listings)

    def __iter__(self) -> Iterator[FileFacts]:
        return heapq.merge(*(listing.show() for listing in self._listings))


def _rows(
    found: Iterable[tuple[int, Found]], counts: Counter[int], separator: str
) -> Iterator[tuple[int, bytes, int, int]]:
    for label, one in found:
        counts[label] += 1
        # Sorted as bytes, these are the names sorted folder by folder. Bytes that are not UTF-8 stay what they are.
        yield label, one.name.replace(separator, "\0").encode("utf-8", "surrogatepass"), one.size, one.version


def _decode(path: bytes, separator: str) -> str:
    return path.decode("utf-8", "surrogatepass").replace("\0", separator)


@contextmanager
def _explain() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise DataError(
            f"cannot list the source: {error}", hint="make room in the folder for temporary files, or set TMPDIR"
        ) from None
