"""Hands inputs out to worker processes, and starts a new one where an input has killed one."""

import json
import os
import queue
import select
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from tests.security.fuzz.outcome import Outcome
from tests.security.fuzz.trees import remove_tree

ROOT = Path(__file__).parents[3]
CHUNK = 250
_PATIENCE = 200.0
"""Seconds without an answer after which a worker is killed: its own alarm should have rung long before."""
_START = 120.0


@dataclass(frozen=True)
class Chunk:
    """Numbers ``first`` to ``first + count - 1`` of a target."""

    target: str
    seed: int
    first: int
    count: int


def cut(target: str, seed: int, inputs: int, size: int = CHUNK) -> list[Chunk]:
    """All inputs of a target in chunks."""
    return [Chunk(target, seed, first, min(size, inputs - first)) for first in range(0, inputs, size)]


def run_chunks(
    chunks: list[Chunk], jobs: int, report: Callable[[Chunk, int, Outcome], None], seconds: float | None = None
) -> bool:
    """Try all inputs in ``jobs`` processes; whether all were tried before the time was over."""
    waiting: queue.SimpleQueue[Chunk] = queue.SimpleQueue()
    for chunk in chunks:
        waiting.put(chunk)
    end = None if seconds is None else time.monotonic() + seconds
    errors: list[BaseException] = []
    threads = [
        threading.Thread(target=_drain, args=(waiting, report, end, errors), daemon=True) for _ in range(jobs)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return waiting.empty()


def _drain(
    waiting: "queue.SimpleQueue[Chunk]", report: Any, end: float | None, errors: list[BaseException]
) -> None:
    worker = Worker()
    try:
        while end is None or time.monotonic() < end:
            worker.try_chunk(waiting.get_nowait(), report)
    except queue.Empty:
        pass
    except BaseException as error:
        errors.append(error)
    finally:
        worker.stop()


class Worker:
    """A worker process, started when it is needed, with a folder for its cases."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._buffer, self._folder = b"", ""

    def try_chunk(self, chunk: Chunk, report: Callable[[Chunk, int, Outcome], None]) -> None:
        """Try a chunk's inputs, each reported; an input that kills the process is a crash, and the rest goes on."""
        number, last = chunk.first, chunk.first + chunk.count
        self._ask(chunk, number)
        while number < last:
            answer = self._answer(_PATIENCE)
            died = isinstance(answer, str)
            outcome = (
                Outcome("crash", -1, answer, self._last_line()) if isinstance(answer, str) else Outcome(**answer)
            )
            report(chunk, number, outcome)
            number += 1
            if died or outcome.kind.startswith("memory grew"):
                self.stop()
                if number < last:
                    self._ask(chunk, number)

    def _ask(self, chunk: Chunk, first: int) -> None:
        if self._process is None:
            self._start()
        asked = {
            "target": chunk.target,
            "seed": chunk.seed,
            "first": first,
            "count": chunk.first + chunk.count - first,
        }
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.write(json.dumps(asked).encode() + b"\n")
        self._process.stdin.flush()
        ready = self._answer(_START)
        if ready != {"ready": chunk.target}:
            said = self._read_log()
            self.stop()
            raise RuntimeError(f"a worker for {chunk.target} {ready}\n{said}")

    def _start(self) -> None:
        self._buffer, self._folder = b"", tempfile.mkdtemp(prefix="fuzz-", dir=_pick_scratch())
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.security.fuzz.worker", self._folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log(),
            cwd=ROOT,
            env={**make_environment(), "TMPDIR": self._folder},
        )

    def _log(self) -> BinaryIO:
        return (Path(self._folder) / "log").open("ab")

    def _read_log(self) -> str:
        return (Path(self._folder) / "log").read_text(errors="replace")[-2000:]

    def _last_line(self) -> str:
        """What a dead worker said in the end: where the fuzzer itself is wrong, that is here."""
        return (self._read_log().strip().splitlines() or [""])[-1][:100]

    def _answer(self, patience: float) -> dict[str, Any] | str:
        """The next answer, or what became of the process instead."""
        assert self._process is not None and self._process.stdout is not None
        end = time.monotonic() + patience
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                return "hang"
            piece = os.read(self._process.stdout.fileno(), 1 << 16)
            if not piece:
                return f"ended with {self._process.wait()}"
            self._buffer += piece
        line, _, self._buffer = self._buffer.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def stop(self) -> None:
        """End the process and remove its folder."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            remove_tree(Path(self._folder))
        self._process = None


def _pick_scratch() -> str | None:
    """In memory, where the system has a folder there: a case is a few small files."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def make_environment() -> dict[str, str]:
    """One thread each, no caches written, no warnings: what a worker is started with."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {**os.environ, **threads, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONWARNINGS": "ignore"}
