"""Image folders as a source."""

import errno
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cipherlens.data.extras import list_installed
from cipherlens.data.images import Item
from cipherlens.data.sources.base import ALL
from cipherlens.data.sources.checks import FileFacts, check_class_names, printable
from cipherlens.data.sources.listing import Found, ListedFiles, Listing
from cipherlens.errors import DataError

IMAGE_SUFFIXES = list_installed() | {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff"}
"""Names of files that are opened, with those of the extras that are installed."""
_CLUTTER = frozenset({"thumbs.db", "desktop.ini"})
"""Files of Windows that are no user's, in lower case."""
SPLIT_NAMES = ("train", "val", "valid", "validation", "test")
"""Names of folders, or prefixes of file names, that are splits."""


class FolderSource:
    """``ROOT/[SPLIT/]CLASS/*.jpg``, or a flat folder of images without labels.

    The files are listed once, when it is opened. Raises DataError for a folder without images, or one that cannot
    be listed.
    """

    masked = False

    def __init__(self, root: Path) -> None:
        self._root = root = root.absolute()
        try:
            self._parts, self.classes = _arrange(root)
            self._files = {split: self._list(part) for split, part in self._parts.items()}
        except OSError as error:
            raise DataError(f"cannot list {root}: {error}", hint="make all its folders readable") from None
        check_class_names(self.classes)
        self.splits = {split: len(files) for split, files in self._files.items() if len(files)}
        if not self.splits:
            raise DataError(f"{root} holds no images", hint=f"images end in {', '.join(sorted(IMAGE_SUFFIXES))}")

    def _list(self, part: Path) -> Listing:
        if not self.classes:
            return Listing((-1, one) for one in _images(self._root, part))
        return Listing(
            (label, one)
            for label, name in enumerate(self.classes)
            if (part / name).is_dir()
            for one in _images(self._root, part / name, deep=True)
        )

    @property
    def files(self) -> Iterable[FileFacts]:
        """The images: path relative to the folder, size in bytes, time of change in ns."""
        return ListedFiles(self._files.values())

    def read(self, split: str, indices: Sequence[int]) -> list[Item]:
        """The files at these positions."""
        found = self._files[split].take(indices)
        return [Item(printable(one.name), label, self._root / one.name) for label, one in found]

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
        self.files: Iterable[FileFacts] = ((self._item.name, facts.st_size, facts.st_mtime_ns),)
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
    found: Counter[str] = Counter()
    try:
        parts, classes = _arrange(root)
        start = len(f"{root}/".replace("//", "/"))
        for entry in _walk(root, deep=True):
            path = Path(entry.path[start:]).parts
            hidden = any(part.startswith(".") for part in path) or entry.name.lower() in _CLUTTER
            if (
                hidden
                or entry.is_dir(follow_symlinks=False)
                or (_is_placed(path, parts, classes) and _look_at(entry, start))
            ):
                continue
            link = entry.is_symlink() and not entry.is_file()  # to a folder, or broken
            found["(links)" if link else Path(entry.name).suffix.lower() or "without a suffix"] += 1
    except OSError as error:
        raise DataError(f"cannot list {root}: {error}", hint="make all its folders readable") from None
    return dict(found.most_common())


def _arrange(root: Path) -> tuple[dict[str, Path], tuple[str, ...]]:
    """The folders of the splits, and the names of the classes."""
    parts = {d.name: d for d in _folders(root) if d.name in SPLIT_NAMES} or {ALL: root}
    return parts, tuple(sorted({folder.name for part in parts.values() for folder in _folders(part)}))


def _is_placed(path: Sequence[str], parts: Mapping[str, Path], classes: Sequence[str]) -> bool:
    """Whether an image at this path below the root is one of the source: in a class, or directly in a split."""
    depth = len(path) - 1
    if ALL not in parts:
        if path[0] not in parts:
            return False
        depth -= 1
    return depth > 0 if classes else depth == 0


def _folders(root: Path) -> list[Path]:
    return sorted(d for d in root.iterdir() if d.is_dir())


def _images(root: Path, folder: Path, deep: bool = False) -> Iterator[Found]:
    start = len(f"{root}/".replace("//", "/"))  # of the entries' paths
    return (found for entry in _walk(folder, deep) if (found := _look_at(entry, start)))


def _walk(folder: Path, deep: bool) -> Iterator[os.DirEntry[str]]:
    """The entries of a folder, with ``deep`` also of all folders below; links to folders are not followed."""
    folders = [os.fspath(folder)]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if deep and entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                yield entry


def _look_at(entry: os.DirEntry[str], start: int) -> Found | None:
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
    return Found(entry.path[start:], facts.st_size, facts.st_mtime_ns)
