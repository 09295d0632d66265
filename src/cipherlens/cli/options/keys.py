"""The client's key on the command line."""

import sys
from dataclasses import dataclass
from getpass import getpass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from cipherlens.cli.options.types import KEY, Flag
from cipherlens.errors import UsageError
from cipherlens.escaping import escape_terminal
from cipherlens.keys import Key
from cipherlens.keys.keyfile import is_protected
from cipherlens.keys.passphrase import read_passphrase


@Parameter(name="*", group=KEY)
@dataclass(frozen=True, kw_only=True)
class ClientKey:
    """The key of a command that cannot do without."""

    key: Path
    """Key file made by keygen."""
    passphrase_file: Path | None = None
    """File whose first line is the key file's passphrase, /dev/fd/3 for a descriptor. Without it you are asked."""
    allow_open_key: Flag = False
    """Take a key file that others may read."""

    def load(self) -> Key:
        """Read the key file."""
        return _load(self.key, self.passphrase_file, self.allow_open_key)


@Parameter(name="*", group=KEY)
@dataclass(frozen=True, kw_only=True)
class GivenKey:
    """The key of a command that can do without."""

    key: Path | None = None
    """Key file made by keygen."""
    passphrase_file: Path | None = None
    """File whose first line is the key file's passphrase, /dev/fd/3 for a descriptor. Without it you are asked."""
    allow_open_key: Flag = False
    """Take a key file that others may read."""

    def load(self) -> Key | None:
        """Read the key file, if one is given."""
        return None if self.key is None else _load(self.key, self.passphrase_file, self.allow_open_key)


@Parameter(name="*", group=KEY)
@dataclass(frozen=True, kw_only=True)
class BothKeys:
    """The keys of a rotation."""

    old: Annotated[Path | None, Parameter(name="--from")] = None
    """Key file of the key that the images are sealed with now."""
    new: Annotated[Path | None, Parameter(name="--to")] = None
    """Key file of the new key, made by keygen."""
    from_passphrase_file: Path | None = None
    """File whose first line is the old key file's passphrase. Without it you are asked."""
    to_passphrase_file: Path | None = None
    """The same for the new key file."""
    allow_open_key: Flag = False
    """Take key files that others may read."""

    def load(self) -> tuple[Key, Key]:
        """Read both key files: the old key, and the new one."""
        if self.old is None or self.new is None:
            raise UsageError("a rotation takes two keys", hint="give --from OLD.key and --to NEW.key")
        return (
            _load(self.old, self.from_passphrase_file, self.allow_open_key),
            _load(self.new, self.to_passphrase_file, self.allow_open_key),
        )


def _load(path: Path, passphrase_file: Path | None, allow_open: bool) -> Key:
    """Read a key file. A passphrase that is needed and not given is asked for, where there is a terminal."""
    passphrase = read_passphrase(passphrase_file)
    if passphrase is None and sys.stdin.isatty() and path.is_file() and is_protected(path):
        passphrase = getpass(f"passphrase of {escape_terminal(str(path))}: ")
    return Key.load(path, passphrase, allow_open=allow_open)


def ask_passphrase() -> str:
    """A new passphrase from the terminal, twice the same. Raises UsageError where there is none, or they differ."""
    if not sys.stdin.isatty():
        raise UsageError(
            "there is no terminal to ask for a passphrase", hint="name a file", parameters=("passphrase_file",)
        )
    passphrase = getpass("new passphrase: ")
    if not passphrase or getpass("the same again: ") != passphrase:
        raise UsageError("no passphrase, or not twice the same", hint="run the command again")
    return passphrase
