"""Sealing and reading beyond a folder: by URL against by path, and memory at 1,000, 10,000 and 100,000 images.

python benchmarks/measure/storage_scale.py --cifar10 CIFAR [--repeats 3] [--out results/storage-scale.json]

The same JPEG files are sealed from and to a path and a file:// URL, in turn, and once by an S3 server on this
machine (moto).

Memory is the peak of what a process has for itself (RssAnon); mapped files are the system's to drop. It is measured
in a new process for sealing (one worker) and for reading all images in batches of random order.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
from s3_server import open_bucket

from cipherlens.ciphers import create_cipher
from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.data.sealed.reading import SealOptions
from cipherlens.data.sealed.seal import seal
from cipherlens.data.sources.registry import open_source
from cipherlens.keys import Key
from cipherlens.records import write_record

COUNTS = (1_000, 10_000, 100_000)
SPEED_COUNT = 10_000
CIPHER = create_cipher("hill", block=4)
_PICK = 0.02
"""Seconds between two looks at the memory."""


def write_photos(cifar: str, folder: Path, count: int) -> None:
    """``count`` JPEG files in ten class folders; after 50,000 the same pictures again, under other names."""
    source = open_source(cifar)
    available = source.splits["train"]
    for start in range(0, count, 1000):
        numbers = np.arange(start, min(start + 1000, count))
        for number, item in zip(numbers, source.read("train", (numbers % available).tolist()), strict=True):
            place = folder / source.classes[item.label]
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{number:06d}.jpg").write_bytes(item.content)


class Watch:
    """The peak of this process's own memory in bytes."""

    def __enter__(self) -> "Watch":
        self.peak, self._over = 0, threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def _look(self) -> None:
        while not self._over.wait(_PICK):
            lines = Path("/proc/self/status").read_text().splitlines()
            found = next(line for line in lines if line.startswith("RssAnon"))
            self.peak = max(self.peak, int(found.split()[1]) << 10)

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def work(kind: str, source: str, out: str) -> None:
    """In a process of its own: seal, or read; prints the peak."""
    with Watch() as watch:
        if kind == "seal":
            seal(source, out, CIPHER, Key(bytes(range(32))), SealOptions(hold_out=0))
        else:
            split = SealedDataset.open(out).split("all")
            for batch in np.array_split(
                np.random.default_rng(0).permutation(len(split)), max(1, len(split) // 128)
            ):
                split.read(batch)
    print(json.dumps(watch.peak))


def measure_memory(cifar: str, folder: Path) -> list[dict[str, float]]:
    rows = []
    for count in COUNTS:
        photos, out = folder / f"photos-{count}", folder / f"set-{count}"
        write_photos(cifar, photos, count)
        peaks = {}
        for kind in ("seal", "read"):
            command = [sys.executable, __file__, "--work", kind, str(photos), str(out)]
            peaks[kind] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
        rows.append({"images": count, "seal_peak": peaks["seal"], "read_peak": peaks["read"], "set_bytes": size})
        print(rows[-1], flush=True)
    return rows


def measure_speed(folder: Path, repeats: int) -> dict[str, list[float]]:
    photos = folder / f"photos-{SPEED_COUNT}"
    places = {"path": (str(photos), str(folder)), "file": (photos.as_uri(), folder.as_uri())}
    seconds: dict[str, list[float]] = {name: [] for name in places}
    for number in range(repeats):
        for name, (source, out) in places.items():
            seconds[name].append(time_sealing(source, f"{out}/{name}-{number}"))
    with open_bucket(5555) as bucket:  # once: the server of the tests takes a minute, most of which is its own
        bucket.system.put(str(photos), f"{bucket.path}/photos", recursive=True)
        seconds["s3"] = [time_sealing(str(bucket / "photos"), str(bucket / "set"))]
    print(seconds, flush=True)
    return seconds


def time_sealing(source: str, out: str) -> float:
    return seal(source, out, CIPHER, Key.generate(), SealOptions(hold_out=0, workers=2)).seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cifar10")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("results/storage-scale.json"))
    parser.add_argument("--work", nargs=3)
    options = parser.parse_args()
    if options.work:
        work(*options.work)
        return
    with tempfile.TemporaryDirectory() as folder:
        memory = measure_memory(options.cifar10, Path(folder))
        seconds = measure_speed(Path(folder), options.repeats)
    medians = {name: statistics.median(found) for name, found in seconds.items()}
    results = {
        "cipher": "hill 4x4",
        "photos": "CIFAR-10 as JPEG, 32x32",
        "memory": memory,
        "speed_images": SPEED_COUNT,
        "workers": 2,
        "seconds": seconds,
        "images_per_second": {name: SPEED_COUNT / found for name, found in medians.items()},
        "speed_relative_to_path": {name: medians["path"] / found for name, found in medians.items()},
    }
    write_record(options.out, "python benchmarks/measure/storage_scale.py --cifar10 CIFAR", results)


if __name__ == "__main__":
    main()
