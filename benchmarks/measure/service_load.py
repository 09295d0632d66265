"""Load on one machine: a server in its own process, and requests that are checked one by one.

Usage: ``python benchmarks/measure/service_load.py [--record results/service-load.json]``
"""

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import torch

import cipherlens as cl
from cipherlens.client.wire import read_answer, write_request
from cipherlens.inference import LENGTH_HEADER
from cipherlens.records import write_record
from cipherlens.service.models import ServedModel, open_models

PORT = 18_437
IN_FLIGHT = 64
# name: model, side, images a request, requests
CASES: dict[str, tuple[str, int, int, int]] = {
    "ResNet-20, 32x32": ("preresnet20", 32, 32, 1000),
    "ResNet-20, 32x32, single images": ("preresnet20", 32, 1, 1000),
    "ResNet-50, 224x224": ("resnet50", 224, 8, 100),
}
_ROUNDS = 3
_DIFFERENT = 16
"""Different requests, sent in turn."""


def make_run(folder: Path, model: str, side: int) -> Path:
    """A run on sealed images; how well it was trained is of no matter here."""
    run = folder / f"{model}-{side}"
    if not run.exists():
        key = cl.Key(bytes(range(32)))
        sealed = folder / f"sealed-{side}"
        if not sealed.exists():
            cl.seal(f"synthetic:objects?n=16&test=4&size={side}", sealed, cl.create_cipher("hill", block=4), key)
        cl.train(sealed, cl.TrainConfig(model=model, epochs=1, batch_size=8), out=run)
    return run


def time_in_process(model: ServedModel, images: np.ndarray) -> float:
    """Images per second of batched inference, as the server computes it; the best of some rounds."""
    model.compute(images)
    found = []
    for _ in range(_ROUNDS):
        started = time.perf_counter()
        for _ in range(4):
            model.compute(images)
        found.append(4 * len(images) / (time.perf_counter() - started))
    return max(found)


async def send_all(url: str, bodies: list[Any], count: int, wanted: list[np.ndarray]) -> dict[str, Any]:
    """Send ``count`` requests with IN_FLIGHT at a time; latencies, and how many answers were wrong."""
    gate, seconds, wrong, lost = asyncio.Semaphore(IN_FLIGHT), list[float](), 0, 0
    worst = 0.0

    async with httpx.AsyncClient(base_url=url, timeout=300, trust_env=False) as client:

        async def one(number: int) -> None:
            nonlocal wrong, lost, worst
            name, (body, headers) = f"{number % _DIFFERENT}", bodies[number % _DIFFERENT]
            async with gate:
                started = time.perf_counter()
                answer = await client.post("/infer", content=body, headers=headers)
                seconds.append(time.perf_counter() - started)
            if answer.status_code != 200:
                lost += 1
                return
            truth = wanted[number % _DIFFERENT]
            found = read_answer(answer.content, answer.headers.get(LENGTH_HEADER), name, len(truth))
            error = float(np.abs(found - truth).max() / truth.max())
            worst = max(worst, error)
            wrong += int((found.argmax(1) != truth.argmax(1)).any())

        started = time.perf_counter()
        await asyncio.gather(*(one(number) for number in range(count)))
        whole = time.perf_counter() - started
    p50, p99 = np.percentile(seconds, [50, 99])
    images = count * len(wanted[0])
    return {
        "requests": count,
        "lost": lost,
        "wrong": wrong,
        "relative_error": worst,
        "p50_ms": 1e3 * p50,
        "p99_ms": 1e3 * p99,
        "images_per_second": images / whole,
    }


def soften(logits: np.ndarray) -> np.ndarray:
    return torch.from_numpy(logits).softmax(1).numpy()


def measure(folder: Path, name: str) -> dict[str, Any]:
    """One case: in process, then through the server."""
    model_name, side, size, count = CASES[name]
    run = make_run(folder, model_name, side)
    model = open_models([f"run={run}"])["run"]
    rng = np.random.default_rng(0)
    images = [rng.normal(0.5, 0.3, (size, *model.contract.shape)).astype(np.float32) for _ in range(_DIFFERENT)]
    alone = time_in_process(model, np.concatenate(images)[:32])
    wanted = [soften(model.compute(one)) for one in images]
    scheme = model.contract.scheme
    said = {name: scheme[name] for name in ("key_fingerprint", "cipher")}
    bodies = [write_request(one, f"{number}", said) for number, one in enumerate(images)]
    del model
    queue = str(IN_FLIGHT * max(size, 32))
    words = ("serve", f"run={run}", "--port", str(PORT), "--max-queue", queue, "--timeout", "300")
    server = subprocess.Popen([sys.executable, "-m", "cipherlens", *words], stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{PORT}/v2/models/run"
        for _ in range(600):
            try:
                httpx.get(f"{url}/ready", trust_env=False)
                break
            except httpx.TransportError:
                time.sleep(0.2)
        asyncio.run(send_all(url, bodies, _DIFFERENT, wanted))
        found = asyncio.run(send_all(url, bodies, count, wanted))
    finally:
        server.terminate()
        server.wait(60)
    found |= {"images_a_request": size, "in_process": alone, "ratio": found["images_per_second"] / alone}
    return {"name": name, **found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", type=Path)
    parser.add_argument("--only", choices=CASES)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = [measure(Path(folder), name) for name in ([arguments.only] if arguments.only else CASES)]
    for row in rows:
        print(row)
    if arguments.record:
        write_record(
            arguments.record, "python benchmarks/measure/service_load.py", {"in_flight": IN_FLIGHT, "rows": rows}
        )


if __name__ == "__main__":
    main()
