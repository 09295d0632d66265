"""What a server takes at most; how a client reaches it."""

from dataclasses import dataclass
from pathlib import Path

from cyclopts import Group, Parameter

from cipherlens.cli.options.types import OptionalSealedSet, Whole
from cipherlens.errors import DataError
from cipherlens.untrusted import describe, open_regular

LINE = Group("The line", sort_key=20)
LIMITS = Group("Limits", sort_key=21)


@Parameter(name="*", group=LIMITS)
@dataclass(frozen=True, kw_only=True)
class LimitOptions:
    """What a server takes at most."""

    max_batch: Whole = 32
    """Images that are computed at once."""
    workers: Whole = 1
    """Batches that are computed at a time, each with its share of the cores: more images per second where requests
    are many, and a longer wait for a single one."""
    max_wait: float = 2.0
    """Milliseconds that the first image waits for others."""
    max_queue: Whole = 512
    """Images that may wait; more are refused with 429."""
    timeout: float = 30.0
    """Seconds after which a request is given up."""
    max_body: Whole = 64
    """Megabytes of a request."""


@Parameter(name="*", group=LINE)
@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """How a client reaches a server."""

    model: str = "run"
    """Name of the model on the server."""
    token_file: Path | None = None
    """File with the token in its first line."""
    ca: Path | None = None
    """Certificate of the authority that signed the server's, as PEM."""
    sealed: OptionalSealedSet = None
    """A sealed data set of yours: a server that asks for another scheme gets nothing."""
    batch: Whole = 32
    """Images in a request."""


def read_token(file: Path | None) -> str | None:
    """The token in the first line of a file; None without one. Raises DataError where it cannot be read."""
    if file is None:
        return None
    try:
        with open_regular(file, 1 << 16) as opened:
            return opened.readline().decode("utf-8-sig").strip()
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read the token: {describe(error)}", hint="give the file it was saved in") from None
