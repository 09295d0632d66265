"""Images in object storage as a source, by URL."""

from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cipherlens.data.decoding import MAX_FILE_BYTES
from cipherlens.data.images import Item
from cipherlens.data.sources.base import ALL
from cipherlens.data.sources.checks import FileFacts, check_class_names, printable
from cipherlens.data.sources.folder import IMAGE_SUFFIXES, SPLIT_NAMES
from cipherlens.data.storage.url import Url, explain
from cipherlens.errors import DataError

_VERSIONS = (
    "ETag",
    "etag",
    "md5",
    "md5Hash",
    "content_settings",
    "LastModified",
    "last_modified",
    "mtime",
    "created",
)
"""What stores call the word that changes with an object's content, the most certain first."""


class StoredObject(NamedTuple):
    """One object: its path below the source, its size in bytes, a number that changes with its content."""

    parts: tuple[str, ...]
    url: Url
    size: int
    version: int


class ObjectSource:
    """``URL/[SPLIT/]CLASS/*.jpg``, or images directly below the URL, without labels: as an image folder.

    The objects are listed once, when it is opened. Those of a batch are read side by side. Raises DataError where
    there are no images, or where the place cannot be listed.
    """

    masked = False

    def __init__(self, root: Url) -> None:
        found = [file for file in list_objects(root) if file.url.suffix.lower() in IMAGE_SUFFIXES]
        splits = [name for name in SPLIT_NAMES if any(len(f.parts) > 1 and f.parts[0] == name for f in found)]
        below = {name: [f for f in found if f.parts[0] == name] for name in splits} or {ALL: found}
        depth = 1 if splits else 0
        names = {f.parts[depth] for part in below.values() for f in part if len(f.parts) > depth + 1}
        self.classes = tuple(sorted(names))
        check_class_names(self.classes)
        # Where there are classes, an image outside of them is none of the source's, as in a folder.
        self._objects = {
            name: sorted(
                (self._find_label(f, depth), f) for f in part if (len(f.parts) > depth + 1) == bool(self.classes)
            )
            for name, part in below.items()
        }
        self.splits = {name: len(part) for name, part in self._objects.items() if part}
        if not self.splits:
            raise DataError(f"{root} holds no images", hint=f"images end in {', '.join(sorted(IMAGE_SUFFIXES))}")

    def _find_label(self, found: StoredObject, depth: int) -> int:
        return self.classes.index(found.parts[depth]) if self.classes else -1

    @property
    def files(self) -> tuple[FileFacts, ...]:
        """The images: path below the URL, size in bytes, and a number that changes with the content."""
        every = (found for part in self._objects.values() for _, found in part)
        return tuple(sorted((_name(found), found.size, found.version) for found in every))

    def read(self, split: str, indices: Sequence[int]) -> list[Item]:
        """The objects at these positions, read side by side."""
        chosen = [self._objects[split][int(i)] for i in indices]
        for _, found in chosen:
            if found.size > MAX_FILE_BYTES:
                raise DataError(f"{_name(found)} has more than {MAX_FILE_BYTES:,} bytes", hint="leave it out")
        loaded = _load_all([found.url for _, found in chosen])
        return [Item(_name(found), label, loaded[found.url]) for label, found in chosen]

    def read_labels(self, split: str) -> NDArray[np.int64]:
        """The labels of the images of a split."""
        return np.array([label for label, _ in self._objects[split]], np.int64)


def list_objects(root: Url) -> list[StoredObject]:
    """All objects below a URL. Raises DataError where it cannot be listed."""
    with explain(root):
        found: dict[str, dict[str, Any]] = root.system.find(root.path, detail=True)
    start = len(root.path.rstrip("/")) + 1
    return [
        StoredObject(
            tuple(path[start:].split("/")), root / path[start:], int(facts["size"] or 0), _read_version(facts)
        )
        for path, facts in found.items()
    ]


def describe_object(url: Url) -> FileFacts:
    """Name, size and version of one object. Raises DataError where it cannot be read."""
    try:
        with explain(url):
            facts = url.system.info(url.path)
    except FileNotFoundError:
        raise DataError(f"there is nothing at {url}", hint="check the source") from None
    return printable(url.name), int(facts["size"] or 0), _read_version(facts)


def load_object(url: Url) -> bytes:
    """The bytes of one object."""
    return _load_all([url])[url]


def _load_all(urls: Sequence[Url]) -> dict[Url, bytes]:
    if not urls:
        return {}
    system, paths = urls[0].system, [url.path for url in urls]
    try:
        with explain(urls[0].parent):
            content: dict[str, bytes] = system.cat(paths)
    except FileNotFoundError as error:
        raise DataError(f"an image was removed meanwhile: {error}", hint="list the source anew") from None
    return {url: content[path] for url, path in zip(urls, paths, strict=True)}


def _read_version(facts: dict[str, Any]) -> int:
    """A number from what the store says of an object's content or age; 0 where it says nothing."""
    word = next((facts[name] for name in _VERSIONS if facts.get(name)), "")
    text = word.isoformat() if isinstance(word, datetime) else str(word)
    return int.from_bytes(sha256(text.encode()).digest()[:7], "big") if text else 0


def _name(found: StoredObject) -> str:
    return printable("/".join(found.parts))
