"""Speed of every cipher.

    PYTHONPATH=. python benchmarks/measure/cipher_throughput.py IMAGENETTE --loops tests.reference.ciphers \
        --out results/cipher-throughput.json

Milliseconds per image on one core, medians of one run in which all take turns, beside a copy in memory, decoding a
JPEG photo of that size, and, where a module of such is named, the scheme's loop over images, blocks and pixels.
IMAGENETTE: the photos, for honest JPEG files; 32x32 ones are the same photos made small.
"""

import argparse
import importlib
import io
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from photos import read_photos
from PIL import Image

from cipherlens.ciphers import CIPHERS, create_cipher
from cipherlens.keys import Key
from cipherlens.records import write_record

CASES = {32: (256, 4), 224: (64, 8)}
VARIANTS = {**{name: (name, {}) for name in CIPHERS}, "patch, orthogonal": ("patch", {"orthogonal": True})}
VARIANTS["etc, a key per image"] = ("etc", {"per_image": True})
QUALITY = 90
LOOPED = (1, 101)


def to_jpeg(photo: Image.Image) -> bytes:
    buffer = io.BytesIO()
    photo.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def make_steps(images: np.ndarray, block: int, jpegs: list[bytes]) -> dict[str, Callable[[], object]]:
    key, shape = Key(bytes(range(32))), images.shape[1:]
    steps: dict[str, Callable[[], object]] = {
        "copy": images.copy,
        "decode JPEG": lambda: [np.asarray(Image.open(io.BytesIO(jpeg))) for jpeg in jpegs],
    }
    for label, (name, params) in VARIANTS.items():
        blocked = "block" in create_cipher(name).params
        bound = create_cipher(name, **params, **({"block": block} if blocked else {})).bind(key, shape)
        image_ids = range(len(images)) if params.get("per_image") else None
        steps[label] = lambda bound=bound, ids=image_ids: bound.encrypt(images, ids)
    return steps


def time_loop(loops: dict[str, Callable[..., Any]], label: str, images: np.ndarray, block: int) -> float | None:
    """Seconds an image of the plain loop, where there is one; its key schedule is not counted."""
    name, params = VARIANTS[label]
    if name not in loops or params.get("per_image"):
        return None
    blocked = {"block": block} if "block" in create_cipher(name).params else {}

    def run(count: int) -> float:
        started = time.perf_counter()
        loops[name](bytes(range(32)), images[:count], **params, **blocked)
        return time.perf_counter() - started

    few, many = (min(run(count) for _ in range(2)) for count in LOOPED)
    return (many - few) / (LOOPED[1] - LOOPED[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("imagenette")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--loops", help="module whose SCHEMES are functions (key, images, **params) in plain Python"
    )
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    slow = {} if options.loops is None else importlib.import_module(options.loops).SCHEMES
    cases = []
    for side, (count, block) in CASES.items():
        whole = [Image.fromarray(photo.transpose(1, 2, 0)) for photo in read_photos(options.imagenette, count)]
        photos = [photo.resize((side, side)) for photo in whole]
        images = np.stack([np.asarray(photo).transpose(2, 0, 1) for photo in photos])
        images = np.ascontiguousarray(images)
        steps = make_steps(images, block, [to_jpeg(photo) for photo in photos])
        times: dict[str, list[float]] = {label: [] for label in steps}
        for number in range(options.rounds + 1):
            for label, step in steps.items():
                started = time.perf_counter()
                step()
                if number:
                    times[label].append(1000 * (time.perf_counter() - started) / count)
        found = {label: statistics.median(values) for label, values in times.items()}
        loops = {label: time_loop(slow, label, images, block) for label in VARIANTS} if side == 32 else {}
        cases.append({"side": side, "images": count, "block": block, "milliseconds": found, "loop_seconds": loops})
        for label, value in found.items():
            print(f"{side:4} {label:22} {value:8.3f} ms, {value / found['decode JPEG']:6.2f} of a JPEG", flush=True)
    if options.out:
        write_record(
            options.out,
            "python benchmarks/measure/cipher_throughput.py IMAGENETTE"
            + (f" --loops {options.loops}" if options.loops else ""),
            {"quality": QUALITY, "cases": cases},
        )


if __name__ == "__main__":
    main()
