"""URLs of object storage, opened by fsspec; what names no URL is a path of this machine."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from cipherlens.errors import CipherlensError, DataError, UsageError

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_ACCOUNT_BEFORE_AT = ("abfs", "abfss")
"""Azure's URLs name the container before an @; in others a name there is half of a credential."""
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs", "az": "azure", "abfs": "azure", "hf": "hf"}
"""Which extra brings the package for a scheme."""


@dataclass(frozen=True, order=True)
class Url:
    """A place in object storage. It knows no credentials: fsspec's packages take them from the environment."""

    text: str

    def __str__(self) -> str:
        return self.text

    def __truediv__(self, name: str) -> "Url":
        return Url(f"{self.text.rstrip('/')}/{name}")

    @property
    def scheme(self) -> str:
        """``s3``, ``gs``, ..."""
        return self.text.partition("://")[0].lower()

    @property
    def name(self) -> str:
        """The last part."""
        return self.text.rstrip("/").rpartition("/")[2]

    @property
    def suffix(self) -> str:
        """The last part's suffix with its dot, or nothing."""
        return Path(self.name).suffix

    @property
    def parent(self) -> "Url":
        """The place around this one."""
        return Url(self.text.rstrip("/").rpartition("/")[0])

    @property
    def path(self) -> str:
        """What the file system calls the place."""
        stripped: str = self.system._strip_protocol(self.text)
        return stripped

    @property
    def system(self) -> Any:
        """The fsspec file system. Raises UsageError where its package is missing, or the scheme is unknown."""
        return _open_system(self.scheme, os.getpid())


Place = Path | Url


def is_url(text: str) -> bool:
    """Whether a text is a URL, not a path or the name of a source."""
    return _SCHEME.match(text) is not None


def as_place(given: "str | os.PathLike[str] | Url") -> Place:
    """A path, or a URL; one of this machine (file://) is a path.

    Raises UsageError for a URL with credentials, a query, or a chain of several.
    """
    if isinstance(given, Url):
        return given
    text = os.fspath(given)
    if not is_url(text):
        return Path(text)
    parts = urlsplit(text)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    user, at, _ = parts.netloc.rpartition("@")
    if at and (":" in user or parts.scheme not in _ACCOUNT_BEFORE_AT):
        raise UsageError(
            "a URL with credentials would carry them into logs",
            hint="give them in the environment, as the store's own tools take them",
        )
    if "::" in text or "?" in text or "#" in text:
        raise UsageError("a URL names one place, without :: ? or #", hint="give settings in the environment")
    return Url(text.rstrip("/"))


def refuse_inside(out: Place, folder: Place) -> None:
    """Raise UsageError where ``out`` lies in the input folder, because its files would be read as input."""
    if isinstance(out, Url) or isinstance(folder, Url):
        inside = f"{out}/".startswith(f"{folder}/")
    else:
        inside = out.resolve().is_relative_to(folder.resolve())
    if inside:
        raise UsageError(f"{out} lies inside of {folder}", hint="choose a destination outside of it")


@contextmanager
def explain(url: Url) -> Iterator[None]:
    """Turn what a store's package raises into errors with a way out; a missing file stays FileNotFoundError."""
    try:
        yield
    except (FileNotFoundError, FileExistsError, CipherlensError):
        raise
    except PermissionError as error:
        raise DataError(
            f"{url} may not be used: {error}", hint="check the credentials in the environment, and their rights"
        ) from error
    except Exception as error:  # each store's package has its own
        raise DataError(
            f"{url} cannot be reached: {str(error) or type(error).__name__}",
            hint="check the address, the network, and the credentials in the environment; then run it again",
        ) from error


@contextmanager
def explain_writing(url: Url) -> Iterator[None]:
    """As :func:`explain`; where the place itself is missing, as a bucket may be, that is a DataError."""
    try:
        with explain(url):
            yield
    except FileNotFoundError as error:
        raise DataError(f"{url} cannot be written: {error}", hint="make the bucket, or check its name") from error


@lru_cache
def _open_system(scheme: str, process: int) -> Any:
    # One for each process: a connection does not survive a fork, as DataLoader forks its workers.
    try:
        import fsspec
    except ImportError:
        raise _missing(scheme, "fsspec") from None
    if scheme not in fsspec.available_protocols():
        raise UsageError(
            f"{scheme}:// is no kind of storage that fsspec knows", hint="use s3://, gs://, az://, hf://"
        )
    try:
        # What somebody else writes meanwhile must be seen, so no listing is kept.
        return fsspec.filesystem(scheme, use_listings_cache=False)
    except ImportError as error:
        raise _missing(scheme, str(error)) from None


def _missing(scheme: str, what: str) -> UsageError:
    extra = _EXTRAS.get(scheme, "storage")
    return UsageError(f"{scheme}:// needs a package: {what}", hint=f"pip install 'cipherlens[{extra}]'")
