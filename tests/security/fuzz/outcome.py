"""What became of an input: accepted, refused with a code, or one of the three kinds of failure."""

import traceback
from dataclasses import asdict, dataclass
from typing import Any

FAILURES = ("crash", "wrong", "altered")


@dataclass(frozen=True)
class Outcome:
    """``status``: accepted, refused, crash, wrong (an exit code) or altered (accepted although it was changed)."""

    status: str
    code: int = 0
    kind: str = ""
    place: str = ""
    message: str = ""

    @property
    def failed(self) -> bool:
        """Whether this must not be."""
        return self.status in FAILURES

    @property
    def group(self) -> tuple[str, str, str]:
        """Failures of one group have, very likely, one cause."""
        return self.status, self.kind, self.place

    def to_json(self) -> dict[str, Any]:
        """All fields by name."""
        return asdict(self)


class Altered(Exception):
    """Raised by a target where changed data was taken for the original."""


class Misbehaved(Exception):
    """Raised by a target for anything else that must not be: escapes in the output, a wrong cipher, ..."""


class Exited(Exception):
    """A command's exit code, where it is not 0, and the error behind it, where it is known."""

    def __init__(self, code: int, error: BaseException | None, text: str) -> None:
        super().__init__(text)
        self.code, self.error, self.text = code, error, text


def judge(error: BaseException | None, codes: frozenset[int], seen: list[str]) -> Outcome:
    """The outcome of an input that ended in ``error`` (None: it was accepted); ``seen`` is the guard's list."""
    from cipherlens.errors import CipherlensError

    if seen:
        return Outcome("crash", kind=seen[0][:60], place=find_place(error), message="; ".join(seen))
    if error is None:
        return Outcome("accepted")
    if isinstance(error, Altered | Misbehaved):
        status = "altered" if isinstance(error, Altered) else "wrong"
        return Outcome(status, kind=type(error).__name__, place=str(error)[:80], message=str(error))
    if isinstance(error, Exited):
        return _judge_exit(error, codes)
    code = error.exit_code if isinstance(error, CipherlensError) else 1
    status = "refused" if code in codes else "wrong" if isinstance(error, Exception) else "crash"
    return Outcome(status, code, type(error).__name__, find_place(error), str(error)[:300])


def _judge_exit(error: Exited, codes: frozenset[int]) -> Outcome:
    if error.code in codes:
        return Outcome("refused", error.code, message=error.text[:300])
    known = error.error
    kind = type(known).__name__ if known else error.text.partition("failed: ")[2].partition(":")[0]
    status = "crash" if error.code < 0 or "Traceback (most recent" in error.text else "wrong"
    return Outcome(status, error.code, f"exit {error.code} {kind}", find_place(known), error.text[-300:])


def find_place(error: BaseException | None) -> str:
    """The innermost line of cipherlens that an error passed, and the innermost of all."""
    frames = traceback.extract_tb(error.__traceback__) if error else []
    own = [frame for frame in frames if "/cipherlens/" in frame.filename]
    if not own:
        return ""
    place = f"{own[-1].filename.partition('/cipherlens/')[2]}:{own[-1].lineno} ({own[-1].name})"
    return place if own[-1] is frames[-1] else f"{place} <- {frames[-1].name}"
