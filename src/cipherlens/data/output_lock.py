"""One writer per output folder: a second one is told who the first is."""

import errno
import getpass
import json
import os
import socket
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
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP)


@contextmanager
def hold_folder(folder: Path, mode: int = 0o777) -> Iterator[None]:
    """Make ``folder`` if it is missing and hold the lock file in it; one that was made and stays empty goes again.

    The system releases the lock when the process ends, however it ends, so what a killed one left is no obstacle.
    The file says who holds it: user, host, process and start. Raises CipherlensError, naming that, where another
    process writes to the folder, UsageError where it is a file.
    """
    made = _make(folder, mode)
    descriptor = _take(folder, mode)
    try:
        yield
    finally:
        if descriptor is not None:
            (folder / LOCK).unlink(missing_ok=True)  # while it is held: nobody can have opened it and wait
            os.close(descriptor)
        if made:
            with suppress(OSError):
                folder.rmdir()


def list_content(folder: Path) -> list[Path]:
    """What is in a folder besides the lock; nothing where it does not exist."""
    return [path for path in folder.iterdir() if path.name != LOCK] if folder.exists() else []


def refuse_inside(out: Path, folder: Path) -> None:
    """Raise UsageError where ``out`` lies in a folder that is read from: its files would be taken for input."""
    if out.resolve().is_relative_to(folder.resolve()):
        raise UsageError(f"{out} lies inside of {folder}", hint="choose a destination outside of it")


def _make(folder: Path, mode: int) -> bool:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode)
    except FileExistsError:
        if not folder.is_dir():
            raise UsageError(f"{folder} is a file", hint="name a folder") from None
        return False
    except NotADirectoryError:
        raise UsageError(f"{folder} lies in a file", hint="name a folder") from None
    except OSError as error:
        raise CipherlensError(f"cannot make {folder}: {describe(error)}", hint="choose another folder") from None
    return True


def _take(folder: Path, mode: int) -> int | None:
    """The open lock file; None where the file system has no locks."""
    path = folder / LOCK
    if fcntl is None:
        return None
    while True:
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(path, flags, 0o600)
        except FileNotFoundError:  # whoever held the folder last has removed it
            folder.mkdir(mode, exist_ok=True)
            continue
        except OSError as error:
            raise CipherlensError(f"cannot write to {folder}: {describe(error)}", hint="choose another") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = _read_owner(descriptor)
            os.close(descriptor)
            raise CipherlensError(
                f"{folder} is being written by {owner}", hint="wait until it is done, or choose another folder"
            ) from None
        except OSError as error:
            os.close(descriptor)
            if error.errno not in _NO_LOCKS:
                raise
            warnings.warn(f"{folder} lies where files cannot be locked: let nobody else write to it", stacklevel=3)
            return None
        if _is_current(descriptor, path):
            _write_owner(descriptor)
            return descriptor
        os.close(descriptor)  # whoever held it has removed it in between


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


def _read_owner(descriptor: int) -> str:
    try:
        owner = json.loads(os.pread(descriptor, _OWNER_LIMIT, 0))
        return "{user} on {host}, process {process}, since {start}".format(**owner)
    except (ValueError, KeyError, TypeError):  # just taken, not written yet
        return "another process"


def name_user() -> str:
    """The user's name, or number where there is none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return str(os.getuid())
