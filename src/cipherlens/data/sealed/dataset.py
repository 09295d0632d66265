"""Read a sealed data set, for providers, auditors, and clients who decrypt."""

import operator
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, lru_cache
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
from cipherlens.data.storage.base import Storage
from cipherlens.data.storage.opening import open_storage
from cipherlens.data.storage.url import Place
from cipherlens.errors import DataError, UsageError
from cipherlens.keys import Key

OPEN_SHARDS = 10_000
"""Shards of a split that stay mapped; Linux maps at most 65,530 files for a process. Chosen by hand."""
OPEN_COPIES = 64
"""The same of shards at a URL: a copy that is mapped takes its place on the disk, even when it is removed."""
_OPENED_AT_ONCE = 8
"""Shards that are opened at once, so that neither network nor processor waits. Chosen by hand."""


class SealedDataset:
    """A sealed data set in a folder or at a URL: manifest and safetensors shards, memory-mapped.

    Shards at a URL are copied to this machine when they are read (see ``storage.cache``).

    ``SealedDataset.open(path)`` checks the manifest; with the client's key it also checks the MAC. A shard is
    compared with its hash when it is read.
    """

    def __init__(self, storage: Storage, manifest: Manifest) -> None:
        self.storage = storage
        self.manifest = manifest
        self.spec = manifest.spec

    @classmethod
    def open(cls, root: str | Place, key: Key | None = None) -> "SealedDataset":
        """Open a folder or URL made by ``encrypt``.

        Raises DataError for a damaged data set, KeyFailureError for another key.
        """
        storage = open_storage(root)
        return cls(storage, read_manifest(storage, key))

    @property
    def root(self) -> Place:
        """The folder, or the URL."""
        return self.storage.root

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
            return read_shard(self.storage, shard, copied, compared)
        except FileNotFoundError:
            if read_manifest(self.storage) != self.manifest:  # for example, the key was rotated
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
        self._shards = dataset.list_shards(name)
        self._marks = [mark for _, mark in zip_longest(self._shards, marks)]
        self._load = lru_cache(OPEN_SHARDS if isinstance(dataset.root, Path) else OPEN_COPIES)(self._open)
        with ThreadPoolExecutor(_OPENED_AT_ONCE) as pool:
            numbers = list(pool.map(self._read_numbers, range(len(self._shards))))
        self.labels = _concatenate([labels for labels, _ in numbers])
        self.index = _concatenate([index for _, index in numbers])
        self._starts = np.cumsum([0, *(shard.n for shard in self._shards)])

    def _open(self, number: int) -> dict[str, NDArray[Any]]:
        """The tensors of a shard; its hash is compared, unless the file is as it was then."""
        shard = self._shards[number]
        content, self._marks[number] = self.dataset.read(shard, compared=self._marks[number])
        return parse_shard(content, self.dataset.spec, shard)

    def _read_numbers(self, number: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Labels and positions, which stay in memory."""
        tensors = self._load(number)
        return tensors["labels"].copy(), tensors["index"].copy()

    def __reduce__(self) -> tuple[Any, ...]:
        root = self.dataset.root
        storage = open_storage(root.absolute() if isinstance(root, Path) else root)
        dataset = SealedDataset(storage, self.dataset.manifest)
        return SealedSplit, (dataset, self.name, tuple(self._marks))

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
        if not self.dataset.spec.masked:
            return list(zip(images, self.labels[chosen].tolist(), strict=True))
        return list(zip(images, self._gather("masks", chosen), strict=True))

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
        return self._gather("images", indices)

    def _gather(self, kind: str, indices: NDArray[np.int64]) -> NDArray[Any]:
        """Rows of the shards' arrays at these positions of the split."""
        shape, dtype = (self.shape, self.dtype) if kind == "images" else (self.shape[1:], "uint8")
        out = np.empty((len(indices), *shape), dtype)
        owner = np.searchsorted(self._starts, indices, side="right") - 1
        for number in np.unique(owner).tolist():
            here = np.flatnonzero(owner == number)
            out[here] = self._load(number)[kind][indices[here] - self._starts[number]]
        return out

    @cached_property
    def masks(self) -> NDArray[np.uint8] | None:
        """Encrypted masks (N, H, W) of all images, 255 where a pixel has no class; None where there are none."""
        return self._gather("masks", np.arange(len(self))) if self.dataset.spec.masked else None

    def read_all(self) -> NDArray[Any]:
        """All encrypted images of the split."""
        return self.read(np.arange(len(self)))


def _concatenate(parts: list[NDArray[Any]]) -> NDArray[np.int64]:
    return np.concatenate([np.empty(0, np.int64), *parts])
