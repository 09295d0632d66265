"""A sealed data set in object storage, through fsspec.

There is no rename, and no file can grow. A shard is one object, written at once. A line of the journal is an object
of its own, whose number no other writer can take. Readers see nothing before the manifest, which is written last.
Connections are retried by the store's own package, with growing pauses.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cipherlens.data.output_lock import LOCK
from cipherlens.data.storage import cache
from cipherlens.data.storage.lease import create, hold_lease
from cipherlens.data.storage.url import Url, explain, explain_writing
from cipherlens.errors import CipherlensError, DataError

_DIGITS = 8
"""Digits of a line's number in its object's name, so that names are sorted as numbers."""


@dataclass(frozen=True)
class RemoteStorage:
    """A URL below which a data set's objects lie."""

    root: Url

    def __str__(self) -> str:
        return str(self.root)

    @property
    def shared(self) -> bool:
        """``memory://`` is each process's own."""
        return self.root.scheme != "memory"

    def hold(self) -> AbstractContextManager[None]:
        """Hold the place's lease."""
        return hold_lease(self.root)

    def is_empty(self, besides: str) -> bool:
        """Whether there is no object but the lease; there are no empty folders."""
        with explain(self.root):
            found = self.root.system.find(self.root.path)
            return all(path.rpartition("/")[2] == LOCK for path in found)

    def prepare(self, names: Sequence[str]) -> None:
        """Nothing is needed."""

    def exists(self, name: str) -> bool:
        """Whether there is an object of this name, or one below it."""
        with explain(self.root):
            found: bool = self.root.system.exists(self._path(name))
        return found

    def read(self, name: str, limit: int) -> bytes:
        """An object of at most ``limit`` bytes."""
        with explain(self.root / name):
            size = self.root.system.info(self._path(name))["size"]
            if size is None or size > limit:
                raise DataError(f"{self.root / name} is larger than {limit:,} bytes", hint="check the address")
            content: bytes = self.root.system.cat_file(self._path(name))
        return content

    def write(self, name: str, content: bytes) -> None:
        """Replace an object at once."""
        with explain_writing(self.root / name):
            self.root.system.pipe_file(self._path(name), content)

    def write_early(self, name: str, *parts: bytes | memoryview) -> None:
        """Write an object, in parts where it is large; no manifest names it yet."""
        self.write(name, b"".join(parts))

    def publish(self, waiting: Path | None, name: str) -> None:
        """It is safe already."""

    def list_files(self, folder: str) -> list[str]:
        """Objects below the folder."""
        with explain(self.root):
            found = self.root.system.find(self._path(folder))
        return sorted(path.rpartition("/")[2] for path in found)

    def remove(self, name: str) -> None:
        """Remove an object."""
        with explain(self.root), suppress(FileNotFoundError):
            self.root.system.rm_file(self._path(name))

    def open_shard(self, name: str, size: int, sha256: str) -> BinaryIO:
        """A copy on this machine."""
        return cache.open_copy(sha256, size, lambda: self._load(name, size))

    def forget(self, sha256: str) -> bool:
        """Drop the copy."""
        cache.drop(sha256)
        return True

    def read_log(self, name: str) -> list[bytes]:
        """The lines, which are objects numbered from 0 on. Raises DataError where one is missing."""
        with explain(self.root):
            found = sorted(self.root.system.find(self._path(name)))
            lines = self.root.system.cat(found) if found else {}
        if [path.rpartition("/")[2] for path in found] != [_name_line(number) for number in range(len(found))]:
            raise DataError(f"{self.root / name} lacks a line", hint="remove the data set and encrypt it again")
        return [lines[path] for path in found]

    def append_log(self, name: str, line: bytes, number: int) -> None:
        """Write a line's object, unless there is one."""
        try:
            create(self.root / name / _name_line(number), line)
        except FileExistsError:
            raise CipherlensError(
                f"{self.root} is being written by another process",
                hint="wait until it is done, or use another place",
            ) from None

    def remove_log(self, name: str) -> None:
        """Remove all lines."""
        with explain(self.root):
            self.root.system.rm(self._path(name), recursive=True)

    def clean(self, folder: str) -> None:
        """Nothing is half written."""

    def _path(self, name: str) -> str:
        return (self.root / name).path

    def _load(self, name: str, size: int) -> bytes:
        with explain(self.root / name):
            # Not more than the manifest says, whatever lies there.
            content: bytes = self.root.system.cat_file(self._path(name), start=0, end=size)
        return content


def _name_line(number: int) -> str:
    return f"{number:0{_DIGITS}}.json"
