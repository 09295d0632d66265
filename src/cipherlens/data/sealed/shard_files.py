"""Read a shard: its bytes are compared with the manifest, and its tensors with the plan, before they are used."""

import hashlib
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.data.sealed.manifest import SHARDS, Shard
from cipherlens.data.sealed.spec import RESTORE, DatasetSpec
from cipherlens.data.sealed.tensors import parse_tensors
from cipherlens.data.sources.checks import check_labels
from cipherlens.data.storage.base import Storage
from cipherlens.errors import DataError
from cipherlens.untrusted import describe


@dataclass(frozen=True)
class FileMark:
    """Which file it was whose hash was compared, and its last change."""

    device: int
    inode: int
    bytes: int
    changed_ns: int
    touched_ns: int
    """Of the file's own entry: no program can set this time back."""


def read_shard(
    storage: Storage, shard: Shard, copied: bool = False, compared: FileMark | None = None
) -> tuple[NDArray[np.uint8], FileMark]:
    """As ``_read``; a damaged copy of a shard in object storage is fetched again, once."""
    try:
        return _read(storage, shard, copied, compared)
    except DataError:
        if not storage.forget(shard.sha256):
            raise
        return _read(storage, shard, copied, compared)


def _read(
    storage: Storage, shard: Shard, copied: bool, compared: FileMark | None
) -> tuple[NDArray[np.uint8], FileMark]:
    """The bytes of a shard, memory-mapped or ``copied``, and the file's mark.

    The file is opened once, so the returned bytes are the compared ones. With the mark of a file that was
    ``compared`` before, and has not changed since, the hash is not computed again. Raises FileNotFoundError where
    it is missing, DataError where it is a link or differs from the manifest.
    """
    try:
        with storage.open_shard(f"{SHARDS}/{shard.file}", shard.bytes, shard.sha256) as file:
            facts = os.fstat(file.fileno())
            if facts.st_size != shard.bytes:
                raise DataError(
                    f"shard {shard.file} has {facts.st_size} bytes instead of {shard.bytes}", hint=RESTORE
                )
            content = np.fromfile(file, np.uint8) if copied else np.memmap(file, np.uint8, "r")
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:  # ValueError: an empty file cannot be mapped
        raise DataError(f"shard {shard.file} cannot be read: {describe(error)}", hint=RESTORE) from None
    mark = FileMark(facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)
    if mark != compared and hashlib.sha256(content.data).hexdigest() != shard.sha256:
        raise DataError(f"shard {shard.file} is damaged (hash does not match)", hint=RESTORE)
    return content, mark


def parse_shard(content: NDArray[np.uint8], spec: DatasetSpec, shard: Shard) -> dict[str, NDArray[Any]]:
    """The tensors of a shard by name, as views of its bytes. Raises DataError where they are not the plan's."""
    try:
        tensors = parse_tensors(content)
        _check_tensors(tensors, spec, shard)
    except (ValueError, KeyError) as error:
        raise DataError(f"shard {shard.file} is damaged: {error}", hint=RESTORE) from None
    return tensors


def _check_tensors(tensors: dict[str, NDArray[Any]], spec: DatasetSpec, shard: Shard) -> None:
    """Raise ValueError unless a shard agrees with the manifest, KeyError where a tensor is missing."""
    expected = {
        "images": ((shard.n, *spec.ct_shape), spec.ct_dtype),
        "labels": ((shard.n,), "int64"),
        "index": ((shard.n,), "int64"),
        **({"masks": ((shard.n, *spec.ct_shape[1:]), "uint8")} if spec.masked else {}),
    }
    for name, (shape, dtype) in expected.items():
        tensor = tensors[name]
        if tensor.shape != shape or tensor.dtype != dtype:
            raise ValueError(f"{name} are {tensor.dtype} {tensor.shape}, the manifest says {dtype} {shape}")
    if not spec.masked:  # with masks, labels are not used, and earlier versions stored any value
        check_labels(tensors["labels"], spec.classes, spec.masked, shard.file)
    if tensors["index"].min(initial=0) < 0:
        raise ValueError("a negative position")
