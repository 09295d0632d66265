"""What an input must not make a process do: hang, grow, start a child, use the network, write elsewhere."""

import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

GROWTH = 256_000_000
"""By so much, and four times its files, the process may grow for one input."""
DECODING = 1_500_000_000
"""The same where pictures are decoded, which are limited by their pixels."""
_MUCH = 30_000_000
_WAITING = 5
"""A busy machine gives a process a part of its time: so many times longer than it may compute, it may take."""
_HEADROOM = 2_500_000_000
_CHILDREN = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty"}
_HARMLESS = ("lscpu", ["lscpu"])
"""Earlier versions of libraries ask this program for the processor, whatever the input is."""
_NETWORK = {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.bind", "urllib.Request"}
_CHANGES = {"os.mkdir": (0, 2), "os.remove": (0, 1), "os.rmdir": (0, 1), "os.rename": (1, 3), "os.symlink": (1, 2)}
"""Where the arguments of an event have the path that changes, and the folder that it is relative to."""
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class Hang(BaseException):
    """An input took longer than it may."""


class Forbidden(BaseException):
    """An input made the process do what no file may make it do."""


class Guard:
    """Watches this process through Python's audit events; ``seen`` holds what an input did that it must not."""

    def __init__(self, scratch: Path) -> None:
        self._scratch, self._active, self._children, self._base = scratch.resolve(), False, False, 0
        self.seen: list[str] = []
        for number in (signal.SIGALRM, signal.SIGPROF):
            signal.signal(number, self._ring)
        sys.addaudithook(self._hear)

    def limit_memory(self) -> None:
        """From here on this process cannot grow much beyond what it is, and its growth is measured."""
        size = _read_status("VmSize")
        resource.setrlimit(resource.RLIMIT_AS, (size + _HEADROOM, resource.RLIM_INFINITY))
        self.reset_memory()

    def free_memory(self) -> None:
        """From here on this process may grow as it likes."""
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def reset_memory(self) -> None:
        """Measure growth from now on."""
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        self._base = _read_status("VmRSS")

    @contextmanager
    def watch(self, seconds: float, children: bool = False, growth: int = GROWTH) -> Iterator[None]:
        """Watch what is done inside: Hang after so many seconds of computing, Forbidden at a forbidden act.

        ``growth`` is by how many bytes the process may grow.
        """
        self.seen, self._active, self._children = [], True, children
        signal.setitimer(signal.ITIMER_PROF, seconds)
        signal.setitimer(signal.ITIMER_REAL, _WAITING * seconds)
        try:
            yield
        finally:
            for timer in (signal.ITIMER_PROF, signal.ITIMER_REAL):
                signal.setitimer(timer, 0)
            self._active = False
            self._measure(growth)

    def _measure(self, allowed: int) -> None:
        grown = _read_status("VmHWM") - self._base
        if grown > allowed:
            self.seen.append(f"memory grew by {grown / 1e9:.1f} GB")
        if grown > _MUCH:
            self.reset_memory()

    @staticmethod
    def _ring(*_: Any) -> None:
        raise Hang

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._active:
            return
        child = event in _CHILDREN and not self._children and arguments[:2] != _HARMLESS
        if child or event in _NETWORK:
            self._complain(f"{event} {str(arguments[:2])[:100]}")
        elif event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING:
            self._check_place(event, arguments[0], arguments[1] is None)
        elif event in _CHANGES:
            path, folder = _CHANGES[event]
            self._check_place(event, arguments[path], arguments[folder] >= 0)

    def _check_place(self, event: str, path: Any, relative_to_folder: bool) -> None:
        """Complain of a change outside; relative to an open folder, a path cannot be judged."""
        if not isinstance(path, str | bytes):
            return
        place = Path(os.fsdecode(path))
        if (relative_to_folder and not place.is_absolute()) or (event == "os.mkdir" and place.is_dir()):
            return
        folder = place.absolute().parent.resolve()
        if not folder.is_relative_to(self._scratch) and str(folder) != "/dev":
            self._complain(f"{event} outside: {str(place)[:100]}")

    def _complain(self, text: str) -> None:
        self.seen.append(text)
        raise Forbidden(text)


def _read_status(name: str) -> int:
    """Bytes, from /proc/self/status."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0
