"""``./cipherlens.toml``: options of the current folder, which may be somebody else's."""

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclopts import CycloptsError
from cyclopts.config import Toml

from cipherlens.cli.console import say
from cipherlens.untrusted import describe, read_untrusted

if TYPE_CHECKING:
    from cyclopts import App
    from cyclopts.argument import ArgumentCollection

FILE_NAME = "cipherlens.toml"
_LIMIT = 1 << 20
COMMAND_LINE_ONLY = frozenset(
    {
        *("--key", "--passphrase-file", "--ask-passphrase", "--allow-open-key", "--keep-names", "--contains-key"),
        *("--ca", "--token-file", "--tokens", "--host", "--client-ca", "--plain-http-to-others", "--provider"),
        *("--from", "--to", "--from-passphrase-file", "--to-passphrase-file"),
        *("--cipher", "--block", "--orthogonal", "--grey", "--scramble", "--per-image", "--cipher-option"),
    }
)
"""What decides who can read the images: only who types the command may say it, not the folder it is typed in."""


class FolderConfiguration(Toml):
    """Options from ``cipherlens.toml`` in the current folder, if there is one; says on stderr that it was read."""

    def __call__(self, app: "App", commands: tuple[str, ...], arguments: "ArgumentCollection") -> None:
        """Fill in arguments; CycloptsError for a damaged file, or one that says what only the user may say."""
        path = Path(self.path)
        if path.exists() and not path.is_file():  # some versions of cyclopts pass over it without a word
            raise CycloptsError(msg=f"cannot read {path}: it is no regular file")
        if path.exists():
            say(f"note: options are read from {path.resolve()}")
        super().__call__(app, commands, arguments)
        for argument in arguments:
            forbidden = COMMAND_LINE_ONLY & set(argument.names)
            if forbidden and any(token.source == self.source for token in argument.tokens):
                raise CycloptsError(
                    msg=f"{self.source} may not set {min(forbidden)}: a folder's file does not decide who can read "
                    "your images. Give it on the command line"
                )

    def _load_config(self, path: Path) -> dict[str, Any]:
        try:
            found = tomllib.loads(read_untrusted(path, _LIMIT, path.parent).decode())
        except (OSError, ValueError, RecursionError) as error:
            raise CycloptsError(msg=f"cannot read {path}: {describe(error)}") from None
        for name, options in found.items():
            if not isinstance(options, dict):
                raise CycloptsError(msg=f"{path} has {name} = ..., where a command's options are under [{name}]")
        return found
