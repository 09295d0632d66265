"""The files of an image folder or of a bucket, of which there may be millions: text and numbers, no object each."""

import os
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from cipherlens.data.sources.checks import FileFacts, printable


class Found(NamedTuple):
    """One file: its path below the source, its size in bytes, a number that changes with its content."""

    name: str
    size: int
    version: int


class Listing:
    """The images of a split, in an order of their own.

    ``labels``, ``sizes`` and ``versions`` are (N,) int64.
    """

    def __init__(self, parts: Iterable[tuple[int, Sequence[Found]]]) -> None:
        packed = [_pack(label, found) for label, found in parts]
        self._text = b"".join(text for text, _ in packed)
        numbers = np.concatenate([part for _, part in packed] or [np.empty((4, 0), np.int64)], axis=1)
        self._ends = numbers[0].cumsum()
        self.labels: NDArray[np.int64] = numbers[1]
        self.sizes: NDArray[np.int64] = numbers[2]
        self.versions: NDArray[np.int64] = numbers[3]

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, position: int) -> str:
        """The path below the source of the image at a position, from 0 on."""
        start = self._ends[position - 1] if position else 0
        return os.fsdecode(self._text[start : self._ends[position]])


def _pack(label: int, found: Sequence[Found]) -> tuple[bytes, NDArray[np.int64]]:
    """The names one after the other; their lengths, labels, sizes and versions, (4, N)."""
    names = [os.fsencode(one.name) for one in found]
    numbers = np.empty((4, len(found)), np.int64)
    numbers[0] = [len(name) for name in names]
    numbers[1] = label
    numbers[2] = [one.size for one in found]
    numbers[3] = [one.version for one in found]
    return b"".join(names), numbers


class ListedFiles(Sequence[FileFacts]):
    """The files of some listings, sorted, each made when it is asked for."""

    def __init__(self, listings: Iterable[Listing]) -> None:
        self._listings = [listing for listing in listings if len(listing)]
        self._starts = np.array([0, *accumulate(map(len, self._listings))])
        names = [printable(listing.name(i)) for listing in self._listings for i in range(len(listing))]
        keys = [[getattr(listing, kind) for listing in self._listings] for kind in ("versions", "sizes")]
        order = np.lexsort([np.concatenate(key) for key in keys]) if names else np.empty(0, np.int64)
        self._order = np.array(sorted(order.tolist(), key=names.__getitem__), np.int64)

    def __len__(self) -> int:
        return len(self._order)

    @overload
    def __getitem__(self, place: int) -> FileFacts: ...

    @overload
    def __getitem__(self, place: slice) -> list[FileFacts]: ...

    def __getitem__(self, place: int | slice) -> FileFacts | list[FileFacts]:
        if isinstance(place, slice):
            return [self._describe(int(number)) for number in self._order[place]]
        return self._describe(int(self._order[place]))

    def _describe(self, number: int) -> FileFacts:
        owner = int(np.searchsorted(self._starts, number, side="right")) - 1
        listing, i = self._listings[owner], number - int(self._starts[owner])
        return printable(listing.name(i)), int(listing.sizes[i]), int(listing.versions[i])
