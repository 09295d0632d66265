"""Read a sealed data set, for providers, auditors, and clients who decrypt."""

import hashlib
import os
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.data.sealed.manifest import SHARDS, Manifest, Shard, read_manifest
from cipherlens.data.sealed.spec import RESTORE, DatasetSpec
from cipherlens.data.sealed.tensors import parse_metadata, parse_tensors
from cipherlens.data.sources.checks import check_labels
from cipherlens.errors import DataError, UsageError
from cipherlens.keys import Key
from cipherlens.untrusted import describe, open_untrusted


class SealedDataset:
    """A sealed data set on disk: manifest and safetensors shards, memory-mapped.

    ``SealedDataset.open(path)`` checks the manifest; with the client's key it also checks the MAC. A shard is
    compared with its hash when it is read.
    """

    def __init__(self, root: Path, manifest: Manifest) -> None:
        self.root = root
        self.manifest = manifest
        self.spec = manifest.spec

    @classmethod
    def open(cls, root: str | Path, key: Key | None = None) -> "SealedDataset":
        """Open a folder made by ``encrypt``.

        Raises DataError for a damaged data set, KeyFailureError for another key.
        """
        return cls(Path(root), read_manifest(Path(root), key))

    @property
    def splits(self) -> dict[str, int]:
        """Number of images per split."""
        counts = dict.fromkeys(self.spec.counts, 0)
        for shard in self.manifest.shards:
            counts[shard.split] = counts.get(shard.split, 0) + shard.n
        return counts

    def verify(self) -> None:
        """Compare all shards with the manifest. Raises DataError naming the first that is missing or differs."""
        for shard in self.manifest.shards:
            self.load_shard(shard)

    def is_intact(self, shard: Shard) -> bool:
        """Whether a shard is there and agrees with its entry."""
        try:
            self.load_shard(shard)
        except DataError:
            return False
        return True

    def load_shard(self, shard: Shard, copied: bool = False) -> dict[str, NDArray[Any]]:
        """The checked tensors of a shard: memory-mapped, or ``copied`` and so independent of the file.

        Raises DataError where it is missing, a link, or differs from the manifest.
        """
        return self._parse(shard, self._read(shard, copied))

    def load_shard_and_names(self, shard: Shard) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
        """The checked tensors of a shard, copied, and the names of its images by number, where they are kept."""
        content = self._read(shard, copied=True)
        return self._parse(shard, content), parse_metadata(content)

    def _read(self, shard: Shard, copied: bool) -> NDArray[np.uint8]:
        """The bytes of a shard. The file is opened once, so the returned bytes are the checked ones."""
        try:
            with open_untrusted(self.root / SHARDS / shard.file, self.root) as file:
                size = os.fstat(file.fileno()).st_size
                if size != shard.bytes:
                    raise DataError(f"shard {shard.file} has {size} bytes instead of {shard.bytes}", hint=RESTORE)
                content = np.fromfile(file, np.uint8) if copied else np.memmap(file, np.uint8, "r")
        except FileNotFoundError:
            raise self._miss(shard) from None
        except (OSError, ValueError) as error:  # ValueError: an empty file cannot be mapped
            raise DataError(f"shard {shard.file} cannot be read: {describe(error)}", hint=RESTORE) from None
        if hashlib.sha256(content.data).hexdigest() != shard.sha256:
            raise DataError(f"shard {shard.file} is damaged (hash does not match)", hint=RESTORE)
        return content

    def _miss(self, shard: Shard) -> DataError:
        """What is wrong where a shard is missing: nothing but the time, if the key was rotated meanwhile."""
        if read_manifest(self.root) != self.manifest:
            return DataError(f"{self.root} was changed after it was opened", hint="open it again")
        return DataError(f"shard {shard.file} is missing", hint=RESTORE)

    def _parse(self, shard: Shard, content: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        try:
            tensors = parse_tensors(content)
            _check_tensors(tensors, self.spec, shard)
        except (ValueError, KeyError) as error:
            raise DataError(f"shard {shard.file} is damaged: {error}", hint=RESTORE) from None
        return tensors

    def split(self, name: str) -> "SealedSplit":
        """One split, with its shards checked. Raises UsageError, listing the splits, for an unknown one."""
        if name not in self.spec.counts:
            raise UsageError(f"no split {name!r}", hint=f"its splits: {', '.join(self.spec.counts)}")
        return SealedSplit(self, self.list_shards(name))

    def list_shards(self, split: str) -> list[Shard]:
        """The shards of a split, in the order of their images."""
        return [shard for shard in self.manifest.shards if shard.split == split]


class SealedSplit:
    """Encrypted images of one split, with labels and their position in the source."""

    def __init__(self, dataset: SealedDataset, shards: list[Shard]) -> None:
        self.dataset = dataset
        self.classes = dataset.spec.classes
        self.shape = dataset.spec.ct_shape
        self.dtype = dataset.spec.ct_dtype
        tensors = [dataset.load_shard(shard) for shard in shards]
        self._images = [shard["images"] for shard in tensors]
        self._starts = np.cumsum([0, *(len(images) for images in self._images)])
        self.labels = _concatenate([shard["labels"] for shard in tensors])
        self.index = _concatenate([shard["index"] for shard in tensors])
        self._masks = [shard["masks"] for shard in tensors] if dataset.spec.masked else None

    def __len__(self) -> int:
        return int(self._starts[-1])

    def read(self, indices: NDArray[np.int64]) -> NDArray[Any]:
        """Encrypted images (n, C, H, W) at these positions of the split, in any order."""
        indices = np.asarray(indices, np.int64)
        out = np.empty((len(indices), *self.shape), self.dtype)
        owner = np.searchsorted(self._starts, indices, side="right") - 1
        for shard in np.unique(owner):
            here = np.flatnonzero(owner == shard)
            out[here] = self._images[shard][indices[here] - self._starts[shard]]
        return out

    @cached_property
    def masks(self) -> NDArray[np.uint8] | None:
        """Encrypted masks (N, H, W) of all images, 255 where a pixel has no class; None where there are none."""
        if self._masks is None:
            return None
        return np.concatenate([np.empty((0, *self.shape[1:]), np.uint8), *self._masks])

    def read_all(self) -> NDArray[Any]:
        """All encrypted images of the split."""
        return self.read(np.arange(len(self)))


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


def _concatenate(parts: list[NDArray[Any]]) -> NDArray[np.int64]:
    return np.concatenate([np.empty(0, np.int64), *parts])
