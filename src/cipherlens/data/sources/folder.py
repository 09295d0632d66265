"""Image folders as a source."""

import errno
import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cipherlens.data.extras import list_installed
from cipherlens.data.images import Item
from cipherlens.data.sources.base import ALL
from cipherlens.data.sources.checks import FileFacts, check_class_names, printable
from cipherlens.errors import DataError

IMAGE_SUFFIXES = list_installed() | {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff"}
"""Names of files that are opened, with those of the extras that are installed."""
_CLUTTER = frozenset({"thumbs.db", "desktop.ini"})
"""Files of Windows that are no user's, in lower case."""
SPLIT_NAMES = ("train", "val", "valid", "validation", "test")
"""Names of folders, or prefixes of file names, that are splits."""


class _Found(NamedTuple):
    path: Path
    label: int
    size: int
    changed_ns: int


class FolderSource:
    """``ROOT/[SPLIT/]CLASS/*.jpg``, or a flat folder of images without labels.

    The files are listed once, when it is opened. Raises DataError for a folder without images, or one that cannot
    be listed.
    """

    masked = False

    def __init__(self, root: Path) -> None:
        self._root = root
        try:
            split_roots = {d.name: d for d in _folders(root) if d.name in SPLIT_NAMES} or {ALL: root}
            names = {folder.name for part in split_roots.values() for folder in _folders(part)}
            self.classes = tuple(sorted(names))
            self._files = {split: self._list(part) for split, part in split_roots.items()}
        except OSError as error:
            raise DataError(f"cannot list {root}: {error}", hint="make all its folders readable") from None
        check_class_names(self.classes)
        self.splits = {split: len(files) for split, files in self._files.items() if files}
        if not self.splits:
            raise DataError(f"{root} holds no images", hint=f"images end in {', '.join(sorted(IMAGE_SUFFIXES))}")

    def _list(self, part: Path) -> list[_Found]:
        if not self.classes:
            return _images(part, -1)
        return [
            found
            for label, name in enumerate(self.classes)
            if (part / name).is_dir()
            for found in _images(part / name, label, deep=True)
        ]

    @property
    def files(self) -> tuple[FileFacts, ...]:
        """The images: path relative to the folder, size in bytes, time of change in ns."""
        every = (found for files in self._files.values() for found in files)
        return tuple(sorted((self._name(found), found.size, found.changed_ns) for found in every))

    def _name(self, found: _Found) -> str:
        return printable(str(found.path.relative_to(self._root)))

    def read(self, split: str, indices: Sequence[int]) -> list[Item]:
        """The files at these positions."""
        chosen = [self._files[split][int(i)] for i in indices]
        return [Item(self._name(found), found.label, found.path) for found in chosen]

    def read_labels(self, split: str) -> NDArray[np.int64]:
        """The labels of the files of a split."""
        return np.array([found.label for found in self._files[split]], np.int64)


class PhotoSource:
    """One image file, without a label."""

    masked = False
    classes: tuple[str, ...] = ()

    def __init__(self, path: Path) -> None:
        facts = path.stat()
        self._item = Item(printable(path.name), -1, path)
        self.files: tuple[FileFacts, ...] = ((self._item.name, facts.st_size, facts.st_mtime_ns),)
        self.splits = {ALL: 1}

    def read(self, split: str, indices: Sequence[int]) -> list[Item]:
        """The file, as often as it is asked for."""
        return [self._item for _ in indices]

    def read_labels(self, split: str) -> NDArray[np.int64]:
        """No label (1,)."""
        return np.array([-1], np.int64)


def count_unopened(root: Path) -> dict[str, int]:
    """Files below an image folder that are no images of it, by suffix; the most frequent first.

    Hidden files and folders do not count. Raises DataError for a folder that cannot be listed.
    """
    opened = {name for name, _, _ in FolderSource(root).files}
    found: Counter[str] = Counter()
    try:
        for entry in _walk(root, deep=True):
            parts = Path(entry.path).relative_to(root).parts
            hidden = any(part.startswith(".") for part in parts) or entry.name.lower() in _CLUTTER
            if hidden or entry.is_dir(follow_symlinks=False) or printable(str(Path(*parts))) in opened:
                continue
            link = entry.is_symlink() and not entry.is_file()  # to a folder, or broken
            found["(links)" if link else Path(entry.name).suffix.lower() or "without a suffix"] += 1
    except OSError as error:
        raise DataError(f"cannot list {root}: {error}", hint="make all its folders readable") from None
    return dict(found.most_common())


def _folders(root: Path) -> list[Path]:
    return sorted(d for d in root.iterdir() if d.is_dir())


def _images(folder: Path, label: int, deep: bool = False) -> list[_Found]:
    return sorted(found for entry in _walk(folder, deep) if (found := _look_at(entry, label)))


def _walk(folder: Path, deep: bool) -> Iterator[os.DirEntry[str]]:
    """The entries of a folder, with ``deep`` also of all folders below; links to folders are not followed."""
    folders = [os.fspath(folder)]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if deep and entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                yield entry


def _look_at(entry: os.DirEntry[str], label: int) -> _Found | None:
    """The image at an entry; None for any other file, and for a broken link."""
    path = Path(entry.path)
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        return None
    try:
        facts = entry.stat()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP):
            return None
        raise
    return _Found(path, label, facts.st_size, facts.st_mtime_ns) if stat.S_ISREG(facts.st_mode) else None
