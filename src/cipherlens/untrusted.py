"""Read untrusted files: regular files only, no links below their folder, a size limit.

A sealed data set or a run folder may come from another person. A link in it could point to the client's key file,
a device or a pipe. A huge file could fill the memory.
"""

import io
import json
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO, cast

from cipherlens.errors import DataError

JSON_LIMIT = 64 << 20
"""Maximum bytes of a manifest, a journal, or a JSON file of a run. A limit on memory."""

_PIECE = 1 << 24
"""Bytes that are read at a time, so that a growing file is noticed. Chosen by hand."""

# Windows lacks these flags. It has no such links, or refuses them to ordinary users.
_NO_LINKS = getattr(os, "O_NOFOLLOW", 0)
_READ = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_FOLDER = _READ | getattr(os, "O_DIRECTORY", 0)


def open_untrusted(path: Path, folder: Path | None = None) -> BinaryIO:
    """Open a regular file for reading, unbuffered.

    With ``folder``, ``path`` must lie below it, and no part of the path below it may be a link. Without it, links
    are followed, because the user named the path. Raises OSError, also for a folder, a pipe or a device.
    """
    descriptor = os.open(path, _READ) if folder is None else _open_below(folder, path.relative_to(folder).parts)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError("not a regular file")
        return os.fdopen(descriptor, "rb", buffering=0)
    except BaseException:
        os.close(descriptor)
        raise


def _open_below(folder: Path, parts: tuple[str, ...]) -> int:
    if os.open not in os.supports_dir_fd:
        if any(folder.joinpath(*parts[: depth + 1]).is_symlink() for depth in range(len(parts))):
            raise OSError("a link, which is not followed")
        return os.open(folder.joinpath(*parts), _READ)
    current = os.open(folder, _FOLDER)
    try:
        for part in parts[:-1]:
            inner = _open_part(part, _FOLDER, current)
            os.close(current)
            current = inner
        return _open_part(parts[-1], _READ, current)
    finally:
        os.close(current)


def _open_part(name: str, flags: int, folder: int) -> int:
    if name == "..":
        raise OSError("a way out of the folder")
    if stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
        raise OSError("a link, which is not followed")
    return os.open(name, flags | _NO_LINKS, dir_fd=folder)


def read_untrusted(path: Path, limit: int, folder: Path | None = None) -> bytes:
    """All bytes of a regular file (see :func:`open_untrusted`). Raises OSError if there are more than ``limit``."""
    with open_untrusted(path, folder) as file:
        if os.fstat(file.fileno()).st_size > limit:
            raise OSError(f"larger than {limit:,} bytes")
        content = bytearray()
        while piece := file.read(_PIECE):  # a file may grow while it is read
            content += piece
            if len(content) > limit:
                raise OSError(f"larger than {limit:,} bytes")
    return bytes(content)


def parse_json(content: bytes | str) -> dict[str, Any]:
    """A JSON object from untrusted UTF-8 text. Raises ValueError for anything else."""
    try:
        value = json.loads(content)
        json.dumps(value, ensure_ascii=False).encode()  # an unpaired surrogate can be escaped, but not encoded
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def read_json(path: Path, folder: Path, hint: str) -> dict[str, Any]:
    """The JSON object in a file below ``folder``; DataError if the file is missing, damaged or not regular."""
    try:
        return parse_json(read_untrusted(path, JSON_LIMIT, folder))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path}: {describe(error)}", hint=hint) from None


def describe(error: Exception) -> str:
    """The reason of an error without the path, which an OSError's text repeats."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def open_regular(path: Path, most: int) -> BinaryIO:
    """Open a regular file of at most ``most`` bytes for reading; links are followed, FIFOs and devices refused.

    Raises OSError or ValueError for anything else.
    """
    file = open_untrusted(path)
    size = os.fstat(file.fileno()).st_size
    if size > most:
        file.close()
        raise OSError(f"{size:,} bytes are more than {most:,}")
    return io.BufferedReader(cast(io.RawIOBase, file))
