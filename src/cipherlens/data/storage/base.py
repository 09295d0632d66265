"""The protocol of a place that holds a sealed data set: what reading, sealing and continuing need of it."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Protocol

from cipherlens.data.storage.url import Place


class Storage(Protocol):
    """Files of one data set by name (``manifest.json``, ``shards/test-00000.safetensors``).

    ``str()`` names the place in messages. It may be pickled: workers write shards.
    """

    @property
    def shared(self) -> bool:
        """Whether other processes see the place, so that workers can write there."""

    @property
    def root(self) -> Place:
        """The path or URL, as ``open_storage`` takes it."""

    def hold(self) -> AbstractContextManager[None]:
        """Keep other writers away meanwhile. Raises CipherlensError, naming the holder, where there is one."""

    def is_empty(self, besides: str) -> bool:
        """Whether nothing lies there, or only the empty folder ``besides`` of a job killed at its start."""

    def prepare(self, names: Sequence[str]) -> None:
        """Make ready for writing these files. Raises DataError where something else is in their place."""

    def exists(self, name: str) -> bool:
        """Whether something has this name, if only a link."""

    def read(self, name: str, limit: int) -> bytes:
        """A file of at most ``limit`` bytes. Raises FileNotFoundError, OSError or DataError."""

    def write(self, name: str, content: bytes) -> None:
        """Write a file: readers see the old one, or all of the new one."""

    def write_early(self, name: str, *parts: bytes | memoryview) -> Path | None:
        """In any process: write a file that only ``publish`` completes; returns where it waits, if anywhere."""

    def publish(self, waiting: Path | None, name: str) -> None:
        """In the writing process: complete ``write_early``; the file is safe when this returns."""

    def list_files(self, folder: str) -> list[str]:
        """The names of files in a folder, sorted, without the folder. Raises DataError where there is none."""

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""

    def open_shard(self, name: str, size: int, sha256: str) -> BinaryIO:
        """A file of this machine with a shard's bytes, which are not compared yet. Raises OSError or DataError."""

    def forget(self, sha256: str) -> bool:
        """Drop the copy that ``open_shard`` gave, which is damaged; False where it was no copy."""

    def read_log(self, name: str) -> list[bytes]:
        """The complete lines of a journal; an incomplete last one is cut off. Raises OSError."""

    def append_log(self, name: str, line: bytes, number: int) -> None:
        """Write a journal's line ``number`` (from 0), safely. Raises CipherlensError where another writer did."""

    def remove_log(self, name: str) -> None:
        """Remove a journal."""

    def clean(self, folder: str) -> None:
        """Remove what killed processes have begun to write, there and in a folder below."""
