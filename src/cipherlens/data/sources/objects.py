"""Images in object storage as a source, by URL."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from hashlib import sha256
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.data.decoding import MAX_FILE_BYTES
from cipherlens.data.images import Item
from cipherlens.data.sources.base import ALL
from cipherlens.data.sources.checks import FileFacts, check_class_names, printable
from cipherlens.data.sources.folder import IMAGE_SUFFIXES, SPLIT_NAMES
from cipherlens.data.sources.listing import Found, ListedFiles, Listing
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


class ObjectSource:
    """``URL/[SPLIT/]CLASS/*.jpg``, or images directly below the URL, without labels: as an image folder.

    The objects are listed once, when it is opened. Those of a batch are read side by side. Raises DataError where
    there are no images, or where the place cannot be listed.
    """

    masked = False

    def __init__(self, root: Url) -> None:
        self._root = root
        found = [one for one in list_objects(root) if PurePosixPath(one.name).suffix.lower() in IMAGE_SUFFIXES]
        splits = [name for name in SPLIT_NAMES if any(one.name.startswith(f"{name}/") for one in found)]
        depth = 1 if splits else 0
        below = {name: [one for one in found if one.name.startswith(f"{name}/")] for name in splits} or {ALL: found}
        names = {_find_class(one, depth) for part in below.values() for one in part}
        self.classes = tuple(sorted(name for name in names if name is not None))
        check_class_names(self.classes)
        self._objects = {name: Listing(self._label(part, depth), "/") for name, part in below.items()}
        self.splits = {name: len(part) for name, part in self._objects.items() if len(part)}
        if not self.splits:
            raise DataError(f"{root} holds no images", hint=f"images end in {', '.join(sorted(IMAGE_SUFFIXES))}")

    def _label(self, part: Iterable[Found], depth: int) -> Iterator[tuple[int, Found]]:
        """The images with their labels; without those outside of all classes."""
        labels: dict[str | None, int] = {name: label for label, name in enumerate(self.classes)} or {None: -1}
        return ((labels[name], one) for one in part if (name := _find_class(one, depth)) in labels)

    @property
    def files(self) -> Iterable[FileFacts]:
        """The images: path below the URL, size in bytes, and a number that changes with the content."""
        return ListedFiles(self._objects.values())

    def read(self, split: str, indices: Sequence[int]) -> list[Item]:
        """The objects at these positions, read side by side."""
        found = self._objects[split].take(indices)
        for _, one in found:
            if one.size > MAX_FILE_BYTES:
                raise DataError(
                    f"{printable(one.name)} has more than {MAX_FILE_BYTES:,} bytes", hint="leave it out"
                )
        loaded = _load_all([self._root / one.name for _, one in found])
        return [Item(printable(one.name), label, loaded[self._root / one.name]) for label, one in found]

    def read_labels(self, split: str) -> NDArray[np.int64]:
        """The labels of the images of a split."""
        return self._objects[split].labels


def _find_class(one: Found, depth: int) -> str | None:
    """The folder, so deep, in which an object is; None where it is in none."""
    folders = one.name.split("/")[:-1]
    return folders[depth] if len(folders) > depth else None


def list_objects(root: Url) -> list[Found]:
    """All objects below a URL. Raises DataError where it cannot be listed."""
    with explain(root):
        found: dict[str, dict[str, Any]] = root.system.find(root.path, detail=True)
    start = len(root.path.rstrip("/")) + 1
    return [Found(path[start:], int(facts["size"] or 0), _read_version(facts)) for path, facts in found.items()]


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
