"""Reading a sealed data set: what a provider, an auditor, and the client who decrypts work on."""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.data.files import sha256_of
from cipherlens.data.manifest import Manifest, Shard, read_manifest
from cipherlens.data.tensors import RESTORE, map_tensor
from cipherlens.errors import DataError, UsageError
from cipherlens.keys import Key


class SealedDataset:
    """A sealed data set on disk: manifest and safetensors shards, memory-mapped.

    ``SealedDataset.open(path)`` checks the manifest; with the client's key also that it was not altered.
    :meth:`verify` checks the shards' hashes.
    """

    def __init__(self, root: Path, manifest: Manifest) -> None:
        self.root = root
        self.manifest = manifest
        self.plan = manifest.plan

    @classmethod
    def open(cls, root: str | Path, key: Key | None = None) -> "SealedDataset":
        """Open a folder made by ``encrypt``.

        Raises DataError for anything damaged, KeyFailure if ``key`` is another one.
        """
        return cls(Path(root), read_manifest(Path(root), key))

    @property
    def splits(self) -> dict[str, int]:
        """Number of images per split."""
        counts = dict.fromkeys(self.plan.counts, 0)
        for shard in self.manifest.shards:
            counts[shard.split] = counts.get(shard.split, 0) + shard.n
        return counts

    def verify(self, split: str | None = None) -> None:
        """Compare shards with the manifest; raises DataError naming the first that is missing or differs."""
        for shard in self._shards(split):
            path = self.root / "shards" / shard.file
            if not path.is_file() or path.is_symlink():
                raise DataError(f"shard {shard.file} is missing", hint=RESTORE)
            if path.stat().st_size != shard.bytes:
                found = path.stat().st_size
                raise DataError(f"shard {shard.file} has {found} bytes instead of {shard.bytes}", hint=RESTORE)
            if sha256_of(path) != shard.sha256:
                raise DataError(f"shard {shard.file} is damaged (hash does not match)", hint=RESTORE)

    def split(self, name: str) -> "SealedSplit":
        """One split, shards verified. Raises UsageError, listing the splits, for an unknown one."""
        if name not in self.plan.counts:
            raise UsageError(f"no split {name!r}", hint=f"its splits: {', '.join(self.plan.counts)}")
        self.verify(name)
        return SealedSplit(self, self._shards(name))

    def _shards(self, split: str | None) -> list[Shard]:
        return [shard for shard in self.manifest.shards if split in (None, shard.split)]


class SealedSplit:
    """Encrypted images of one split, with labels and their position in the source."""

    def __init__(self, dataset: SealedDataset, shards: list[Shard]) -> None:
        self.dataset = dataset
        self.classes = dataset.plan.classes
        self.shape = dataset.plan.ct_shape
        self.dtype = dataset.plan.ct_dtype
        paths = [dataset.root / "shards" / shard.file for shard in shards]
        self._images = [map_tensor(path, "images") for path in paths]
        self._starts = np.cumsum([0, *(len(images) for images in self._images)])
        self.labels = _concatenate([map_tensor(path, "labels") for path in paths])
        self.index = _concatenate([map_tensor(path, "index") for path in paths])
        self._masks = [map_tensor(path, "masks") for path in paths] if dataset.plan.masked else None
        if any(images.shape[1:] != self.shape or images.dtype != self.dtype for images in self._images):
            raise DataError("shards have another shape or dtype than the manifest says", hint=RESTORE)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def read(self, indices: NDArray[np.int64]) -> NDArray[Any]:
        """Encrypted images (n, C, H, W) at these positions of the split, any order."""
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


def _concatenate(parts: list[NDArray[Any]]) -> NDArray[np.int64]:
    return np.concatenate([np.empty(0, np.int64), *parts])
