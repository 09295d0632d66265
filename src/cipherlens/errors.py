"""One exception tree; every message says what to do, every class has its exit code.

Exit codes: 0 ok, 1 failure, 2 usage, 3 key or authentication, 4 bad data, 5 audit threshold exceeded, 6 partial
(something was skipped). An interrupt gives 130.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class CipherlensError(Exception):
    """Base of all errors that cipherlens raises on purpose.

    ``hint`` says what to do; it is shown on a separate line. ``parameters`` are the parameters that the hint
    mentions; the command line shows the matching options.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str | None = None, parameters: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.hint = hint
        self.parameters = parameters

    def __str__(self) -> str:
        message = super().__str__()
        return f"{message}\n  hint: {self.hint}" if self.hint else message


class UsageError(CipherlensError):
    """A name, option or combination that cannot work with any data."""

    exit_code = 2


class KeyFailureError(CipherlensError):
    """A wrong key or passphrase, or a damaged key file."""

    exit_code = 3


class DataError(CipherlensError):
    """Bad data: a corrupt image, a wrong shape, a damaged shard, a tampered manifest."""

    exit_code = 4


class ShapeError(DataError, ValueError):
    """An array or image whose shape or dtype does not fit."""


class ThresholdExceeded(CipherlensError):
    """The audit measured more leakage than the caller allows."""

    exit_code = 5


class PartialResultError(CipherlensError):
    """The job finished, but something was skipped."""

    exit_code = 6


class PrecisionWarning(UserWarning):
    """Rounding makes the result less exact than usual."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """Error for a name that a registry does not hold; it lists the valid names, and says which is most like it."""
    names = sorted(known)
    meant = get_close_matches(name, names, n=1)
    guess = f"did you mean {meant[0]}? " if meant else ""
    return UsageError(f"unknown {kind} {name!r}", hint=f"{guess}choose one of: {', '.join(names)}")
