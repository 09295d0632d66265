"""The client's key on the command line."""

from dataclasses import dataclass
from pathlib import Path

from cyclopts import Parameter

from cipherlens.cli.options.types import KEY
from cipherlens.errors import KeyFailureError
from cipherlens.keys import Key

_PASSPHRASE_LIMIT = 1 << 16
"""Maximum characters of a passphrase file that are read. A limit on memory."""


@Parameter(name="*", group=KEY)
@dataclass(frozen=True, kw_only=True)
class ClientKey:
    """The key of a command that cannot do without."""

    key: Path
    """Key file made by keygen."""
    passphrase_file: Path | None = None
    """File whose first line is the key file's passphrase."""

    def load(self) -> Key:
        """Read the key file."""
        return Key.load(self.key, read_passphrase(self.passphrase_file))


@Parameter(name="*", group=KEY)
@dataclass(frozen=True, kw_only=True)
class GivenKey:
    """The key of a command that can do without."""

    key: Path | None = None
    """Key file made by keygen."""
    passphrase_file: Path | None = None
    """File whose first line is the key file's passphrase."""

    def load(self) -> Key | None:
        """Read the key file, if one is given."""
        return None if self.key is None else Key.load(self.key, read_passphrase(self.passphrase_file))


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
