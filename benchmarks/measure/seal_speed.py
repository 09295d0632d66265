"""Sealing against merely decoding: both in the same number of worker processes, alternating, one run.

python benchmarks/measure/seal_speed.py SOURCE [--workers 2] [--repeats 3] [--block 4] \\
        [--out results/seal-speed.json]
"""

import argparse
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from cipherlens.ciphers import create_cipher
from cipherlens.data.images import Preprocess
from cipherlens.data.sealed.reading import SealOptions
from cipherlens.data.sealed.seal import plan_job, seal
from cipherlens.data.sealed.shards import ShardTask
from cipherlens.data.sealed.workers import run_in_processes
from cipherlens.data.sources.registry import canonical_source, open_source
from cipherlens.keys import Key
from cipherlens.records import write_record

_source = {}


def start(spec: str) -> None:
    _source["it"] = open_source(spec)


def decode(task: ShardTask) -> int:
    """What any reader of these files must do: read, decode, stack."""
    items = _source["it"].read(task.split, task.indices)
    return len(np.stack([Preprocess().apply(item) for item in items]))


def time_decoding(spec: str, tasks: list[ShardTask], workers: int) -> float:
    started = time.perf_counter()
    list(run_in_processes(decode, tasks, workers, start, (spec,)))
    return time.perf_counter() - started


def time_sealing(spec: str, block: int, key: Key, workers: int) -> float:
    folder = Path(tempfile.mkdtemp())
    try:
        cipher = create_cipher("hill", block=block)
        return seal(spec, folder / "sealed", cipher, key, SealOptions(workers=workers, hold_out=0)).seconds
    finally:
        shutil.rmtree(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--block", type=int, default=4)
    parser.add_argument("--out", type=Path, default=Path("results/seal-speed.json"))
    options = parser.parse_args()
    spec, key = canonical_source(options.source), Key.generate()
    job = plan_job(spec, create_cipher("hill", block=options.block), key, SealOptions(hold_out=0))
    images = sum(job.spec.counts.values())
    decoding, sealing = [], []
    for _ in range(options.repeats):
        decoding.append(time_decoding(spec, job.tasks, options.workers))
        sealing.append(time_sealing(spec, options.block, key, options.workers))
        os.sync()
    results = {
        "images": images,
        "workers": options.workers,
        "block": options.block,
        "decode_seconds": decoding,
        "seal_seconds": sealing,
        "decode_images_per_second": images / statistics.median(decoding),
        "seal_images_per_second": images / statistics.median(sealing),
        "seal_speed_relative_to_decoding": statistics.median(decoding) / statistics.median(sealing),
    }
    name = Path(options.source).name
    write_record(options.out, f"python benchmarks/measure/seal_speed.py {name}", results)
    print(results)


if __name__ == "__main__":
    main()
