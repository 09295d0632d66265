"""One writer per output folder: a second one is told who the first is."""

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
_MOMENT = ".moment"
_PATIENCE = 2.0
_PAUSE = 0.005
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP)


@contextmanager
def hold_folder(folder: Path, mode: int = 0o777) -> Iterator[None]:
    """Make ``folder`` if it is missing and hold the lock file in it; one that was made and stays empty goes again.

    The system releases the lock when the process ends, however it ends, so what a killed one left is no obstacle.
    The file says who holds it: user, host, process and start. Raises CipherlensError, naming that, where another
    process writes to the folder, UsageError where it is a file.
    """
    descriptor, made = _take(folder, mode)
    try:
        yield
    finally:
        if not (made and _remove_if_empty(folder)) and descriptor is not None:
            (folder / LOCK).unlink(missing_ok=True)  # while it is held: nobody can have opened it and wait
        if descriptor is not None:
            os.close(descriptor)


def list_content(folder: Path) -> list[Path]:
    """What is in a folder besides the lock; nothing where it does not exist."""
    try:
        return [path for path in folder.iterdir() if path.name != LOCK]
    except FileNotFoundError:
        return []


def refuse_inside(out: Path, folder: Path) -> None:
    """Raise UsageError where ``out`` lies in a folder that is read from: its files would be taken for input."""
    if out.resolve().is_relative_to(folder.resolve()):
        raise UsageError(f"{out} lies inside of {folder}", hint="choose a destination outside of it")


def _remove_if_empty(folder: Path) -> bool:
    """Remove a folder that holds the lock alone, in one step for others, who would lock what goes."""
    if list_content(folder):
        return False
    going = _name_beside(folder)
    try:
        folder.rename(going)
    except OSError:  # a place where something is mounted
        return False
    deadline = time.monotonic() + _PATIENCE
    while going.exists() and time.monotonic() < deadline:
        if list_content(going):  # somebody has put something into it in that moment
            going.rename(folder)
            return True
        _remove_bare(going)  # again where a process that was about to lock it has made its own file in it
    return True


def _take(folder: Path, mode: int) -> tuple[int | None, bool]:
    """The open lock file (None where there are no locks), and whether the folder was made with it."""
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
            if time.monotonic() > deadline:  # a link to nowhere, or a folder that goes as often as it is made
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
            if owner is None and time.monotonic() < deadline:  # just taken, and not written yet
                time.sleep(_PAUSE)
                continue
            raise CipherlensError(
                f"{folder} is being written by {owner or 'another process'}",
                hint="wait until it is done, or choose another folder",
            )
        if _is_current(descriptor, folder / LOCK):
            _write_owner(descriptor)
            return descriptor, False
        os.close(descriptor)  # whoever held it has removed it in between


def _make_locked(folder: Path, mode: int) -> int | None:
    """Make a folder that is locked from its first moment on; None where another process was faster."""
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
    """Whether the lock could be had; None where the file system has no locks."""
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
    """A name for the moment in which a folder comes or goes."""
    return folder.with_name(f".{folder.name}.{secrets.token_hex(8)}{_MOMENT}")


def _clear_moments(folder: Path) -> None:
    """Remove what a process that was killed in such a moment has left: folders with nothing but a lock in them."""
    pattern = re.compile(rf"\.{re.escape(folder.name)}\.[0-9a-f]{{16}}{re.escape(_MOMENT)}")
    with suppress(OSError), os.scandir(folder.parent) as entries:
        for name in [entry.name for entry in entries if pattern.fullmatch(entry.name)]:
            _remove_if_free(folder.parent / name)


def _remove_if_free(folder: Path) -> None:
    """Remove a bare folder whose lock no process holds."""
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
    """Make the folder and its parents; False where it is there, or another process has just removed a parent."""
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
    """The lock file, made if it is missing; None where the folder has just gone."""
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


def _write_owner(descriptor: int) -> None:
    owner = {
        "user": name_user(),
        "host": socket.gethostname(),
        "process": os.getpid(),
        "start": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(owner).encode(), 0)


def _read_owner(descriptor: int) -> str | None:
    try:
        owner = json.loads(os.pread(descriptor, _OWNER_LIMIT, 0))
        return "{user} on {host}, process {process}, since {start}".format(**owner)
    except (ValueError, KeyError, TypeError):
        return None


def name_user() -> str:
    """The user's name, or number where there is none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return str(os.getuid())
