"""Copies of shards from object storage on this machine, named by their SHA-256; the least recently used ones go."""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from cipherlens.errors import UsageError
from cipherlens.files import commit, write_temporary
from cipherlens.untrusted import open_untrusted

FOLDER_VARIABLE = "CIPHERLENS_CACHE"
"""Variable that names the folder of the copies."""
BYTES_VARIABLE = "CIPHERLENS_CACHE_BYTES"
"""Variable that limits their size in all."""
DEFAULT_BYTES = 20 << 30
"""Their size, where nothing else is said: 20 GiB. Chosen by hand."""
_OLD_SECONDS = 3600.0
"""A temporary file that old is a killed process's. Chosen by hand."""


def find_folder() -> Path:
    """The folder of the copies, which only its owner can open; it is made."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(os.environ.get(FOLDER_VARIABLE) or Path(base) / "cipherlens") / "shards"
    folder.mkdir(0o700, parents=True, exist_ok=True)
    return folder


def read_limit() -> int:
    """The greatest size of all copies in bytes. Raises UsageError where the variable is no number."""
    given = os.environ.get(BYTES_VARIABLE, "")
    if given and not given.isdecimal():
        raise UsageError(f"{BYTES_VARIABLE} is a number of bytes, not {given!r}", hint="for example 20000000000")
    return int(given) if given else DEFAULT_BYTES


def open_copy(sha256: str, size: int, load: Callable[[], bytes]) -> BinaryIO:
    """The copy named ``sha256`` of ``size`` bytes; where it is missing, ``load`` gives its bytes.

    It is opened before it may have to go, so it can be read in any case.
    """
    path = find_folder() / sha256
    with suppress(FileNotFoundError):
        file = open_untrusted(path)
        if os.fstat(file.fileno()).st_size == size:
            os.utime(path)  # it is used
            return file
        file.close()
    temporary = write_temporary(path, load())
    file = open_untrusted(temporary)
    commit(temporary, path)
    _make_room(path.parent)
    return file


def drop(sha256: str) -> None:
    """Remove a copy."""
    (find_folder() / sha256).unlink(missing_ok=True)


def _make_room(folder: Path) -> None:
    """Remove the copies that were not used for the longest time, until the others are within the limit."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # another process makes room, too
                facts = entry.stat()
                if not entry.name.endswith(".tmp") or time.time() - facts.st_mtime > _OLD_SECONDS:
                    found.append((facts.st_mtime_ns, facts.st_size, entry.path))
    over = sum(bytes_ for _, bytes_, _ in found) - read_limit()
    for _, bytes_, path in sorted(found):
        if over <= 0:
            return
        Path(path).unlink(missing_ok=True)
        over -= bytes_
