"""Load on one machine: a server in its own process, and requests whose answers are checked one by one.

Usage: ``python benchmarks/measure/service_load.py [--record results/service-load.json]``
"""

import argparse
import asyncio
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from load_generator import make_run, send_all, serving, write_post

from cipherlens.client.wire import read_answer, write_request
from cipherlens.inference import LENGTH_HEADER
from cipherlens.records import write_record
from cipherlens.service.contract import to_probabilities
from cipherlens.service.models import ServedModel, open_models

IN_FLIGHT = 64


@dataclass(frozen=True)
class Case:
    """A network, images of ``side`` pixels, so many in a request, so many requests, the server's options."""

    model: str
    side: int
    images: int
    requests: int
    options: tuple[str, ...] = ()


CASES = {
    "ResNet-20, 32x32": Case("preresnet20", 32, 32, 1000, ("--workers", "2")),
    "ResNet-20, 32x32, one worker": Case("preresnet20", 32, 32, 1000),
    "ResNet-20, 32x32, single images": Case("preresnet20", 32, 1, 1000),
    "ResNet-20, 32x32, batches of one": Case("preresnet20", 32, 1, 1000, ("--max-batch", "1")),
    "ResNet-50, 224x224": Case("resnet50", 224, 8, 1000),
}
_ROUNDS = 3
_BATCH = 32
_DIFFERENT = 16
"""Different requests, sent in turn."""


class Check:
    """Holds answers against those of this process."""

    def __init__(self, wanted: list[np.ndarray]) -> None:
        self._wanted = wanted
        self.seconds = list[float]()
        self.lost = self.wrong = self.different = 0
        self.worst = 0.0

    def take(self, number: int, status: int, seconds: float, headers: Any, body: bytes) -> None:
        self.seconds.append(seconds)
        if status != 200:
            self.lost += 1
            return
        truth = self._wanted[number % _DIFFERENT]
        found = read_answer(body, headers.get(LENGTH_HEADER.lower()), f"{number % _DIFFERENT}", len(truth))
        self.worst = max(self.worst, float(np.abs(found - truth).max() / truth.max()))
        self.wrong += int((found.argmax(1) != truth.argmax(1)).any())
        self.different += int(not np.array_equal(found, truth))


def time_in_process(model: ServedModel, images: np.ndarray) -> float:
    """Images per second of batched inference, as the server computes it."""
    started = time.perf_counter()
    for _ in range(4):
        model.compute(images)
    return 4 * len(images) / (time.perf_counter() - started)


def measure(folder: Path, name: str) -> dict[str, Any]:
    """One case: through the server, with rounds in this process before and after it."""
    case = CASES[name]
    run = make_run(folder, case.model, case.side)
    model = open_models([f"run={run}"])["run"]
    rng = np.random.default_rng(0)
    size = (case.images, *model.contract.shape)
    images = [rng.normal(0.5, 0.3, size).astype(np.float32) for _ in range(_DIFFERENT)]
    batch = rng.normal(0.5, 0.3, (_BATCH, *model.contract.shape)).astype(np.float32)
    wanted = [to_probabilities(model.compute(one)) for one in images]
    said = {name: model.contract.scheme[name] for name in ("key_fingerprint", "cipher")}
    requests = [write_post(*write_request(one, f"{number}", said)) for number, one in enumerate(images)]
    alone = [time_in_process(model, batch) for _ in range(_ROUNDS)]
    with serving(run, "--max-queue", str(IN_FLIGHT * max(case.images, _BATCH)), *case.options):
        asyncio.run(send_all(requests, IN_FLIGHT, IN_FLIGHT, Check(wanted).take))
        check = Check(wanted)
        seconds = asyncio.run(send_all(requests, case.requests, IN_FLIGHT, check.take))
    alone += [time_in_process(model, batch) for _ in range(_ROUNDS)]
    p50, p99 = np.percentile(check.seconds, [50, 99])
    speed = case.requests * case.images / seconds
    return {
        "name": name,
        "options": " ".join(case.options),
        "requests": case.requests,
        "images_a_request": case.images,
        "lost": check.lost,
        "wrong": check.wrong,
        "relative_error": check.worst,
        "not_bit_by_bit": check.different,
        "p50_ms": 1e3 * p50,
        "p99_ms": 1e3 * p99,
        "images_per_second": speed,
        "in_process": float(np.median(alone)),
        "in_process_rounds": alone,
        "ratio": speed / float(np.median(alone)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", type=Path)
    parser.add_argument("--only", choices=CASES)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = []
        for name in [arguments.only] if arguments.only else CASES:
            rows.append(measure(Path(folder), name))
            print(rows[-1], flush=True)
    if arguments.record:
        results = {"in_flight": IN_FLIGHT, "batch": _BATCH, "rows": rows}
        write_record(arguments.record, "python benchmarks/measure/service_load.py", results)


if __name__ == "__main__":
    main()
