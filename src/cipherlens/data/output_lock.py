"""Lock an output folder: one writer at a time; a second one gets an error that names the first."""

import errno
import getpass
import json
import os
import re
import secrets
import socket
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from cipherlens.errors import CipherlensError, UsageError
from cipherlens.untrusted import describe

try:
    import fcntl
except ImportError:  # Windows: no lock
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"
_OWNER_LIMIT = 4096
"""At most this many bytes of a lock file are read. A limit on memory."""
_MOMENT = ".moment"
_PATIENCE = 2.0
"""Seconds to retry while another process makes or removes the folder. Chosen by hand."""
_PAUSE = 0.005
"""Seconds between two attempts to read a lock file that is not written yet. Chosen by hand."""
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP)


@contextmanager
def hold_folder(folder: Path, mode: int = 0o777) -> Iterator[None]:
    """Make ``folder`` if it is missing, and lock it. A folder that was made here and stays empty is removed again.

    The system releases the lock when the process ends, even by a kill, so an old lock file does no harm. The file
    names the holder: user, host, process and start. Raises CipherlensError, naming the holder, where another
    process writes to the folder. Raises UsageError where it is a file.
    """
    descriptor, made = _take(folder, mode)
    try:
        yield
    finally:
        if not (made and _remove_if_empty(folder)) and descriptor is not None:
            (folder / LOCK).unlink(missing_ok=True)  # while the lock is held, so that no other process holds it
        if descriptor is not None:
            os.close(descriptor)


def list_content(folder: Path) -> list[Path]:
    """The content of a folder without the lock file; empty where the folder does not exist."""
    try:
        return [path for path in folder.iterdir() if path.name != LOCK]
    except FileNotFoundError:
        return []


def _remove_if_empty(folder: Path) -> bool:
    """Remove a folder that holds the lock file only. It is renamed first, so that no other process locks it."""
    if list_content(folder):
        return False
    going = _name_beside(folder)
    try:
        folder.rename(going)
    except OSError:  # for example a mount point
        return False
    deadline = time.monotonic() + _PATIENCE
    while going.exists() and time.monotonic() < deadline:
        if list_content(going):  # another process has written a file in the meantime
            going.rename(folder)
            return True
        _remove_bare(going)  # repeated, because another process may have made a new lock file in it
    return True


def _take(folder: Path, mode: int) -> tuple[int | None, bool]:
    """The open lock file (None where the system has no locks), and whether the folder was made here."""
    if fcntl is None:
        return None, _make_folder(folder, mode)
    _clear_moments(folder)
    deadline = time.monotonic() + _PATIENCE
    while True:
        if not folder.exists():
            descriptor = _make_locked(folder, mode)
            if descriptor is not None:
                return descriptor, True
        descriptor = _open_lock(folder)
        if descriptor is None:
            if time.monotonic() > deadline:  # a broken link, or a folder that is removed again and again
                raise UsageError(f"cannot make {folder}", hint="choose another folder")
            continue
        locked = _lock(descriptor)
        if locked is None:
            os.close(descriptor)
            warnings.warn(f"{folder} lies where files cannot be locked: let nobody else write to it", stacklevel=4)
            return None, False
        if not locked:
            owner = _read_owner(descriptor)
            os.close(descriptor)
            if owner is None and time.monotonic() < deadline:  # taken, but not written yet
                time.sleep(_PAUSE)
                continue
            raise CipherlensError(
                f"{folder} is being written by {owner or 'another process'}",
                hint="wait until it is done, or choose another folder",
            )
        if _is_current(descriptor, folder / LOCK):
            _write_owner(descriptor)
            return descriptor, False
        os.close(descriptor)  # the former holder has removed the file in between


def _make_locked(folder: Path, mode: int) -> int | None:
    """Make a folder that is locked from the start; None where another process was faster."""
    new = _name_beside(folder)
    if not _make_folder(new, mode):
        return None
    descriptor = _open_lock(new)
    if descriptor is None:
        return None
    try:
        if _lock(descriptor) is not False and _is_current(descriptor, new / LOCK):
            _write_owner(descriptor)
            new.rename(folder)
            return descriptor
    except OSError:  # another process was faster
        pass
    os.close(descriptor)
    _remove_bare(new)
    return None


def _lock(descriptor: int) -> bool | None:
    """Whether the lock was taken; None where the file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return None
    return True


def _name_beside(folder: Path) -> Path:
    """A temporary name for a folder that is being made or removed."""
    return folder.with_name(f".{folder.name}.{secrets.token_hex(8)}{_MOMENT}")


def _clear_moments(folder: Path) -> None:
    """Remove the temporary folders of killed processes; they hold a lock file only."""
    pattern = re.compile(rf"\.{re.escape(folder.name)}\.[0-9a-f]{{16}}{re.escape(_MOMENT)}")
    with suppress(OSError), os.scandir(folder.parent) as entries:
        for name in [entry.name for entry in entries if pattern.fullmatch(entry.name)]:
            _remove_if_free(folder.parent / name)


def _remove_if_free(folder: Path) -> None:
    """Remove a folder without content whose lock no process holds."""
    with suppress(OSError):
        if not (folder / LOCK).exists():
            folder.rmdir()
            return
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if _lock(descriptor) and _is_current(descriptor, folder / LOCK):
                _remove_bare(folder)
        finally:
            os.close(descriptor)


def _remove_bare(folder: Path) -> None:
    with suppress(OSError):
        if not list_content(folder):
            (folder / LOCK).unlink(missing_ok=True)
            folder.rmdir()


def _make_folder(folder: Path, mode: int) -> bool:
    """Make the folder and its parents; False where it exists, or where another process has removed a parent."""
    try:
        folder.parent.mkdir(mode, parents=True, exist_ok=True)
        folder.mkdir(mode)
    except FileNotFoundError:
        return False
    except FileExistsError:
        if any(place.exists() and not place.is_dir() for place in (folder, folder.parent)):
            raise UsageError(f"{folder} is a file, or lies in one", hint="name a folder") from None
        return False
    except NotADirectoryError:
        raise UsageError(f"{folder} lies in a file", hint="name a folder") from None
    except OSError as error:
        raise CipherlensError(f"cannot make {folder}: {describe(error)}", hint="choose another folder") from None
    return True


def _open_lock(folder: Path) -> int | None:
    """Open the lock file, and create it if it is missing; None where the folder was just removed."""
    try:
        return os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        raise UsageError(f"{folder} is a file", hint="name a folder") from None
    except OSError as error:
        raise CipherlensError(f"cannot write to {folder}: {describe(error)}", hint="choose another") from None


def _is_current(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def describe_writer() -> dict[str, str | int]:
    """This process, as a lock file names it."""
    return {
        "user": name_user(),
        "host": socket.gethostname(),
        "process": os.getpid(),
        "start": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def name_writer(content: bytes) -> str | None:
    """Who holds a lock, from its file; None where that does not say."""
    try:
        return "{user} on {host}, process {process}, since {start}".format(**json.loads(content))
    except (ValueError, KeyError, TypeError):
        return None


def _write_owner(descriptor: int) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(describe_writer()).encode(), 0)


def _read_owner(descriptor: int) -> str | None:
    return name_writer(os.pread(descriptor, _OWNER_LIMIT, 0))


def name_user() -> str:
    """The user's name, or number where the user has no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name, in a container
        return str(os.getuid())
