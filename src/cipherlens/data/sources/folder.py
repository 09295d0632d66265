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
    name: str  # below the source's folder
    size: int
    changed_ns: int


class _Listed(NamedTuple):
    """The images of a split, in an order of their own. There may be millions, so most of it is arrays."""

    names: list[str]
    labels: NDArray[np.int64]
    sizes: NDArray[np.int64]
    changed_ns: NDArray[np.int64]

    @classmethod
    def of(cls, parts: Sequence[tuple[int, list[_Found]]]) -> "_Listed":
        """From the images of each label."""
        found = [one for _, part in parts for one in part]
        labels = np.repeat([label for label, _ in parts], [len(part) for _, part in parts]).astype(np.int64)
        sizes, times = (np.array([one[place] for one in found], np.int64) for place in (1, 2))
        return cls([one.name for one in found], labels, sizes, times)


class FolderSource:
    """``ROOT/[SPLIT/]CLASS/*.jpg``, or a flat folder of images without labels.

    The files are listed once, when it is opened. Raises DataError for a folder without images, or one that cannot
    be listed.
    """

    masked = False

    def __init__(self, root: Path) -> None:
        self._root = root = root.absolute()
        try:
            split_roots = {d.name: d for d in _folders(root) if d.name in SPLIT_NAMES} or {ALL: root}
            names = {folder.name for part in split_roots.values() for folder in _folders(part)}
            self.classes = tuple(sorted(names))
            self._files = {split: self._list(part) for split, part in split_roots.items()}
        except OSError as error:
            raise DataError(f"cannot list {root}: {error}", hint="make all its folders readable") from None
        check_class_names(self.classes)
        self.splits = {split: len(files.names) for split, files in self._files.items() if files.names}
        if not self.splits:
            raise DataError(f"{root} holds no images", hint=f"images end in {', '.join(sorted(IMAGE_SUFFIXES))}")

    def _list(self, part: Path) -> _Listed:
        if not self.classes:
            return _Listed.of([(-1, _images(self._root, part))])
        return _Listed.of(
            [
                (label, _images(self._root, part / name, deep=True))
                for label, name in enumerate(self.classes)
                if (part / name).is_dir()
            ]
        )

    @property
    def files(self) -> tuple[FileFacts, ...]:
        """The images: path relative to the folder, size in bytes, time of change in ns."""
        return tuple(
            sorted(
                (printable(name), size, changed_ns)
                for found in self._files.values()
                for name, size, changed_ns in zip(
                    found.names, found.sizes.tolist(), found.changed_ns.tolist(), strict=True
                )
            )
        )

    def read(self, split: str, indices: Sequence[int]) -> list[Item]:
        """The files at these positions."""
        found = self._files[split]
        return [Item(printable(found.names[i]), int(found.labels[i]), self._root / found.names[i]) for i in indices]

    def read_labels(self, split: str) -> NDArray[np.int64]:
        """The labels of the files of a split."""
        return self._files[split].labels


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


def _images(root: Path, folder: Path, deep: bool = False) -> list[_Found]:
    start = len(f"{root}/".replace("//", "/"))  # of the entries' paths
    found = (found for entry in _walk(folder, deep) if (found := _look_at(entry, start)))
    # The order of paths: folder by folder.
    return sorted(found, key=lambda one: one.name.replace(os.sep, "\0"))


def _walk(folder: Path, deep: bool) -> Iterator[os.DirEntry[str]]:
    """The entries of a folder, with ``deep`` also of all folders below; links to folders are not followed."""
    folders = [os.fspath(folder)]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if deep and entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                yield entry


def _look_at(entry: os.DirEntry[str], start: int) -> _Found | None:
    """The image at an entry, its path from ``start`` on; None for any other file, and for a broken link."""
    if Path(entry.name).suffix.lower() not in IMAGE_SUFFIXES:
        return None
    try:
        facts = entry.stat()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP):
            return None
        raise
    if not stat.S_ISREG(facts.st_mode):
        return None
    return _Found(entry.path[start:], facts.st_size, facts.st_mtime_ns)
