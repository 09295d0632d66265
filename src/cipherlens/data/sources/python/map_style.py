"""Data sets of Python as a source: any map-style one, as those of torchvision, one for each split."""

import hashlib
import operator
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cipherlens.data.decoding import Content
from cipherlens.data.images import IGNORED, Item
from cipherlens.data.sources.base import ALL, pick_evenly
from cipherlens.data.sources.checks import FileFacts, check_class_names, check_labels
from cipherlens.errors import CipherlensError, DataError, UsageError

_TAGGED = 8
"""Images of each split whose content is part of the source's name. Chosen by hand."""
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
        self._parts = dict(dataset) if isinstance(dataset, Mapping) else {ALL: dataset}
        self.files = files
        for split, part in self._parts.items():
            _check_map_style(part, split)
        self.splits = {str(split): len(part) for split, part in self._parts.items() if len(part)}
        if not self.splits:
            raise DataError("the data set is empty", hint="give one with at least one image")
        first = next(iter(self.splits))
        self.masked = self._sample(first, 0).mask is not None
        self._labels = {split: self._find_labels(split) for split in self.splits}
        self.classes = tuple(classes) or self._find_classes(self._parts[first])
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
        if sample.label != known:
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
            return _Sample(sample[0], mask=_to_classes(target))
        return _Sample(sample[0], _to_label(target, f"{split} image {index}"))

    def _find_labels(self, split: str) -> NDArray[np.int64]:
        part, count = self._parts[split], self.splits[split]
        if self.masked:
            return np.full(count, -1, np.int64)
        if getattr(part, "target_transform", None) is None:
            for name in ("targets", "labels"):
                listed = getattr(part, name, None)
                with suppress(TypeError, ValueError, CipherlensError):
                    if listed is not None and len(listed) == count:
                        return np.array([_to_label(label, split) for label in listed], np.int64)
        return np.array([self._sample(split, index).label for index in range(count)], np.int64)

    def _find_classes(self, part: Any) -> tuple[str, ...]:
        named = getattr(part, "classes", ())
        if isinstance(named, list | tuple) and named:
            return tuple(named)
        if self.masked:
            raise UsageError(
                "nobody names the classes of the masks",
                hint='give them: cl.data.from_python(dataset, classes=["sky", "road"])',
            )
        highest = max(int(labels.max()) for labels in self._labels.values())
        return tuple(str(label) for label in range(highest + 1))

    def _digest(self) -> str:
        """A name for what the objects hold: all labels, and some of the images."""
        digest = hashlib.sha256(repr((self.splits, self.classes, self.masked)).encode())
        for split, count in self.splits.items():
            digest.update(self._labels[split].tobytes())
            for index in pick_evenly(count, _TAGGED):
                digest.update(_get_bytes(self._item(split, int(index)).content))
        return f"python:{digest.hexdigest()}"


def from_python(dataset: Any, classes: Sequence[str] = ()) -> MapStyleSource:
    """A source for ``cl.seal``: see :class:`MapStyleSource`. ``cl.seal`` also takes the data set itself."""
    return MapStyleSource(dataset, classes)


def _check_map_style(part: Any, split: object) -> None:
    if not (hasattr(part, "__len__") and hasattr(part, "__getitem__")) or isinstance(part, str | bytes):
        raise UsageError(
            f"{split}: {type(part).__name__} is no map-style data set",
            hint="give an object with __len__ and __getitem__ that returns (image, label); streams have no length",
        )


def _to_label(value: Any, name: str) -> int:
    try:
        return operator.index(value.item() if hasattr(value, "item") and not getattr(value, "ndim", 0) else value)
    except TypeError:
        raise DataError(
            f"the label of {name} is of type {type(value).__name__}, not a whole number",
            hint="labels count from 0, one for each class name",
        ) from None


def _to_classes(mask: Any) -> NDArray[Any]:
    """A mask as uint8 where no value is lost by that; other arrays are refused when they are decoded."""
    classes = np.asarray(mask.detach().cpu() if hasattr(mask, "detach") else mask)
    fits = classes.dtype.kind in "ui" and classes.size and classes.min() >= 0 and classes.max() <= IGNORED
    return classes.astype(np.uint8) if fits else classes


def take_image(image: Any, name: str) -> Any:
    """An image as ``Item`` takes it. Raises DataError for one of another kind."""
    if isinstance(image, Image.Image | bytes | Path):
        return image
    channels_first = hasattr(image, "detach")  # a tensor
    pixels = np.asarray(image.detach().cpu() if channels_first else image)
    if pixels.dtype.kind == "f":
        hint = "give them before ToTensor, or with v2.PILToTensor: uint8 from 0 to 255"
        raise DataError(f"{name} has numbers of type {pixels.dtype}", hint=hint)
    if pixels.dtype.kind not in "ui" or pixels.ndim not in (2, 3):
        raise DataError(
            f"{name} is {type(image).__name__}, {pixels.dtype} {pixels.shape}, not an image",
            hint="give an image of PIL, encoded bytes, an array (H, W, C) or a tensor (C, H, W) of uint8",
        )
    if pixels.ndim == 2:
        return _from_rows(pixels, name)
    if channels_first or (pixels.shape[0] in (1, 3) and pixels.shape[2] not in (1, 3, 4)):
        pixels = pixels.transpose(1, 2, 0)
    if pixels.dtype == np.uint8 and pixels.shape[2] in (1, 3):
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))
    return _from_rows(pixels, name)


def _from_rows(pixels: NDArray[Any], name: str) -> Image.Image:
    """Rows as an image of PIL: grey, more than 8 bits, transparency."""
    try:
        return Image.fromarray(np.ascontiguousarray(pixels))
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} is no image: {error}", hint="give (H, W), (H, W, 3) or (H, W, 4)") from None


def _get_bytes(content: Content | NDArray[Any]) -> bytes:
    if isinstance(content, bytes):
        return content
    return str(content).encode() if isinstance(content, Path) else content.tobytes()
