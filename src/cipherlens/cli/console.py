"""What people see: data on stdout, messages and progress on stderr."""

import errno
import json
import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cipherlens.errors import CipherlensError
from cipherlens.escaping import escape_terminal

messages = Console(stderr=True, highlight=False)


def emit(data: dict[str, Any], as_json: bool, lines: list[str]) -> None:
    """Print the result: one JSON object, or lines for people. Nothing in it can move the cursor or hide text."""
    # Between the strings of JSON there are only signs that need no escape, and within them its own is the same.
    shown = [json.dumps(data, ensure_ascii=False)] if as_json else lines
    print("\n".join(map(escape_terminal, shown)), flush=True)


def say(*lines: str) -> None:
    """Lines of a message on stderr."""
    for line in lines:
        messages.print(escape_terminal(line), markup=False, soft_wrap=True)


@contextmanager
def quiet(wanted: bool) -> Iterator[None]:
    """Say nothing meanwhile, where ``wanted``; an error that ends the context is said after it."""
    before, messages.quiet = messages.quiet, wanted or messages.quiet
    try:
        yield
    finally:
        messages.quiet = before


def say_error(word: str, error: CipherlensError, known: Collection[str]) -> None:
    """An error and the way out, with the options for it, of those that the command has."""
    named = _name_options([name for name in error.parameters if _option(name) in known])
    say(f"{word}: {error.args[0]}", *([f"  hint: {error.hint}{named}"] if error.hint else []))


_DISK = {
    errno.ENOSPC: "no space is left on the disk",
    errno.EDQUOT: "your share of the disk is used up",
    errno.EROFS: "the disk is read-only",
}


def describe_disk(error: BaseException | None) -> CipherlensError | None:
    """What is wrong with the disk; None where it is something else. A cause of the error counts too."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _DISK:
            place = f": {error.filename}" if error.filename else ""
            hint = "make space, or choose another place" if error.errno != errno.EROFS else "choose another place"
            return CipherlensError(_DISK[error.errno] + place, hint=f"{hint}; then run the same command again")
        error = error.__cause__ or error.__context__
    return None


def _option(parameter: str) -> str:
    return f"--{parameter.replace('_', '-')}"


def _name_options(parameters: Sequence[str]) -> str:
    return f" ({', '.join(map(_option, parameters))})" if parameters else ""


class Notes(logging.Handler):
    """Says what the library notes, with the options for it, of those that the command has."""

    def __init__(self, known: Collection[str]) -> None:
        super().__init__()
        self._known = known

    def emit(self, record: logging.LogRecord) -> None:
        """Say one note."""
        named = [name for name in getattr(record, "parameters", ()) if _option(name) in self._known]
        say(f"note: {record.getMessage()}{_name_options(named)}")


@contextmanager
def show_notes(known: Collection[str]) -> Iterator[None]:
    """Say what the library notes, and nowhere else; ``known`` are the options of the command."""
    logger, notes = logging.getLogger("cipherlens"), Notes(known)
    before = logger.level, logger.propagate
    logger.addHandler(notes)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(notes)
        logger.level, logger.propagate = before


def say_if_unchecked(key: object, what: object) -> None:
    """Whoever has no key cannot tell whether somebody has changed labels, splits or images."""
    if key is None:
        say(f"note: {what} is not authenticated: only with the key can one tell whether it was altered")


def say_discarded(folders: Sequence[Path]) -> None:
    """Name what a killed run left; plain pictures may have been in it."""
    for folder in folders:
        say(f"note: removed {folder}, left by a run that was killed; plain pictures may have been in it")


class Progressing(Protocol):
    """What a bar is fed with: what is done and all there is, and what is being done."""

    def __call__(self, done: int, total: int, doing: str = "") -> None:
        """Move the bar."""


@contextmanager
def progress_bar(label: str) -> Iterator[Progressing]:
    """A bar on stderr, fed with (done, total); silent when stderr is not a terminal."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=messages, disable=not messages.is_terminal) as bars:
        task = bars.add_task(label, total=None)

        def tell(done: int, total: int, doing: str = "") -> None:
            described = escape_terminal(f"{label} {doing}".rstrip())
            bars.update(task, completed=done, total=total, description=described)

        yield tell


def show_progress(event: Any, bar: Any) -> None:
    """Feed a progress bar from training events, and say each finished epoch."""
    per_round = event.epochs * event.steps
    done = (event.position.round - 1) * per_round + (event.position.epoch - 1) * event.steps + event.step
    bar(done, event.rounds * per_round)
    if event.metrics is not None:
        m = event.metrics
        tested = "" if m.test_accuracy is None else f", test accuracy {m.test_accuracy:.2%}"
        tested += "" if m.test_iou is None else f", mean IoU {m.test_iou:.2%}"
        say(
            f"round {m.round} epoch {m.epoch}: loss {m.train_loss:.3f}, accuracy {m.train_accuracy:.2%}{tested}, "
            f"{m.images_per_second:.0f} images/s"
        )
