"""A target that goes wrong in every way, one after the other: what the fuzzer must notice."""

import os
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from random import Random

from tests.security.fuzz.outcome import Altered, Misbehaved
from tests.security.fuzz.target import Case, Target
from tests.security.fuzz.trees import Pipe, Tree


def _raise(error: BaseException) -> Callable[[Path], None]:
    def act(_: Path) -> None:
        raise error

    return act


def _refuse(_: Path) -> None:
    from cipherlens.errors import DataError

    raise DataError("damaged")


def _refuse_with_another_code(_: Path) -> None:
    from cipherlens.errors import ThresholdExceeded

    raise ThresholdExceeded("too much")


def _loop(_: Path) -> None:
    while True:
        pass


def _connect(_: Path) -> None:
    socket.create_connection(("127.0.0.1", 9), timeout=1).close()


def _read_pipe(root: Path) -> None:
    (root / "pipe").read_bytes()


def _swallow(_: Path) -> None:
    try:
        subprocess.run(["true"], check=False)
    except BaseException:
        return


WAYS: tuple[tuple[str, Callable[[Path], object]], ...] = (
    ("accepted", lambda root: (root / "file").read_bytes()),
    ("refused", _refuse),
    ("wrong", _refuse),  # a seed as it is
    ("wrong", _refuse_with_another_code),
    ("wrong", _raise(TypeError("not subscriptable"))),
    ("wrong", _raise(Misbehaved("an escape on stdout"))),
    ("altered", _raise(Altered("other images"))),
    ("crash", _raise(SystemExit(0))),
    ("crash", lambda _: subprocess.run(["true"], check=False)),
    ("crash", _swallow),
    ("crash", _connect),
    ("crash", lambda root: (root.parents[1] / "written-outside").write_bytes(b"x")),
    ("crash", lambda root: (root / "file").rename(root.parents[1] / "moved-outside")),
    ("crash", lambda _: b"x" * 320_000_000),
    ("accepted", lambda _: None),
    ("crash", _loop),
    ("crash", _read_pipe),
    ("crash", lambda _: os.kill(os.getpid(), signal.SIGKILL)),
    ("accepted", lambda _: None),
)
"""What has to be counted, and what is done."""


class BrokenTarget(Target):
    """Tests of the fuzzer run this one; it is no part of all inputs."""

    name, seconds = "broken", 3.0

    def make(self, rng: Random, number: int) -> Case:
        act = WAYS[number % len(WAYS)][1]
        tree: Tree = {"file": b"x", **({"pipe": Pipe()} if act is _read_pipe else {})}
        return Case(tree, f"way {number}", {"act": act}, untouched=number == 2)

    def use(self, case: Case, root: Path) -> None:
        case.facts["act"](root)
