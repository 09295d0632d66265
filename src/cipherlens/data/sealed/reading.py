"""Read the images of a shard from a source: decoded, resized, with their masks; what is bad stops or is skipped."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cipherlens.data.conversion import TURNED
from cipherlens.data.images import IGNORED, Item, Preprocess, check_shape
from cipherlens.data.sealed.spec import DatasetSpec
from cipherlens.data.sources.base import Source
from cipherlens.errors import DataError, UsageError, unknown_name

_READ_AT_ONCE = 32
"""Images that are read from a source at a time: a data set of Python gives them decoded. A limit on memory."""

_MOST_VARIANTS = 1_000
"""Each variant is sealed, and takes its place on the disk. A limit set by hand."""

ENGINES = ("local", "ray")


@dataclass(frozen=True)
class SealOptions:
    """Choices of a sealing job besides cipher and key.

    ``hold_out``: of a labelled source without splits, every so many images of each class become the test split (0:
    none; None: every fifth, where some class has five). ``workers``: None is a process for each processor.
    ``engine``: ``local`` for this machine, ``ray`` for a cluster at ``address`` (None: as Ray finds it). Both make
    the same data set.
    """

    preprocess: Preprocess = field(default_factory=Preprocess)
    splits: tuple[str, ...] = ()
    limit: int | None = None
    on_error: str = "stop"
    keep_names: bool = False
    workers: int | None = 1
    augment: int = 0
    classes: tuple[str, ...] = ()
    hold_out: int | None = None
    engine: str = "local"
    address: str | None = None

    def __post_init__(self) -> None:
        if self.on_error not in ("stop", "skip"):
            raise UsageError(f"on_error is stop or skip, not {self.on_error!r}")
        if self.engine not in ENGINES:
            raise unknown_name("engine", self.engine, ENGINES)
        if self.address is not None and self.engine != "ray":
            raise UsageError("an address is for the engine ray", hint="add it", parameters=("engine",))
        if (self.workers is not None and self.workers < 1) or (self.limit is not None and self.limit < 1):
            raise UsageError("workers and limit are at least 1")
        if not 0 <= self.augment <= _MOST_VARIANTS:
            raise UsageError(
                f"augment is the number of extra variants of each training image, 0 to {_MOST_VARIANTS:,}"
            )


@dataclass
class ReadImages:
    """What was read: positions in the source, pixels, masks, labels, names; and what was skipped, with reasons."""

    positions: list[int] = field(default_factory=list)
    images: list[NDArray[np.uint8]] = field(default_factory=list)
    masks: list[NDArray[np.uint8]] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    remarks: Counter[str] = field(default_factory=Counter)


def read_images(
    source: Source, split: str, positions: Sequence[int], spec: DatasetSpec, options: SealOptions
) -> ReadImages:
    """The images at these positions. Raises DataError for a bad one, unless ``options`` say to skip it."""
    read = ReadImages()
    for start in range(0, len(positions), _READ_AT_ONCE):
        for position, item in _take(source, split, positions[start : start + _READ_AT_ONCE], options, read):
            _decode(position, item, spec, options, read)
    return read


def _take(
    source: Source, split: str, positions: Sequence[int], options: SealOptions, read: ReadImages
) -> list[tuple[int, Item]]:
    """The items, not decoded yet; where one cannot be read, the others one at a time."""
    try:
        return list(zip(positions, source.read(split, positions), strict=True))
    except DataError as error:
        if options.on_error == "stop":
            raise
        if len(positions) > 1:
            return [found for position in positions for found in _take(source, split, [position], options, read)]
        read.skipped.append((f"{split} image {positions[0]}", str(error.args[0])))
        return []


def _decode(position: int, item: Item, spec: DatasetSpec, options: SealOptions, read: ReadImages) -> None:
    heard = set[str]()
    try:
        pixels = options.preprocess.apply(item, heard.add)
        check_shape(pixels, spec.plain_shape, item.name)
        if spec.masked:
            mask = options.preprocess.apply_to_mask(item)
            check_classes(mask, len(spec.classes), item.name)
            read.masks.append(mask)
    except DataError as error:
        if options.on_error == "stop":
            raise
        read.skipped.append((item.name, str(error.args[0])))
        return
    read.remarks.update(heard - {TURNED})
    read.positions.append(position)
    read.images.append(pixels)
    read.labels.append(item.label)
    read.names.append(item.name)


def check_classes(mask: NDArray[np.uint8], classes: int, name: str) -> None:
    """Raise DataError unless every pixel of a mask has one of the classes, or is IGNORED."""
    found = int(np.where(mask == IGNORED, 0, mask).max(initial=0))
    if found >= classes:
        raise DataError(
            f"the mask of {name} has class {found}, there are {classes}",
            hint="name all classes in the source, write 255 where there is none, or skip the image",
            parameters=("on_error",),
        )
