"""Data sets of Python as a source: any map-style one, as those of torchvision, one for each split."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cipherlens.data.images import Item
from cipherlens.data.sources.base import ALL, pick_evenly
from cipherlens.data.sources.checks import MAX_CLASSES, FileFacts, check_class_names, check_labels
from cipherlens.data.sources.python.labels import find_classes, list_labels, to_label, unite
from cipherlens.data.sources.python.samples import describe_content, take_image, to_classes
from cipherlens.errors import CipherlensError, DataError, UsageError

_TAGGED = 64
"""Images of each split whose content is part of the source's name. Chosen by hand."""
_COUNT = "labels count from 0, one for each class name"
_SPLIT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_]{0,63}")
_SAME = "images must be the same each time they are read: drop random transforms, or encrypt with augment=N"


class _Sample(NamedTuple):
    """What a data set gives for one position. ``label`` is -1 where there is none."""

    image: Any
    label: int = -1
    mask: Any = None


class MapStyleSource:
    """Objects with ``__len__`` and ``__getitem__``: ``dataset``, or one for each split in a mapping.

    A sample is an image or (image, label, ...); with masks (image, mask, ...). Images are of PIL, encoded bytes,
    arrays (H, W) or (H, W, C), or tensors (C, H, W); arrays and tensors hold uint8. Masks (H, W) hold a class in
    each pixel. Classes are ``classes``, or those of the data set; else numbers. Labels are read from ``targets`` or
    ``labels`` where the data set has them, else from every sample.

    Raises UsageError for an object that is no map-style data set, and for masks whose classes nobody names;
    DataError for samples of other kinds, and where a sample cannot be read.
    """

    files: tuple[FileFacts, ...] = ()

    def __init__(self, dataset: Any, classes: Sequence[str] = (), files: tuple[FileFacts, ...] = ()) -> None:
        given = dict(dataset) if isinstance(dataset, Mapping) else {ALL: dataset}
        self._parts = {str(split): part for split, part in given.items()}
        self.files = files
        for split, part in self._parts.items():
            _check_map_style(part, split)
        self.splits = {split: len(part) for split, part in self._parts.items() if len(part)}
        if not self.splits:
            raise DataError("the data set is empty", hint="give one with at least one image")
        first = next(iter(self.splits))
        self.masked = self._sample(first, 0).mask is not None
        named = {} if self.masked or classes else {split: find_classes(self._parts[split]) for split in self.splits}
        self.classes, self._numbers = unite(named)
        self._labels = {split: self._find_labels(split) for split in self.splits}
        self.classes = tuple(classes) or self.classes or self._number_classes()
        check_class_names(self.classes)
        for split, labels in self._labels.items():
            check_labels(labels, self.classes, self.masked, split)
        self.name = self._digest()

    def read(self, split: str, indices: Sequence[int]) -> list[Item]:
        """The samples at these positions. Raises DataError where a label is not what it was at first."""
        return [self._item(split, int(index)) for index in indices]

    def read_labels(self, split: str) -> NDArray[np.int64]:
        """All labels of a split (N,); -1 where there are none."""
        return self._labels[split]

    def _item(self, split: str, index: int) -> Item:
        sample, known = self._sample(split, index), int(self._labels[split][index])
        name = f"{split} image {index}"
        if (sample.mask is not None) != self.masked:
            found = "no mask, and the first has one" if self.masked else "a mask, and the first has none"
            raise DataError(f"{name} has {found}", hint="give every image a mask, or none")
        if not self.masked and self._renumber(split, np.array([sample.label]))[0] != known:
            raise DataError(f"{name} has label {sample.label}, and {known} in the list of labels", hint=_SAME)
        return Item(name, known, take_image(sample.image, name), sample.mask)

    def _sample(self, split: str, index: int) -> _Sample:
        try:
            sample = self._parts[split][index]
        except CipherlensError:
            raise
        except Exception as error:  # of the user's own code
            reason = f"{type(error).__name__}: {error}"
            raise DataError(
                f"{split} image {index} cannot be read: {reason}", hint="repair the data set"
            ) from error
        if not isinstance(sample, tuple | list):
            return _Sample(sample)
        if len(sample) < 2 or sample[1] is None:
            return _Sample(sample[0])
        target = sample[1]
        if isinstance(target, Image.Image | bytes | Path):
            return _Sample(sample[0], mask=target)
        if getattr(target, "ndim", 0) >= 2:
            return _Sample(sample[0], mask=to_classes(target))
        return _Sample(sample[0], to_label(target, f"{split} image {index}"))

    def _find_labels(self, split: str) -> NDArray[np.int64]:
        count = self.splits[split]
        if self.masked:
            return np.full(count, -1, np.int64)
        listed = list_labels(self._parts[split], count)
        if listed is None:
            listed = [self._sample(split, index).label for index in range(count)]
        return self._renumber(split, np.array(listed, np.int64))

    def _renumber(self, split: str, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Labels of one split as those of the classes of all."""
        numbers = self._numbers.get(split)
        if numbers is None:
            return labels
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(numbers):
            raise DataError(f"{split} has a label that is none of its {len(numbers)} classes", hint=_COUNT)
        return numbers[labels]

    def _number_classes(self) -> tuple[str, ...]:
        if self.masked:
            raise UsageError(
                "nobody names the classes of the masks",
                hint='give them: cl.data.from_python(dataset, classes=["sky", "road"])',
            )
        highest = max(int(labels.max()) for labels in self._labels.values())
        if highest >= MAX_CLASSES:
            raise DataError(f"there is a label {highest:,}, and at most {MAX_CLASSES:,} classes", hint=_COUNT)
        return tuple(str(label) for label in range(highest + 1))

    def _digest(self) -> str:
        """A name for what the objects hold: all labels, and some of the images and masks."""
        digest = hashlib.sha256(repr((self.splits, self.classes, self.masked)).encode())
        for split, count in self.splits.items():
            digest.update(self._labels[split].tobytes())
            for index in pick_evenly(count, _TAGGED):
                try:
                    item = self._item(split, int(index))
                except DataError as error:  # it is met again when it is read
                    digest.update(str(error).encode())
                    continue
                for content in (item.content, item.mask):
                    digest.update(describe_content(content))
        return f"python:{digest.hexdigest()}"


def from_python(dataset: Any, classes: Sequence[str] = ()) -> MapStyleSource:
    """A source for ``cl.seal``: see :class:`MapStyleSource`. ``cl.seal`` also takes the data set itself."""
    return MapStyleSource(dataset, classes)


def _check_map_style(part: Any, split: str) -> None:
    if not _SPLIT.fullmatch(split):
        raise UsageError(f"{split!r:.80} cannot be the name of a split", hint="take letters, digits and _")
    if not (hasattr(part, "__len__") and hasattr(part, "__getitem__")) or isinstance(part, str | bytes):
        raise UsageError(
            f"{split}: {type(part).__name__} is no map-style data set",
            hint="give an object with __len__ and __getitem__ that returns (image, label); streams have no length",
        )
