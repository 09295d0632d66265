"""Who may ask: tokens in a file, as hashes, with models, an end, and requests per second."""

import datetime
import hashlib
import hmac
import json
import logging
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from cipherlens.data.output_lock import hold_folder
from cipherlens.data.sealed.manifest import Moment, tell_time
from cipherlens.errors import DataError, UsageError
from cipherlens.files import write_atomic
from cipherlens.schema import Sha256
from cipherlens.untrusted import JSON_LIMIT, describe, read_untrusted

_LOG = logging.getLogger("cipherlens.service")
PREFIX = "clt_"
"""Start of every token, by which scanners for secrets can know it."""
_BYTES = 32
_MOST_DAYS = 3650


@dataclass(frozen=True)
class Token:
    """``models``: those it is for (empty: all). ``expires``: UTC (empty: never). ``rate``: requests per second."""

    name: Annotated[str, Meta(pattern="^[A-Za-z0-9._-]{1,64}$")]
    sha256: Sha256
    models: tuple[str, ...] = ()
    expires: Moment = ""
    rate: Annotated[float, Meta(ge=0, le=1e6)] = 0.0

    def is_over(self, now: datetime.datetime) -> bool:
        """Whether its end has come."""
        return bool(self.expires) and now >= datetime.datetime.fromisoformat(self.expires)


def create_token(
    file: Path, name: str, models: tuple[str, ...] = (), days: int | None = None, rate: float = 0.0
) -> str:
    """Add a token to ``file``, which holds its hash only, and return the token itself: it is shown once.

    Raises UsageError for a name that is taken or has other characters than letters, digits, ``.``, ``_``, ``-``.
    """
    with _changing(file) as known:
        token, secret = _make(known, name, models, days, rate)
        known.append(token)
    return secret


def _make(
    known: list[Token], name: str, models: tuple[str, ...], days: int | None, rate: float
) -> tuple[Token, str]:
    if any(token.name == name for token in known):
        raise UsageError(f"there is a token {name!r} already", hint="revoke it first, or choose another name")
    if days is not None and not 1 <= days <= _MOST_DAYS:
        raise UsageError(f"a token is valid for 1 to {_MOST_DAYS} days")
    secret = PREFIX + secrets.token_urlsafe(_BYTES)
    end = "" if days is None else tell_time(datetime.timedelta(days=days))
    token = Token(name, hash_token(secret), models, end, rate)
    try:
        msgspec.convert(asdict(token), Token)
    except msgspec.ValidationError as error:
        raise UsageError(f"this cannot be a token: {error}") from None
    return token, secret


def revoke_token(file: Path, name: str) -> None:
    """Take a token away; a running server notices. Raises UsageError for an unknown name."""
    with _changing(file) as known:
        if all(token.name != name for token in known):
            raise UsageError(f"there is no token {name!r}", hint=f"there are: {', '.join(t.name for t in known)}")
        known[:] = [token for token in known if token.name != name]


def read_tokens(file: Path) -> list[Token]:
    """The tokens of a file. Raises DataError where it is missing or damaged."""
    try:
        return msgspec.json.decode(read_untrusted(file, JSON_LIMIT), type=list[Token])
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        raise DataError(
            f"cannot read {file}: {describe(error)}", hint="make one: cipherlens token create"
        ) from None


def hash_token(secret: str) -> str:
    """SHA-256, hexadecimal; a token is random, so that nothing slower is needed."""
    return hashlib.sha256(secret.encode()).hexdigest()


@dataclass
class Guard:
    """The tokens of a file, which is read again when it changes, and their use so far."""

    file: Path
    _seen: tuple[int, ...] = (-1,)
    _tokens: list[Token] = field(default_factory=list)
    _use: dict[str, tuple[float, float]] = field(default_factory=dict)

    def find(self, secret: str) -> Token | None:
        """The valid token, or None. All hashes are compared, each in constant time."""
        given, found = hash_token(secret), None
        for token in self._load():
            if hmac.compare_digest(given, token.sha256):
                found = token
        return None if found is None or found.is_over(datetime.datetime.now(datetime.UTC)) else found

    def wait(self, token: Token) -> float:
        """Seconds until a token may be used again (0: now). Its requests are spread; a second's worth may burst."""
        if not token.rate:
            return 0.0
        now, burst = time.monotonic(), max(1.0, token.rate)
        left, last = self._use.get(token.name, (burst, now))
        left = min(burst, left + (now - last) * token.rate)
        self._use[token.name] = (left - 1 if left >= 1 else left, now)
        return 0.0 if left >= 1 else (1 - left) / token.rate

    def _load(self) -> list[Token]:
        """The tokens; none while the file is missing or damaged, so that nobody gets in."""
        try:
            facts = self.file.stat()
            seen: tuple[int, ...] = (facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)
        except OSError:
            seen = ()
        if seen != self._seen:
            self._seen = seen
            try:
                self._tokens = read_tokens(self.file)
            except DataError as error:
                self._tokens = []
                _LOG.error("nobody can ask: %s", error.args[0])
        return self._tokens


@contextmanager
def _changing(file: Path) -> Iterator[list[Token]]:
    """The tokens of a file, which are written back; no two processes change them at a time."""
    with hold_folder(file.parent / f".{file.name}.changing"):
        known = read_tokens(file) if file.exists() else []
        yield known
        write_atomic(file, json.dumps([asdict(token) for token in known], indent=1).encode() + b"\n")
