"""Writing files so that a kill at any moment leaves either the old file or the new one."""

import io
import json
import os
import secrets
from pathlib import Path
from typing import Any

PRIVATE = 0o600
_PUBLIC = 0o666  # less what the user's umask takes away
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


def write_atomic(path: Path, content: bytes) -> None:
    """Write to a temporary name beside ``path``, sync, rename."""
    commit(write_temporary(path, content), path)


def write_temporary(path: Path, *parts: bytes | memoryview) -> Path:
    """Write beside ``path`` under a new, random name, not synced yet; return that name for :func:`commit`."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    write_new(temporary, *parts)
    return temporary


def write_new(path: Path, *parts: bytes | memoryview, mode: int = _PUBLIC) -> None:
    """Write a file that does not exist yet, whatever lies there; nothing half-written stays behind."""
    descriptor = os.open(path, _NEW, mode)
    try:
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            for part in parts:
                _write_all(file, part)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _write_all(file: io.FileIO, part: bytes | memoryview) -> None:
    rest = memoryview(part)
    while rest:
        rest = rest[file.write(rest) :]


def commit(temporary: Path, path: Path) -> None:
    """Make sure that the content is on disk, then give it its name, durably."""
    try:
        _sync(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if os.name == "posix":  # elsewhere a folder cannot be opened
        _sync(path.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def canonical_json(value: Any) -> bytes:
    """One byte string per value: sorted keys, no spaces, UTF-8. What checksums and MACs are taken over."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
