"""Pixel permutations from ciphertexts only: how many it takes at which size, and how long.

python benchmarks/measure/correlation_scaling.py --cifar10 CIFAR --imagenette IMAGENETTE \\
        --out results/correlation.json

Places in the right position up to the symmetries of a square, how far off the others are, SSIM of the pictures laid
in the best of the eight ways; several keys. 32x32: CIFAR-10; larger: photos, at 64x64 reduced to that size.
Attacked are test images; the public ones are training images, and of no use above 64x64. Rows that
--out already has are kept.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import cipherlens as cl
from cipherlens.attacks import View
from cipherlens.attacks.base import to_unit
from cipherlens.attacks.positions.pixel_correlation import find_source
from cipherlens.ciphers import create_cipher
from cipherlens.data.sources.base import pick_evenly
from cipherlens.data.sources.registry import open_source
from cipherlens.evaluation.metrics import score
from cipherlens.records import write_record

CASES = (
    *((32, 1000, 3, 2000), (32, 300, 3, 2000), (32, 100, 3, 2000), (32, 50, 3, 2000), (32, 1000, 3, 0)),
    *((64, 1000, 3, 2000), (64, 300, 3, 2000), (64, 100, 1, 2000), (64, 1000, 3, 0)),
    *((224, 1000, 3, 0), (224, 300, 1, 0), (224, 100, 1, 0)),
)
"""Side, ciphertexts, keys, public images."""
_SCORED = 200


def read(source: str, split: str, count: int, side: int) -> NDArray[np.uint8]:
    opened = open_source(source)
    chosen = pick_evenly(opened.splits[split], count).tolist()
    pictures = [item.decode() for item in opened.read(split, chosen)]
    if pictures[0].shape[1] == side:
        return np.stack(pictures)
    small = [Image.fromarray(p.transpose(1, 2, 0)).resize((side, side), Image.Resampling.BOX) for p in pictures]
    return np.stack([np.asarray(picture).transpose(2, 0, 1) for picture in small])


def measure(plain: NDArray[np.uint8], public: NDArray[np.uint8] | None) -> dict[str, float]:
    """One key: share of places right, mean distance from the right place in pixels, SSIM, seconds."""
    side = plain.shape[2]
    cipher = cl.create_cipher("pixel-permutation").bind(cl.Key.generate(), plain.shape[1:])
    ct = cipher.encrypt(plain)
    started = time.perf_counter()
    source, _ = find_source(
        View(create_cipher("pixel-permutation"), to_unit(ct), None if public is None else to_unit(public))
    )
    seconds = time.perf_counter() - started
    numbers = np.arange(side * side, dtype=np.int64)
    low, high = (
        cipher.encrypt(part.astype(np.uint8).reshape(1, 1, side, side).repeat(3, 1))[0, 0].ravel()
        for part in (numbers % 256, numbers // 256)
    )
    laid = (low.astype(np.int64) + 256 * high.astype(np.int64))[source].reshape(
        side, side
    )  # whose value lies where
    ways = [np.rot90(view, turns) for view in (laid, laid[:, ::-1]) for turns in range(4)]
    best = max(ways, key=lambda way: (way.ravel() == numbers).mean()).ravel()
    away = np.hypot(best // side - numbers // side, best % side - numbers % side)
    shown = plain[:_SCORED].reshape(-1, 3, side * side)[:, :, best].reshape(-1, 3, side, side)
    truth = plain[:_SCORED].astype(np.float32) / 255
    ssim = float(score(shown.astype(np.float32) / 255, truth).ssim.mean())
    return {
        "right": float((away == 0).mean()),
        "displacement": float(away.mean()),
        "ssim": ssim,
        "seconds": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cifar10", required=True)
    parser.add_argument("--imagenette", required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    rows = json.loads(options.out.read_text())["results"]["rows"] if options.out.exists() else []
    known = {(row["side"], row["ciphertexts"], row["prior"]) for row in rows}
    for side, count, keys, prior in CASES:
        if (side, count, prior) in known:
            continue
        source = options.cifar10 if side == 32 else options.imagenette
        plain = read(source, "test", count, side)
        public = read(source, "train", prior, side) if prior else None
        found = [measure(plain, public) for _ in range(keys)]
        rows.append({"side": side, "ciphertexts": count, "keys": keys, "prior": prior, "per_key": found})
        print(rows[-1], flush=True)
        write_record(
            options.out,
            "python benchmarks/measure/correlation_scaling.py --cifar10 CIFAR --imagenette IMAGENETTE",
            {"rows": rows},
        )


if __name__ == "__main__":
    main()
