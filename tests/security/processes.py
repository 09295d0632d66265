"""Commands in processes of their own, which tests kill or start twice, and what such a command should give.

A process and all that it starts are found by a mark in their environment, and by their session.
"""

import getpass
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

import cipherlens
from cipherlens.keys import Key
from tests.conftest import read_files

fcntl = pytest.importorskip("fcntl")

needs_proc = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes in /proc")

SEED = int(os.environ.get("SEED_OF_KILLS", "1"))
"""Moments are random; another seed gives others."""

KEY = Key(bytes(range(32)))
NEW = Key(bytes(range(1, 33)))
"""The key after a rotation."""
MANY = "synthetic:objects?n=3000&test=500&size=32"
FEW = "synthetic:objects?n=100&test=40&size=32"

NEIGHBOUR = ".out.partial"
GONE_SECONDS = 20.0
END_SECONDS = 180.0
_MARK = "MARK_OF_TEST_RUN"  # not CIPHERLENS_...: those are settings
_LOCK = ".lock"
_PARTIAL = f".cipherlens-partial-{os.getuid() if hasattr(os, 'getuid') else ''}"
_PLACE = Path(cipherlens.__file__).parents[1]

# Small shards, so that a few seconds see many of them.
SCRIPT = """
from cipherlens.data.sealed import job as place
from cipherlens.cli.main import run
place.SHARD_BYTES = 2 << 20
run()
"""


class Run:
    """A command that runs in the folder ``work`` of a place, with its temporary files and messages beside it."""

    def __init__(self, arguments: tuple[str, ...], place: Path, script: str = SCRIPT) -> None:
        self.mark = uuid4().hex
        self._logs = place / "logs" / self.mark
        for folder in (self._logs, place / "work", place / "temporary"):
            folder.mkdir(parents=True, exist_ok=True)
        environment = {
            **os.environ,
            _MARK: self.mark,
            "PYTHONPATH": str(_PLACE),
            "TMPDIR": str(place / "temporary"),
        }
        with (self._logs / "out").open("wb") as out, (self._logs / "err").open("wb") as err:
            self.started = time.monotonic()
            self.process = subprocess.Popen(
                [sys.executable, "-c", script, *arguments],
                cwd=place / "work",
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        _begun.append(self)

    @property
    def out(self) -> str:
        return (self._logs / "out").read_text()

    @property
    def err(self) -> str:
        return (self._logs / "err").read_text()

    def kill_at(self, seconds: float) -> bool:
        """Kill the parent alone, so long after its start; False if it was done before."""
        try:
            code = self.process.wait(max(0.0, self.started + seconds - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            return True
        assert code == 0, self.err
        return False

    def end(self) -> int:
        """Wait for the end; the exit code."""
        try:
            return self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            found = self.list_processes()
            self.clear()
            raise AssertionError(f"not done after {END_SECONDS} s: {found}\n{self.err}") from None

    def list_processes(self) -> list[str]:
        """All of its processes that live."""
        found = (self._describe(path) for path in Path("/proc").iterdir() if path.name.isdigit())
        return [words for words in found if words]

    def _describe(self, path: Path) -> str:
        try:
            state, _, _, session = (path / "stat").read_text().rpartition(")")[2].split()[:4]
            command = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            marked = f"{_MARK}={self.mark}".encode() in (path / "environ").read_bytes().split(b"\0")
        except OSError:  # ended in between, or somebody else's
            return ""
        ours = marked or int(session) == self.process.pid
        return f"{path.name} ({state}) {command.strip()}" if ours and state not in "ZX" else ""

    def check_gone(self, seconds: float = GONE_SECONDS) -> None:
        """Nothing of it lives so many seconds later, parent, workers and all."""
        limit = time.monotonic() + seconds
        while (found := self.list_processes()) and time.monotonic() < limit:
            time.sleep(0.05)
        self.clear()
        assert not found, f"still there after {seconds} s: " + "\n".join(found)

    def clear(self) -> None:
        """End what is left of it, so that a failed test leaves nothing behind."""
        for words in self.list_processes():
            try:
                os.kill(int(words.split()[0]), signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()


_begun: list[Run] = []


@pytest.fixture(autouse=True)
def end_processes() -> Iterator[None]:
    """A test that fails, or is interrupted, leaves no process behind."""
    yield
    while _begun:
        _begun.pop().clear()


@dataclass(frozen=True)
class Command:
    """A command whose destination is ``out`` in the folder where it runs.

    ``read`` gives what of a destination must be the same after every run, ``finished`` the exit code where all is
    done already.
    """

    name: str
    arguments: tuple[str, ...]
    read: Callable[[Path], Mapping[str, Any]]
    finished: int = 0
    given: Path | None = None
    """What lies at the destination before the command first runs."""

    def start(self, place: Path) -> Run:
        out = place / "work" / "out"
        if self.given is not None and not out.exists():
            shutil.copytree(self.given, out)
        return Run(self.arguments, place)


@dataclass(frozen=True)
class Reference:
    """What an undisturbed run of a command gave, and how long it took."""

    command: Command
    seconds: float
    out: Path

    def check(self, out: Path) -> None:
        """The destination is what an undisturbed run makes."""
        wanted, found = self.command.read(self.out), self.command.read(out)
        lost, more = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
        other = sorted(name for name in wanted.keys() & found.keys() if found[name] != wanted[name])
        assert not lost, f"{len(lost)} of {len(wanted)} files are lost: {lost[:5]}"
        assert not more, f"there are {len(more)} files more: {more[:5]}"
        assert not other, f"{len(other)} of {len(wanted)} files have other bytes: {other[:5]}"


def read_run(out: Path) -> dict[str, Any]:
    """A run folder without its times."""
    found = read_files(out)
    lines = [json.loads(line) for line in found["metrics.jsonl"].splitlines()]
    return {
        **found,
        "metrics.jsonl": drop_times(lines),
        "checkpoint/state.json": drop_times(json.loads(found["checkpoint/state.json"])),
        "MODEL_CARD.md": re.sub(rb"\| training time \|.*", b"", found["MODEL_CARD.md"]),
    }


def read_report(out: Path) -> dict[str, Any]:
    """A report without its times, and without what the stream cipher's fresh nonces gave; so the page, too."""
    found = read_files(out)
    report = drop_times(json.loads(found["report.json"]))
    for control in report["controls"]:
        if control["control"] == "stream":
            del control["ssim"]
    return {**found, "report.json": report, "report.html": None}


def read_names(out: Path) -> dict[str, Any]:
    """The names of files whose bytes differ between runs."""
    return dict.fromkeys(read_files(out))


_TIMES = ("seconds", "images_per_second", "created", "date", "commit")


def drop_times(value: Any) -> Any:
    """The value without what differs between two runs."""
    if isinstance(value, dict):
        return {name: drop_times(item) for name, item in value.items() if name not in _TIMES}
    return [drop_times(item) for item in value] if isinstance(value, list) else value


@cache
def get_command(name: str, root: Path) -> Command:
    """A command by name, with its inputs in the folder ``root``, made where they are missing."""
    seal = ("--key", str(_get_key(root)), "--workers", "2", "--json")
    jobs = {"encrypt": (MANY, read_files), "stream": (MANY, read_names), "few": (FEW, read_files)}
    if name in jobs:
        source, read = jobs[name]
        cipher = ("--cipher", "stream") if name == "stream" else ()
        return Command(name, ("encrypt", source, "out", *cipher, *seal), read)
    if name == "decrypt":
        sealed = get_reference("encrypt", root).out
        return Command(name, ("decrypt", str(sealed), "out", "--key", str(_get_key(root))), read_files, 2)
    if name == "rotate":
        options = ("--from", str(_get_key(root)), "--to", str(_get_key(root, NEW)), "--workers", "2", "--json")
        sealed = get_reference("encrypt", root).out
        return Command(name, ("key", "rotate", "out", *options), read_files, given=sealed)
    few = str(get_reference("few", root).out)
    if name == "train":
        options = ("--model", "test_efficientnet", "--epochs", "2", "--threads", "1")
        return Command(name, ("train", few, "--out", "out", *options), read_run)
    options = ("--attacks", "covariance,chosen-plaintext", "--minutes", "5", "--workers", "2")
    return Command(
        name, ("audit", few, "--plain", FEW, "--out", "out", *options, "--key", str(_get_key(root))), read_report
    )


def _get_key(root: Path, key: Key = KEY) -> Path:
    path = root / f"{key.fingerprint}.key"
    with _hold(root / "key"):
        if not path.exists():
            key.save(path)
    return path


@cache
def get_reference(name: str, root: Path) -> Reference:
    """What the command gives undisturbed: run once, for all test processes."""
    if name in ("train", "audit") and (find_spec("timm") is None or find_spec("torchmetrics") is None):
        pytest.skip("needs the parts for training and audits")
    command, place = get_command(name, root), root / name
    with _hold(place):
        if not (place / "seconds").exists():
            run = command.start(place)
            assert run.end() == 0, run.err
            seconds = time.monotonic() - run.started
            run.check_gone()
            check_clean(place, {"out"})
            (place / "seconds").write_text(str(seconds))
    return Reference(command, float((place / "seconds").read_text()), place / "work" / "out")


@contextmanager
def _hold(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f"{path.name}.held").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def choose_root(factory: pytest.TempPathFactory) -> Path:
    """A folder that all test processes of one session share."""
    base = factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "commands"


def draw(name: str, count: int) -> list[float]:
    """``count`` random moments between 0 and 1, one in each of as many equal parts, by the seed."""
    rng = random.Random(f"{SEED} {name} {count}")
    return [(number + rng.random()) / count for number in range(count)]


def list_partial(folder: Path) -> list[Path]:
    """Files that a killed run left unfinished in a folder; the folder for them is for their owner alone."""
    base = folder / _PARTIAL
    if not base.exists():
        return []
    mode = base.stat().st_mode & 0o777
    assert mode == 0o700, f"{base} has mode {mode:o}"
    return [path for path in base.rglob("*") if path.is_file() and path.name != _LOCK]


def check_hidden(place: Path, others: set[str]) -> list[Path]:
    """After a kill, nothing of plain pictures lies about but in folders for their owner alone; these files."""
    names = {path.name for path in (place / "work").iterdir()}
    assert names <= {"out", _PARTIAL} | others, f"in sight: {names}"
    partial = [path for folder in ("work", "temporary") for path in list_partial(place / folder)]
    files = {path for path in (place / "temporary").rglob("*") if path.is_file() and path.name != _LOCK}
    assert files <= set(partial), f"in sight: {sorted(map(str, files - set(partial)))[:5]}"
    return partial


def check_clean(place: Path, names: set[str]) -> None:
    """After the end the folder holds ``names``, and nothing half-written is there or among temporary files."""
    found = {path.name for path in (place / "work").iterdir()}
    assert found == names, f"{sorted(found)} instead of {sorted(names)}"
    half = [path for path in (place / "work" / "out").rglob("*") if path.name == _LOCK or path.suffix == ".tmp"]
    assert not half, f"half-written: {half}"
    # Torch makes an empty folder.
    temporary = [path for path in (place / "temporary").rglob("*") if path.is_file() or "cipherlens" in path.name]
    assert not temporary, f"left: {temporary}"


def check_named(message: str, owners: list[Run]) -> None:
    """The message says who writes there: user, host, start, and the process of one of the owners."""
    for words in (getpass.getuser(), socket.gethostname(), str(datetime.now(UTC).date())):
        assert words in message, f"{words!r} is not in {message!r}"
    assert any(re.search(rf"\b{owner.process.pid}\b", message) for owner in owners), message


def add_neighbour(place: Path) -> None:
    """A folder of the user's with the name that unfinished pictures once had, so that it was removed."""
    folder = place / "work" / NEIGHBOUR
    folder.mkdir(parents=True)
    (folder / "holiday.txt").write_text("mine")


def check_neighbour(place: Path) -> None:
    """The user's folder is as it was."""
    assert read_files(place / "work" / NEIGHBOUR) == {"holiday.txt": b"mine"}, f"{NEIGHBOUR} has changed"


def remove(place: Path) -> None:
    """What a test that passed leaves is large."""
    shutil.rmtree(place)
