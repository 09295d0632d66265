"""Unfinished results: one private folder beside the destination, which the next run clears.

After a kill it may hold plain pictures. It uses random names, so it never overwrites files of the user.
"""

import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cipherlens.data.output_lock import hold_folder, list_content, name_user
from cipherlens.errors import CipherlensError, UsageError

PRIVATE_FOLDER = 0o700
"""Mode of a folder that only its owner can open. Definition."""
_OLD_SECONDS = 60.0
"""A younger hidden folder may still be in use by another process, so it stays. Chosen by hand."""
_ATTEMPTS = 100
"""Attempts to make the folder, which other processes of the user may remove in between. Chosen by hand."""


def name_base(parent: Path) -> Path:
    """The folder in ``parent`` that holds this user's unfinished results."""
    return parent / f".cipherlens-partial-{os.getuid() if os.name == 'posix' else name_user()}"


@contextmanager
def partial_folder(out: Path) -> Iterator[Path]:
    """A new folder of mode 0700 for results that will become ``out`` (see :func:`move_into_place`).

    It is removed in any case. The leftovers of killed runs are removed first. Raises CipherlensError where another
    process is making ``out``.
    """
    discard_leftovers(out.parent)
    base = _make_base(out.parent)
    try:
        with hold_folder(base / out.name, PRIVATE_FOLDER):
            _clear(base / out.name)
            folder = Path(tempfile.mkdtemp(dir=base / out.name))
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    finally:
        with suppress(OSError):
            base.rmdir()


def require_empty(out: Path) -> None:
    """Raise UsageError where a destination is a file, or a folder that holds something."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is not empty", hint="choose a new destination")


def discard_leftovers(parent: Path) -> list[Path]:
    """Remove the unfinished results of killed runs in ``parent`` and return their paths; those in use stay."""
    base, removed = name_base(parent), []
    if base.is_symlink():
        return []
    try:
        found = sorted(base.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    for folder in found:
        if folder.name.startswith(".") and not _is_old(folder):  # a process may be making or removing it
            continue
        try:
            with hold_folder(folder):
                _clear(folder)
        except CipherlensError:  # a running process holds it
            continue
        with suppress(OSError):
            folder.rmdir()
            removed.append(folder)
    with suppress(OSError):
        base.rmdir()
    return removed


def move_into_place(folder: Path, out: Path) -> None:
    """Rename a finished folder to ``out``. Raises UsageError where that exists meanwhile and is not empty."""
    with suppress(OSError):
        out.rmdir()  # only an empty folder is removed
    try:
        folder.rename(out)
    except OSError:
        raise UsageError(f"{out} is not empty", hint="choose a new destination") from None


def _is_old(folder: Path) -> bool:
    try:
        return time.time() - folder.stat().st_mtime > _OLD_SECONDS
    except FileNotFoundError:
        return False


def _clear(folder: Path) -> None:
    for path in list_content(folder):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _make_base(parent: Path) -> Path:
    """Make the private folder. Raises CipherlensError where another user owns it."""
    base = name_base(parent)
    for _ in range(_ATTEMPTS):
        try:
            parent.mkdir(parents=True, exist_ok=True)
            base.mkdir(PRIVATE_FOLDER, exist_ok=True)
            found = base.lstat()
            if not stat.S_ISDIR(found.st_mode) or (os.name == "posix" and found.st_uid != os.getuid()):
                raise CipherlensError(f"{base} is somebody else's", hint="choose another place, or another TMPDIR")
            base.chmod(PRIVATE_FOLDER)
            return base
        except FileNotFoundError:  # another process of the user has just removed it
            continue
        except FileExistsError:
            for place in (parent, base):
                if place.exists() and not place.is_dir():
                    raise UsageError(f"{place} is a file", hint="remove it, or choose another place") from None
        except OSError as error:
            raise UsageError(f"cannot write to {parent}: {error.strerror}", hint="choose another place") from None
    raise UsageError(f"cannot make {base}", hint="choose another place")
