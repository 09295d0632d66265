"""Passphrases from files."""

from pathlib import Path

from cipherlens.errors import KeyFailureError

_PASSPHRASE_LIMIT = 1 << 16
"""Maximum characters of a passphrase file that are read. A limit on memory."""


def read_passphrase(path: Path | None) -> str | None:
    """First line of the file, without the line break. Raises KeyFailureError if it cannot be read or is empty."""
    if path is None:
        return None
    try:
        with path.open(encoding="utf-8") as file:  # the user's own, which may be a pipe
            lines = file.read(_PASSPHRASE_LIMIT).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise KeyFailureError(f"cannot read the passphrase file {path}: {error}") from None
    if not lines or not lines[0]:
        raise KeyFailureError(f"the passphrase file {path} is empty", hint="write the passphrase in its first line")
    return lines[0]
