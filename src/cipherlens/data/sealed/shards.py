"""Make shards: decode, encrypt and write, in this process or in workers."""

import hashlib
import pickle
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.ciphers import BoundCipher, Cipher
from cipherlens.data.conversion import TURNED
from cipherlens.data.images import IGNORED, Item, Preprocess, check_shape, pad_to
from cipherlens.data.sealed.manifest import SHARDS, Shard, tag
from cipherlens.data.sealed.spec import DatasetSpec
from cipherlens.data.sealed.tensors import serialize
from cipherlens.data.sealed.workers import run_in_processes
from cipherlens.data.sources.augmented import augment
from cipherlens.data.sources.base import Source
from cipherlens.data.sources.checks import check_labels
from cipherlens.data.sources.registry import Given, name_source, open_source
from cipherlens.data.sources.subsets import choose_hold_out, hold_out, select
from cipherlens.errors import DataError, UsageError
from cipherlens.escaping import escape_terminal
from cipherlens.files import write_temporary
from cipherlens.keys import Key

_READ_AT_ONCE = 32
"""Images that are read from a source at a time. A limit on memory."""


@dataclass(frozen=True)
class SealOptions:
    """Choices of a sealing job besides cipher and key.

    ``hold_out``: of a labelled source without splits, every so many images of each class become the test split (0:
    none; None: every fifth, where some class has five).
    """

    preprocess: Preprocess = field(default_factory=Preprocess)
    splits: tuple[str, ...] = ()
    limit: int | None = None
    on_error: str = "stop"
    keep_names: bool = False
    workers: int = 1
    augment: int = 0
    classes: tuple[str, ...] = ()
    hold_out: int | None = None

    def __post_init__(self) -> None:
        if self.on_error not in ("stop", "skip"):
            raise UsageError(f"on_error is stop or skip, not {self.on_error!r}")
        if self.workers < 1 or (self.limit is not None and self.limit < 1):
            raise UsageError("workers and limit are at least 1")
        if self.augment < 0:
            raise UsageError("augment is the number of extra variants of each training image, at least 0")


@dataclass(frozen=True)
class ShardTask:
    """One shard to make."""

    file: str
    split: str
    indices: tuple[int, ...]


@dataclass(frozen=True)
class Made:
    """A shard under its temporary name, the skipped images (name and reason), the number of processed images.

    ``remarks`` count how images were decoded (``REMARKS``). The parent syncs and renames the file, so that workers
    do not wait for the disk.
    """

    shard: Shard
    temporary: Path
    skipped: list[tuple[str, str]]
    looked_at: int
    remarks: Counter[str]


@dataclass(frozen=True)
class ShardMaker:
    """Makes shards of one job. It holds no key, so it can be sent to a worker process.

    Shards are written below ``out``, which the parent has locked.
    """

    source: Given
    out: Path
    spec: DatasetSpec
    options: SealOptions
    cipher: Cipher

    def bind(self, key: Key) -> BoundCipher:
        """Bind the job's cipher to the images' shape."""
        return self.cipher.bind(key, self.spec.padded_shape)

    def open(self, key: Key) -> Source:
        """Open the job's source in a worker. Raises DataError where it has changed since the spec was made."""
        source = open_source(self.source)
        if self.spec.source_tag not in tag_source(key, self.source, source, self.options):
            raise DataError("the source has changed since the job began", hint="encrypt it again when it rests")
        return narrow(source, self.options)

    def make(self, task: ShardTask, bound: BoundCipher, source: Source) -> Made:
        """Decode, encrypt and write one shard."""
        read = self._load(source, task)
        labels = np.array(read.labels, np.int64)
        check_labels(labels, self.spec.classes, self.spec.masked, task.split)
        plain = np.stack(read.images) if read.images else np.empty((0, *self.spec.plain_shape), np.uint8)
        tensors = {
            # Eight-byte numbers first, so that all are aligned.
            "labels": labels,
            "index": np.array(read.positions, np.int64),
            "images": bound.encrypt(
                pad_to(plain, self.spec.padded_shape), name_images(self.spec.id, task.split, read.positions)
            ),
        }
        if self.spec.masked:
            tensors["masks"] = encrypt_masks(
                bound, np.concatenate([*read.masks, np.empty((0, *plain.shape[2:]), np.uint8)])
            )
        kept = enumerate(read.names)
        names = {str(i): escape_terminal(name) for i, name in kept} if self.options.keep_names else None
        shard, temporary = write_shard(self.out, task.file, task.split, tensors, names, len(read.skipped))
        return Made(shard, temporary, read.skipped, len(task.indices), read.remarks)

    def _load(self, source: Source, task: ShardTask) -> "_Read":
        """Read some images at a time, for a data set of Python gives them decoded."""
        read = _Read()
        for start in range(0, len(task.indices), _READ_AT_ONCE):
            self._load_some(source, task.split, task.indices[start : start + _READ_AT_ONCE], read)
        return read

    def _load_some(self, source: Source, split: str, positions: tuple[int, ...], read: "_Read") -> None:
        try:
            items = source.read(split, positions)
        except DataError as error:
            if self.options.on_error == "stop":
                raise
            if len(positions) == 1:
                read.skipped.append((f"{split} image {positions[0]}", str(error.args[0])))
                return
            for position in positions:
                self._load_some(source, split, (position,), read)
            return
        for position, item in zip(positions, items, strict=True):
            self._decode(position, item, read)

    def _decode(self, position: int, item: Item, read: "_Read") -> None:
        heard = set[str]()
        try:
            pixels = self.options.preprocess.apply(item, heard.add)
            check_shape(pixels, self.spec.plain_shape, item.name)
            if self.spec.masked:
                mask = self.options.preprocess.apply_to_mask(item)
                check_classes(mask, len(self.spec.classes), item.name)
                read.masks.append(mask)
        except DataError as error:
            if self.options.on_error == "stop":
                raise
            read.skipped.append((item.name, str(error.args[0])))
            return
        read.remarks.update(heard - {TURNED})
        read.positions.append(position)
        read.images.append(pixels)
        read.labels.append(item.label)
        read.names.append(item.name)


@dataclass
class _Read:
    """What was read for a shard."""

    positions: list[int] = field(default_factory=list)
    images: list[NDArray[np.uint8]] = field(default_factory=list)
    masks: list[NDArray[np.uint8]] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    remarks: Counter[str] = field(default_factory=Counter)


def write_shard(
    out: Path, file: str, split: str, tensors: dict[str, NDArray[Any]], names: dict[str, str] | None, skipped: int
) -> tuple[Shard, Path]:
    """Write a shard of the data set ``out`` under a temporary name, which is returned with its entry."""
    parts = serialize(tensors, names)
    temporary = write_temporary(out / SHARDS / file, *parts)
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    size = sum(len(part) for part in parts)
    return Shard(file, split, len(tensors["index"]), size, digest.hexdigest(), skipped), temporary


def name_images(dataset: str, split: str, positions: Iterable[int]) -> list[str]:
    """Image ids for ciphers with a key per image: ID/SPLIT/POSITION, so that no two data sets share a key.

    In format version 1, where a data set has no id, SPLIT/POSITION.
    """
    place = f"{dataset}/{split}" if dataset else split
    return [f"{place}/{position}" for position in positions]


def check_classes(mask: NDArray[np.uint8], classes: int, name: str) -> None:
    """Raise DataError unless every pixel of a mask has one of the classes, or is IGNORED."""
    found = int(np.where(mask == IGNORED, 0, mask).max(initial=0))
    if found >= classes:
        raise DataError(
            f"the mask of {name} has class {found}, there are {classes}",
            hint="name all classes in the source, write 255 where there is none, or skip the image",
            parameters=("on_error",),
        )


def encrypt_masks(bound: BoundCipher, masks: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Masks (N, H, W) rearranged like the images, for ciphers that rearrange pixels in all channels alike."""
    channels, height, width = bound.shape
    padded = pad_to(masks[:, None], (1, height, width))
    repeated = np.broadcast_to(padded, (len(masks), channels, height, width))
    encrypted: NDArray[np.uint8] = np.ascontiguousarray(bound.encrypt(repeated)[:, 0])
    return encrypted


def decrypt_masks(bound: BoundCipher, masks: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Inverse of :func:`encrypt_masks`; the padding stays."""
    repeated = np.broadcast_to(masks[:, None], (len(masks), *bound.ct_shape))
    plain: NDArray[np.uint8] = bound.decrypt(repeated, "uint8")[:, 0]
    return plain


def require_places(out: Path, files: Iterable[str]) -> None:
    """Raise DataError where shards cannot be written, because a link or folder has the name of one."""
    shards = out / SHARDS
    if not shards.exists() and not shards.is_symlink():
        shards.mkdir()
    if shards.is_symlink() or not shards.is_dir():
        raise DataError(f"{shards} is no folder of this data set", hint="remove it and run the same command again")
    for file in files:
        if (shards / file).is_dir():
            raise DataError(f"{shards / file} is a folder", hint="remove it and run the same command again")


def remove_temporary(out: Path) -> None:
    """Remove what killed processes have begun to write, in a data set that this process has locked."""
    for folder in (out, out / SHARDS):
        for leftover in folder.glob(".*.tmp"):
            leftover.unlink(missing_ok=True)


def tag_source(key: Key, given: Given, source: Source, options: SealOptions) -> tuple[str, str]:
    """Keyed digests of a source: of its name and files, and of its name only, as earlier versions wrote it.

    ``given`` is the canonical source. Names, sizes and times of the files show whether it has changed.
    """
    named = [name_source(given), options.keep_names]
    return tag(key, [*named, source.files]), tag(key, named)


def complete(options: SealOptions, source: Source) -> SealOptions:
    """The options with a number of images to hold out, where it was left to the source."""
    return replace(
        options, hold_out=choose_hold_out(select(source, options.classes), options.hold_out, options.splits)
    )


def narrow(source: Source, options: SealOptions) -> Source:
    """The source with the requested classes only, images held out, and variants of training images."""
    return augment(hold_out(select(source, options.classes), options.hold_out or 0), options.augment)


def make_shards(
    maker: ShardMaker, tasks: list[ShardTask], key: Key, workers: int, source: Source
) -> Iterator[Made]:
    """Make shards in up to ``workers`` processes, in any order; one worker is this process, with ``source``."""
    workers = min(workers, len(tasks))
    if workers <= 1:
        bound = maker.bind(key)
        yield from (maker.make(task, bound, source) for task in tasks)
        return
    _check_pickled(maker)
    yield from run_in_processes(_make_in_worker, tasks, workers, _start_worker, (maker, key.to_bytes()))


class _Nowhere:
    def write(self, part: Any) -> None:
        """Keep nothing."""


def _check_pickled(maker: ShardMaker) -> None:
    """Raise UsageError for a data set of Python that cannot be sent to workers."""
    try:
        pickle.Pickler(_Nowhere(), pickle.HIGHEST_PROTOCOL).dump(maker)
    except Exception as error:  # of the data set's own code
        raise UsageError(
            f"the data set cannot be sent to worker processes: {error}",
            hint="seal it with workers=1, or without functions that are defined inside others",
        ) from None


_worker: dict[str, Any] = {}


def _start_worker(maker: ShardMaker, secret: bytes) -> None:
    # The key reaches a worker through a pipe, not through the command line or a file.
    key = Key(secret)
    _worker.update(maker=maker, bound=maker.bind(key), source=maker.open(key))


def _make_in_worker(task: ShardTask) -> Made:
    maker: ShardMaker = _worker["maker"]
    return maker.make(task, _worker["bound"], _worker["source"])
