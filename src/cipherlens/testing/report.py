"""How a failed check is reported."""

from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


class CheckError(AssertionError):
    """A cipher or an attack breaks a rule; the message says which, and how."""


def require(condition: object, message: str) -> None:
    """Raise CheckError with the message unless the condition holds."""
    if not condition:
        raise CheckError(message)


def run_checks(checks: Iterable[Callable[[T], None]], subject: T, name: str) -> None:
    """Run checks in their order. CheckError names the subject and the check; other errors pass as they are."""
    for check in checks:
        try:
            check(subject)
        except CheckError as error:
            raise CheckError(f"{name} fails {check.__name__}: {error}") from None
