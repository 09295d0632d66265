"""More requests than a server has room for, and 50,000 of them: how fast it refuses, and whether it grows.

Usage: ``python benchmarks/measure/service_overload.py [--record results/service-overload.json]``
"""

import argparse
import asyncio
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from load_generator import make_run, send_all, serving, write_post

from cipherlens.client.wire import write_request
from cipherlens.records import write_record
from cipherlens.service.models import open_models

_IMAGES, _QUEUE = 8, 64
_FULL, _MANY = 12, 64
"""Connections that just fill the queue and the batch that is computed, and those that are too many."""
_REQUESTS = 600
_PAUSE = 0.1
"""Seconds that a refused connection waits; less than Retry-After says."""
_LONG, _STEP = 50_000, 5_000
_WIDTH = 16
"""Connections of the long run."""


class Tally:
    """Latencies in ms by status."""

    def __init__(self) -> None:
        self.found = dict[int, list[float]]()

    def take(self, number: int, status: int, seconds: float, headers: Any, body: bytes) -> None:
        self.found.setdefault(status, []).append(1e3 * seconds)

    def describe(self) -> dict[str, dict[str, float]]:
        return {
            str(status): {
                "requests": len(times),
                "p50_ms": float(np.percentile(times, 50)),
                "p99_ms": float(np.percentile(times, 99)),
                "longest_ms": max(times),
            }
            for status, times in sorted(self.found.items())
        }


def write_requests(run: Path, count: int) -> list[bytes]:
    model = open_models([f"run={run}"])["run"]
    said = {name: model.contract.scheme[name] for name in ("key_fingerprint", "cipher")}
    images = np.random.default_rng(0).normal(0.5, 0.3, (count, *model.contract.shape)).astype(np.float32)
    return [write_post(*write_request(images, "0", said))]


def overload(run: Path) -> dict[str, Any]:
    """The latencies where the queue is just full, and where many more ask."""
    requests, found = write_requests(run, _IMAGES), dict[str, Any]()
    with serving(run, "--max-queue", str(_QUEUE)):
        asyncio.run(send_all(requests, 50, _FULL, Tally().take))
        for width in (_FULL, _MANY):
            tally = Tally()
            asyncio.run(send_all(requests, _REQUESTS * width // _FULL, width, tally.take, _PAUSE))
            found[f"{width} connections"] = tally.describe()
    return found | {"images_a_request": _IMAGES, "max_queue": _QUEUE, "pause_s": _PAUSE}


def grow(run: Path) -> dict[str, Any]:
    """The server's memory in MB, every so many requests."""
    requests, sizes, answered = write_requests(run, 1), list[float](), 0
    with serving(run) as server:
        for _ in range(_LONG // _STEP + 1):
            tally = Tally()
            asyncio.run(send_all(requests, _STEP, _WIDTH, tally.take))
            answered += len(tally.found[200])
            sizes.append(read_resident(server.pid) / 1e6)
            print(f"{answered:,} requests: {sizes[-1]:.1f} MB", flush=True)
    return {"answered": answered, "every": _STEP, "resident_mb": sizes}


def read_resident(process: int) -> int:
    """Bytes of a process in memory."""
    (line,) = [line for line in Path(f"/proc/{process}/status").read_text().splitlines() if "VmRSS" in line]
    return 1024 * int(line.split()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = make_run(Path(folder), "preresnet20", 32)
        results = {"overload": overload(run)}
        print(results, flush=True)
        results["memory"] = grow(run)
    if arguments.record:
        write_record(arguments.record, "python benchmarks/measure/service_overload.py", results)


if __name__ == "__main__":
    main()
