"""Image folders as a source."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cipherlens.data.images import Item
from cipherlens.errors import DataError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff"})
SPLIT_NAMES = ("train", "val", "valid", "validation", "test")
"""Folders, or beginnings of file names, that are splits."""


class FolderSource:
    """``ROOT/[SPLIT/]CLASS/*.jpg``, or a flat folder of images without labels."""

    masked = False

    def __init__(self, root: Path) -> None:
        split_roots = {d.name: d for d in _folders(root) if d.name in SPLIT_NAMES} or {"all": root}
        names = {folder.name for part in split_roots.values() for folder in _folders(part)}
        self.classes = tuple(sorted(names))
        self._root = root
        self._files = {split: self._list(part) for split, part in split_roots.items()}
        self.splits = {split: len(files) for split, files in self._files.items() if files}
        if not self.splits:
            raise DataError(f"{root} holds no images", hint=f"images end in {', '.join(sorted(IMAGE_SUFFIXES))}")

    def _list(self, part: Path) -> list[tuple[Path, int]]:
        if not self.classes:
            return [(file, -1) for file in _images(part)]
        return [
            (file, label) for label, name in enumerate(self.classes) for file in _images(part / name, deep=True)
        ]

    def read(self, split: str, indices: Sequence[int]) -> list[Item]:
        """The files at these positions."""
        chosen = [self._files[split][int(i)] for i in indices]
        return [Item(str(file.relative_to(self._root)), label, file) for file, label in chosen]

    def read_labels(self, split: str) -> NDArray[np.int64]:
        """The labels of the files of a split."""
        return np.array([label for _, label in self._files[split]], np.int64)


def _folders(root: Path) -> list[Path]:
    return sorted(d for d in root.iterdir() if d.is_dir()) if root.is_dir() else []


def _images(folder: Path, deep: bool = False) -> list[Path]:
    if not folder.is_dir():
        return []
    found = folder.rglob("*") if deep else folder.iterdir()
    return sorted(file for file in found if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file())
