"""Checks of a source before it is used: regular files, class names, labels.

Every fault of a source must raise DataError before it uses much memory.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.errors import DataError
from cipherlens.escaping import escape_terminal

FileFacts = tuple[str, int, int]
"""A file that a source reads: path relative to the source, size in bytes, time of the last change in ns."""

MAX_CLASSES = 100_000
"""Maximum number of classes. A limit on memory."""
MAX_NAME_BYTES = 255
"""Maximum bytes of a class name in UTF-8: the usual limit on a folder's name, since folders have these names."""

_RENAME = "give each class a short, distinct name of printable characters"


def describe_file(path: Path) -> FileFacts:
    """Name, size and time of change of a file. Raises DataError where it cannot be read."""
    try:
        facts = path.stat()
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path}: {error}", hint="check the source") from None
    return printable(path.name), facts.st_size, facts.st_mtime_ns


def printable(name: str) -> str:
    """A file name as text that can be encoded: bytes that are not UTF-8 become ``\\xNN``."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def shorten(text: str, most: int = 80) -> str:
    """Untrusted text for a message: without control characters, cut to ``most`` characters."""
    escaped = escape_terminal(text[: most + 1])
    return escaped if len(escaped) <= most else escaped[:most] + "..."


def parse_count(text: str) -> int | None:
    """A whole number written in at most 18 ASCII digits, so that it fits int64; None for any other text."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else None


def check_class_names(classes: Sequence[Any]) -> None:
    """Raise DataError unless classes are at most MAX_CLASSES distinct strings that can be shown and stored."""
    if len(classes) > MAX_CLASSES:
        raise DataError(f"there are {len(classes):,} classes, more than {MAX_CLASSES:,}", hint="choose some")
    seen: set[str] = set()
    for number, name in enumerate(classes):
        if not isinstance(name, str):
            raise DataError(f"the name of class {number} is of type {type(name).__name__}, not text", hint=_RENAME)
        problem = "is there twice" if name in seen else _find_problem(name)
        if problem:
            raise DataError(f"the name of class {number}, '{shorten(name)}', {problem}", hint=_RENAME)
        seen.add(name)


def _find_problem(name: str) -> str | None:
    if not name:
        return "is empty"
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        return "is not valid Unicode"
    if len(encoded) > MAX_NAME_BYTES:
        return f"has {len(encoded):,} bytes in UTF-8, more than {MAX_NAME_BYTES}"
    return "has control characters" if escape_terminal(name) != name else None


def check_labels(labels: NDArray[np.int64], classes: Sequence[str], masked: bool, name: str) -> None:
    """Raise DataError unless each of the labels (N,) of split ``name`` is the index of a class.

    Without classes all labels are -1. With masks they may be -1, because the classes are those of the masks.
    """
    lowest = 0 if classes and not masked else -1
    wrong = np.flatnonzero((labels < lowest) | (labels >= len(classes)))
    if len(wrong):
        first = int(wrong[0])
        raise DataError(
            f"{shorten(name)} image {first} has label {labels[first]}, there are {len(classes):,} classes",
            hint="labels count from 0, one for each class name",
        )
