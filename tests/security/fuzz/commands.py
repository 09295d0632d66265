"""Running a command as a user would: in this process, with its output captured, or in one of its own."""

import io
import os
import re
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from tests.security.fuzz.outcome import Exited, Misbehaved

_START = "import sys; from cipherlens.cli.main import run; run()"
_ESCAPES = re.compile("[\x00-\x08\x0b-\x1f\x7f\x80-\x9f]")
_SECONDS = 100.0
"""A command is a hang after this: 20 s, and what starting torch takes, on a busy machine."""


def run_here(arguments: list[str]) -> str:
    """Run a command in this process and return its stdout; Exited for another code than 0."""
    from cipherlens.cli import main

    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    messages = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace", write_through=True)
    errors: list[BaseException | None] = []
    told = main.say

    def listen(*arguments: Any) -> None:
        errors.append(sys.exc_info()[1])
        told(*arguments)

    main.say = listen
    try:
        with redirect_stdout(out), redirect_stderr(messages):
            code = main.execute(arguments)
    finally:
        main.say = told
    written, said = (_read(stream) for stream in (out, messages))
    check_output(code, written, said, errors[-1] if errors else None)
    return written


def run_apart(arguments: list[str], root: Path) -> str:
    """Run a command in a process of its own, as the console script does."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", _START, *arguments]
    try:
        done = subprocess.run(
            command, cwd=root, env=environment, capture_output=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise Exited(-1, None, f"failed: hang: {arguments[:1]}") from None
    written, said = (stream.decode("utf-8", "replace") for stream in (done.stdout, done.stderr))
    check_output(done.returncode, written, said, None)
    return written


def _read(stream: Any) -> str:
    stream.flush()
    text: str = stream.buffer.getvalue().decode("utf-8", "replace")
    return text


def check_output(code: int, written: str, said: str, error: BaseException | None) -> None:
    """Raise Misbehaved for control characters, Exited for another code than 0."""
    for name, text in (("stdout", written), ("stderr", said)):
        found = _ESCAPES.search(text)
        if found:
            raise Misbehaved(f"a control character on {name}: {_show(text, found.start())}")
    if "Traceback (most recent call last)" in said:
        raise Exited(-1, error, said)
    if code != 0:
        raise Exited(code, error, said)


def _show(text: str, at: int) -> str:
    """The line up to a control character, without what varies."""
    return re.sub(r"\d+|[^ -~]", "?", text[:at].rpartition("\n")[2][:30]) + f" {text[at]!r}"
