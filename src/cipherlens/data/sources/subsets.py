"""Subsets of a source: some of its classes (CAS771 report, section 5.2.1), or images held out for testing.

A subset of classes keeps those for pretraining apart from the encrypted ones."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cipherlens.data.images import Item
from cipherlens.data.sources.base import ALL, Source
from cipherlens.data.sources.checks import FileFacts, parse_count
from cipherlens.errors import DataError, UsageError
from cipherlens.untrusted import open_regular

HELD_OUT = 5
"""Default of hold_out: every fifth image, a usual share for testing."""
_MAX_LIST_BYTES = 16 << 20
"""Maximum bytes of a file of class names. A limit on memory."""
_notes = logging.getLogger(__name__)


class ClassSubset:
    """The images of some classes; labels count from 0 in the given order.

    Classes are given by name, or as a range of indices with both ends included: ``600-699``.
    """

    def __init__(self, source: Source, classes: Sequence[str]) -> None:
        numbers = {name: number for number, name in enumerate(source.classes)}
        classes = [
            n for given in classes for n in ([given] if given in numbers else _expand(given, source.classes))
        ]
        unknown = [name for name in classes if name not in numbers]
        if unknown or not classes or len(set(classes)) < len(classes):
            raise UsageError(
                f"cannot take the classes {', '.join(unknown or classes) or 'of an empty list'}",
                hint=f"choose some of: {', '.join(source.classes) or 'none, the source has no labels'}",
            )
        self._source = source
        self._new = {numbers[name]: label for label, name in enumerate(classes)}
        wanted = np.array(list(self._new))
        self._positions = {
            split: np.flatnonzero(np.isin(source.read_labels(split), wanted)) for split in source.splits
        }
        self.classes = tuple(classes)
        self.masked = source.masked
        self.splits = {split: len(positions) for split, positions in self._positions.items() if len(positions)}

    @property
    def files(self) -> Iterable[FileFacts]:
        """The files of the whole source."""
        return self._source.files

    def read(self, split: str, indices: Sequence[int]) -> list[Item]:
        """The images at these positions of the subset."""
        items = self._source.read(split, [int(self._positions[split][int(i)]) for i in indices])
        return [replace(item, label=self._new[item.label]) for item in items]

    def read_labels(self, split: str) -> NDArray[np.int64]:
        """All labels of a split."""
        labels = self._source.read_labels(split)[self._positions[split]]
        return np.array([self._new[int(label)] for label in labels], np.int64)


class HeldOut:
    """A source without splits, divided in two: each ``every``-th image of a class is for testing.

    Raises UsageError for a source that has splits.
    """

    def __init__(self, source: Source, every: int) -> None:
        if tuple(source.splits) != (ALL,):
            raise UsageError(
                f"no images to hold out: there are splits already ({', '.join(source.splits)})",
                hint="leave hold_out away",
            )
        if every < 2:
            raise UsageError(
                "hold_out is a whole number of at most 18 digits, 2 (every second image) or more",
                hint="for example hold_out=10",
            )
        labels = source.read_labels(ALL)
        step = min(every, len(labels) + 1)  # a larger step holds out no image, and may not fit int64
        self._source = source
        self.classes, self.masked = source.classes, source.masked
        order = np.argsort(labels, kind="stable")
        starts = np.searchsorted(labels[order], labels[order])  # first position of each image's class
        rank = np.empty(len(labels), np.int64)
        rank[order] = np.arange(len(labels)) - starts
        held = rank % step == step - 1
        self._positions = {"train": np.flatnonzero(~held), "test": np.flatnonzero(held)}
        self.splits = {split: len(positions) for split, positions in self._positions.items()}
        if not all(self.splits.values()):
            raise UsageError(f"no class has {every} images, so none is held out", hint="choose a smaller hold_out")

    @property
    def files(self) -> Iterable[FileFacts]:
        """The files of the whole source."""
        return self._source.files

    def read(self, split: str, indices: Sequence[int]) -> list[Item]:
        """The images at these positions of a split."""
        return self._source.read(ALL, self._positions[split][np.asarray(indices, np.int64)].tolist())

    def read_labels(self, split: str) -> NDArray[np.int64]:
        """All labels of a split."""
        labels: NDArray[np.int64] = self._source.read_labels(ALL)[self._positions[split]]
        return labels


def can_hold_out(source: Source, every: int) -> bool:
    """Whether images of a source can be held out: it has classes, no splits, and ``every`` images of some class."""
    if tuple(source.splits) != (ALL,) or source.masked:
        return False
    labels = source.read_labels(ALL)
    return bool(source.classes) and labels.min() >= 0 and bool(np.bincount(labels).max() >= every)


def choose_hold_out(source: Source, asked: int | None, splits: Sequence[str] = ()) -> int:
    """Every how many-th image of a class is for testing: as asked; else the default, with a note, if it can be.

    ``splits`` are those that are wanted.
    """
    if asked is not None:
        return asked
    if ALL in splits or not can_hold_out(source, HELD_OUT):
        return 0
    said = {"parameters": ("hold_out",)}
    _notes.info("every %dth image of each class is kept for testing; 0 keeps none", HELD_OUT, extra=said)
    return HELD_OUT


def hold_out(source: Source, every: int) -> Source:
    """The source with every ``every``-th image of each class for testing; as it is for 0."""
    return HeldOut(source, every) if every else source


def parse_classes(text: str) -> tuple[str, ...]:
    """Classes separated by commas, or ``@FILE`` with one per line.

    Raises DataError for a file that cannot be read, UsageError where no class is named.
    """
    if text.startswith("@"):
        try:
            with open_regular(Path(text[1:]), _MAX_LIST_BYTES) as file:
                text = file.read().decode().replace("\r", ",").replace("\n", ",")
        except (OSError, ValueError) as error:
            raise DataError(
                f"cannot read the classes: {error}", hint="give a text file in UTF-8, one class on each line"
            ) from error
    classes = tuple(name.strip() for name in text.split(",") if name.strip())
    if not classes:
        raise UsageError("no classes are named", hint="leave the option away to take all")
    return classes


def _expand(given: str, known: Sequence[str]) -> Sequence[str]:
    first, last = (parse_count(end) for end in given.partition("-")[::2])
    if first is None or last is None or last >= len(known):
        return [given]
    return known[first : last + 1] or [given]


def select(source: Source, classes: Sequence[str]) -> Source:
    """The images of some classes of a source; with no classes, the source itself."""
    return ClassSubset(source, classes) if classes else source
