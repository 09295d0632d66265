"""Read a sealed data set, for providers, auditors, and clients who decrypt."""

import operator
from collections.abc import Sequence
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.data.sealed.manifest import Manifest, Shard, read_manifest
from cipherlens.data.sealed.shard_files import FileMark, parse_shard, read_shard
from cipherlens.data.sealed.spec import RESTORE
from cipherlens.data.sealed.tables import to_hf
from cipherlens.data.sealed.tensors import parse_metadata
from cipherlens.errors import DataError, UsageError
from cipherlens.keys import Key


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
        return parse_shard(self.read(shard, copied)[0], self.spec, shard)

    def load_shard_and_names(self, shard: Shard) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
        """The checked tensors of a shard, copied, and the names of its images by number, where they are kept."""
        content, _ = self.read(shard, copied=True)
        return parse_shard(content, self.spec, shard), parse_metadata(content)

    def read(
        self, shard: Shard, copied: bool = False, compared: FileMark | None = None
    ) -> tuple[NDArray[np.uint8], FileMark]:
        """As :func:`read_shard`. Raises DataError where the shard is missing, too."""
        try:
            return read_shard(self.root, shard, copied, compared)
        except FileNotFoundError:
            if read_manifest(self.root) != self.manifest:  # for example, the key was rotated
                hint = "open it again"
                raise DataError(f"{self.root} was changed after it was opened", hint=hint) from None
            raise DataError(f"shard {shard.file} is missing", hint=RESTORE) from None

    def split(self, name: str) -> "SealedSplit":
        """One split, with its shards checked. Raises UsageError, listing the splits, for an unknown one."""
        if name not in self.spec.counts:
            raise UsageError(f"no split {name!r}", hint=f"its splits: {', '.join(self.spec.counts)}")
        return SealedSplit(self, name)

    def to_hf(self) -> Any:
        """The ciphertexts as a ``datasets.DatasetDict`` in memory: image, label or mask, index.

        Raises UsageError where the package ``datasets`` is missing.
        """
        return to_hf({split: map(self.load_shard, self.list_shards(split)) for split in self.splits}, self.spec)

    def list_shards(self, split: str) -> list[Shard]:
        """The shards of a split, in the order of their images."""
        return [shard for shard in self.manifest.shards if shard.split == split]


class SealedSplit:
    """Encrypted images of one split, with labels and their position in the source: a map-style data set.

    ``split[i]`` is an encrypted image (C, H, W) and its label, or its encrypted mask (H, W) where there are masks.
    ``torch.utils.data.DataLoader`` takes it, with workers and samplers. It is pickled by its path: workers map the
    files for themselves, and compare hashes again only where a file has changed.
    """

    def __init__(self, dataset: SealedDataset, name: str, marks: Sequence[FileMark | None] = ()) -> None:
        self.dataset, self.name = dataset, name
        self.classes = dataset.spec.classes
        self.shape = dataset.spec.ct_shape
        self.dtype = dataset.spec.ct_dtype
        shards = dataset.list_shards(name)
        read = [dataset.read(shard, compared=mark) for shard, mark in zip_longest(shards, marks)]
        self._marks = tuple(mark for _, mark in read)
        found = zip(read, shards, strict=True)
        tensors = [parse_shard(content, dataset.spec, shard) for (content, _), shard in found]
        self._images = [shard["images"] for shard in tensors]
        self._starts = np.cumsum([0, *(len(images) for images in self._images)])
        self.labels = _concatenate([shard["labels"] for shard in tensors])
        self.index = _concatenate([shard["index"] for shard in tensors])
        self._masks = [shard["masks"] for shard in tensors] if dataset.spec.masked else None

    def __reduce__(self) -> tuple[Any, ...]:
        dataset = SealedDataset(self.dataset.root.absolute(), self.dataset.manifest)
        return SealedSplit, (dataset, self.name, self._marks)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, index: int) -> tuple[NDArray[Any], Any]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[NDArray[Any], Any]]:
        """Several items at once, in this order; PyTorch's DataLoader asks for whole batches in this way."""
        if not len(indices):
            return []
        chosen = np.array([self._place(index) for index in indices], np.int64)
        images = self.read(chosen)
        if self._masks is None:
            return list(zip(images, self.labels[chosen].tolist(), strict=True))
        return list(zip(images, self._gather(self._masks, chosen), strict=True))

    def _place(self, index: int) -> int:
        place = operator.index(index)
        place += len(self) if place < 0 else 0
        if not 0 <= place < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        return place

    def read(self, indices: NDArray[np.int64]) -> NDArray[Any]:
        """Encrypted images (n, C, H, W) at these positions of the split, in any order."""
        indices = np.asarray(indices, np.int64)
        if not len(indices):
            return np.empty((0, *self.shape), self.dtype)
        return self._gather(self._images, indices)

    def _gather(self, parts: list[NDArray[Any]], indices: NDArray[np.int64]) -> NDArray[Any]:
        """Rows of the shards' arrays at these positions of the split; at least one."""
        out = np.empty((len(indices), *parts[0].shape[1:]), parts[0].dtype)
        owner = np.searchsorted(self._starts, indices, side="right") - 1
        for shard in np.unique(owner):
            here = np.flatnonzero(owner == shard)
            out[here] = parts[shard][indices[here] - self._starts[shard]]
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
