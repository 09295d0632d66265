"""A sealed data set in a folder of this machine."""

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cipherlens.data.output_lock import hold_folder, list_content
from cipherlens.errors import DataError
from cipherlens.files import commit, write_atomic, write_temporary
from cipherlens.untrusted import JSON_LIMIT, open_untrusted, read_untrusted


@dataclass(frozen=True)
class LocalStorage:
    """A folder. Links below it are not followed; files get their names when they are on the disk."""

    root: Path
    shared = True

    def __str__(self) -> str:
        return str(self.root)

    def hold(self) -> AbstractContextManager[None]:
        """Make the folder if it is missing, and lock it."""
        return hold_folder(self.root)

    def is_empty(self, besides: str) -> bool:
        """Whether the folder holds nothing but its lock, and an empty folder ``besides``."""
        content = list_content(self.root)
        begun = [path for path in content if path.name == besides and path.is_dir() and not any(path.iterdir())]
        return len(begun) == len(content)

    def prepare(self, names: Sequence[str]) -> None:
        """Make the files' folders. Raises DataError where a link or folder is in a file's place."""
        for folder in sorted({(self.root / name).parent for name in names}):
            if not folder.exists() and not folder.is_symlink():
                folder.mkdir()
            if folder.is_symlink() or not folder.is_dir():
                raise DataError(
                    f"{folder} is no folder of this data set", hint="remove it and run the same command again"
                )
        for name in names:
            if (self.root / name).is_dir():
                raise DataError(f"{self.root / name} is a folder", hint="remove it and run the same command again")

    def exists(self, name: str) -> bool:
        """Whether something has this name, if only a link."""
        return os.path.lexists(self.root / name)

    def read(self, name: str, limit: int) -> bytes:
        """A regular file below the folder."""
        return read_untrusted(self.root / name, limit, self.root)

    def write(self, name: str, content: bytes) -> None:
        """Write atomically."""
        write_atomic(self.root / name, content)

    def write_early(self, name: str, *parts: bytes | memoryview) -> Path:
        """Write under a temporary name, not synced, so that workers do not wait for the disk."""
        return write_temporary(self.root / name, *parts)

    def publish(self, waiting: Path | None, name: str) -> None:
        """Sync and rename."""
        assert waiting is not None
        commit(waiting, self.root / name)

    def list_files(self, folder: str) -> list[str]:
        """Files and links; a folder is somebody else's."""
        place = self.root / folder
        if place.is_symlink() or not place.is_dir():
            raise DataError(f"{place} is no folder of this data set", hint="copy the whole folder again")
        return sorted(path.name for path in place.iterdir() if path.is_symlink() or not path.is_dir())

    def remove(self, name: str) -> None:
        """Remove a file, or a link."""
        (self.root / name).unlink(missing_ok=True)

    def open_shard(self, name: str, size: int, sha256: str) -> BinaryIO:
        """The file itself."""
        return open_untrusted(self.root / name, self.root)

    def forget(self, sha256: str) -> bool:
        """Nothing is a copy here."""
        return False

    def read_log(self, name: str) -> list[bytes]:
        """The lines of a file; what a kill has cut is removed, so that the next line starts anew."""
        lines = read_untrusted(self.root / name, JSON_LIMIT, self.root).split(b"\n")
        if lines[-1]:
            with self._open(name, os.O_RDWR) as file:
                file.truncate(os.fstat(file.fileno()).st_size - len(lines[-1]))
        return lines[:-1]

    def append_log(self, name: str, line: bytes, number: int) -> None:
        """Append to a file, and sync."""
        with self._open(name, os.O_WRONLY | os.O_APPEND | os.O_CREAT) as file:
            file.write(line + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def remove_log(self, name: str) -> None:
        """Remove the file."""
        (self.root / name).unlink()

    def clean(self, folder: str) -> None:
        """Remove temporary files."""
        for place in (self.root, self.root / folder):
            for leftover in place.glob(".*.tmp"):
                leftover.unlink(missing_ok=True)

    def _open(self, name: str, flags: int) -> BinaryIO:
        descriptor = os.open(self.root / name, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)
        return os.fdopen(descriptor, "r+b" if flags & os.O_RDWR else "ab")
