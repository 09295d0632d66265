"""What people see: data on stdout, messages and progress on stderr."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Protocol

from cyclopts import Parameter
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cipherlens.errors import KeyFailure
from cipherlens.keys import Key

messages = Console(stderr=True, highlight=False)

KeyFile = Annotated[Path, Parameter(name="--key", help="Key file made by keygen.")]
OptionalKeyFile = Annotated[Path | None, Parameter(name="--key", help="Key file made by keygen.")]
PassphraseFile = Annotated[
    Path | None, Parameter(name="--passphrase-file", help="File whose first line is the key file's passphrase.")
]
Json = Annotated[bool, Parameter(name="--json", negative="", help="Print one JSON object.")]


def emit(data: dict[str, Any], as_json: bool, lines: list[str]) -> None:
    """Print the result: one JSON object, or lines for people."""
    print(json.dumps(data, ensure_ascii=False) if as_json else "\n".join(lines), flush=True)


def say(text: str) -> None:
    """A message on stderr."""
    messages.print(text, markup=False, soft_wrap=True)


class Progressing(Protocol):
    """What a bar is fed with: what is done and all there is, and what is being done."""

    def __call__(self, done: int, total: int, doing: str = "") -> None:
        """Move the bar."""


@contextmanager
def progress_bar(label: str) -> Iterator[Progressing]:
    """A bar on stderr, fed with (done, total); silent when stderr is not a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=messages, disable=not messages.is_terminal) as bars:
        task = bars.add_task(label, total=None)

        def tell(done: int, total: int, doing: str = "") -> None:
            bars.update(task, completed=done, total=total, description=f"{label} {doing}".rstrip())

        yield tell


def load_key(path: Path, passphrase_file: Path | None) -> Key:
    """Read a key file with the passphrase in the first line of a file, if one is given."""
    return Key.load(path, read_passphrase(passphrase_file))


def read_passphrase(path: Path | None) -> str | None:
    """First line of the file, without the line break. Raises KeyFailure if it cannot be read or is empty."""
    if path is None:
        return None
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise KeyFailure(f"cannot read the passphrase file {path}: {error}") from None
    if not lines or not lines[0]:
        raise KeyFailure(f"the passphrase file {path} is empty", hint="write the passphrase in its first line")
    return lines[0]
