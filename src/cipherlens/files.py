"""Atomic file writes: a kill at any moment leaves either the old file or the new one."""

import io
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PRIVATE = 0o600
"""Mode of a file that only its owner can read and write. Definition."""
_PUBLIC = 0o666  # the user's umask is applied
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


def write_atomic(path: Path, content: bytes) -> None:
    """Write to a temporary name beside ``path``, sync, rename."""
    commit(write_temporary(path, content), path)


def write_together(content: Mapping[Path, bytes]) -> None:
    """Write several files, all of which are on the disk before the first has its name."""
    written: dict[Path, Path] = {}
    try:
        for path, data in content.items():
            written[path] = write_temporary(path, data)
        for path, temporary in written.items():
            commit(temporary, path)
    except BaseException:
        for temporary in written.values():
            temporary.unlink(missing_ok=True)
        raise


def write_temporary(path: Path, *parts: bytes | memoryview) -> Path:
    """Write beside ``path`` under a new, random name, not synced yet; return that name for :func:`commit`."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    write_new(temporary, *parts)
    return temporary


def write_new(path: Path, *parts: bytes | memoryview, mode: int = _PUBLIC) -> None:
    """Write a new file; raises FileExistsError where the path exists, a link too. A failed write leaves no file."""
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
    """Sync the temporary file to disk, rename it to ``path``, and sync the folder."""
    try:
        _sync(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if os.name == "posix":  # other systems cannot open a folder
        _sync(path.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def canonical_json(value: Any) -> bytes:
    """Canonical JSON for checksums and MACs: sorted keys, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
