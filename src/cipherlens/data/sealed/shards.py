"""Make shards: decode, encrypt and write, in this process or in workers."""

import hashlib
import pickle
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.ciphers import BoundCipher, Cipher
from cipherlens.data.images import pad_to
from cipherlens.data.sealed.manifest import SHARDS, Shard, tag, tag_rows
from cipherlens.data.sealed.reading import SealOptions, read_images
from cipherlens.data.sealed.spec import DatasetSpec
from cipherlens.data.sealed.tensors import serialize
from cipherlens.data.sealed.workers import run_in_processes
from cipherlens.data.sources.augmented import augment
from cipherlens.data.sources.base import Source
from cipherlens.data.sources.checks import check_labels
from cipherlens.data.sources.registry import Given, name_source, open_source
from cipherlens.data.sources.subsets import choose_hold_out, hold_out, select
from cipherlens.data.storage.base import Storage
from cipherlens.errors import DataError, UsageError
from cipherlens.escaping import escape_terminal
from cipherlens.keys import Key


@dataclass(frozen=True)
class ShardTask:
    """One shard to make, of the images at ``indices`` (N,) of a split."""

    file: str
    split: str
    indices: NDArray[np.int64]


@dataclass(frozen=True)
class Made:
    """A shard that waits to be published, the skipped images (name and reason), the number of processed images.

    ``remarks`` count how images were decoded (``REMARKS``).
    """

    shard: Shard
    waiting: Path | None
    skipped: list[tuple[str, str]]
    looked_at: int
    remarks: Counter[str]


@dataclass(frozen=True)
class ShardMaker:
    """Makes shards of one job. It holds no key, so it can be sent to a worker process.

    Shards are written to ``out``, which the parent holds.
    """

    source: Given
    out: Storage
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
        read = read_images(source, task.split, task.indices.tolist(), self.spec, self.options)
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
        shard, waiting = write_shard(self.out, task.file, task.split, tensors, names, len(read.skipped))
        return Made(shard, waiting, read.skipped, len(task.indices), read.remarks)


def write_shard(
    out: Storage,
    file: str,
    split: str,
    tensors: dict[str, NDArray[Any]],
    names: dict[str, str] | None,
    skipped: int,
) -> tuple[Shard, Path | None]:
    """Write a shard of the data set ``out``; returns its entry, and where it waits for ``out.publish``."""
    parts = serialize(tensors, names)
    waiting = out.write_early(f"{SHARDS}/{file}", *parts)
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    size = sum(len(part) for part in parts)
    return Shard(file, split, len(tensors["index"]), size, digest.hexdigest(), skipped), waiting


def name_images(dataset: str, split: str, positions: Iterable[int]) -> list[str]:
    """Image ids for ciphers with a key per image: ID/SPLIT/POSITION, so that no two data sets share a key.

    In format version 1, where a data set has no id, SPLIT/POSITION.
    """
    place = f"{dataset}/{split}" if dataset else split
    return [f"{place}/{position}" for position in positions]


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


def tag_source(key: Key, given: Given, source: Source, options: SealOptions) -> tuple[str, str]:
    """Keyed digests of a source: of its name and files, and of its name only, as earlier versions wrote it.

    ``given`` is the canonical source. Names, sizes and times of the files show whether it has changed.
    """
    named = [name_source(given), options.keep_names]
    return tag_rows(key, named, source.files), tag(key, named)


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
