"""Time of locked models against plain ones.

    python benchmarks/measure/locked_speed.py --out results/locked-speed.json

Medians of one run in which all variants take turns, in an order drawn anew for every round. Plain models are
measured in both memory layouts; ratios are to the faster one. The deformable backend is measured after the others,
beside that plain model, because its large buffers slow down whatever comes next.
"""

import argparse
import copy
import random
import statistics
import time
from pathlib import Path

import torch

import cipherlens as cl
from cipherlens.memory import disable_malloc_trim
from cipherlens.records import write_record

CASES = (("vgg16_cifar", 32, 64), ("resnet50", 224, 8))
PLAIN = ("plain", "plain, channels last")
DEFORM = "locked, inner shuffled, deform"
PRECISIONS = {"float32": torch.float32, "bf16": torch.bfloat16}


def build(name: str, side: int, batch: int) -> tuple[dict, list[float]]:
    plain = cl.create_model(name, 10).eval()
    bound = cl.create_cipher("pixel-permutation").bind(cl.Key.generate(), (3, side, side))
    images = torch.rand(batch, 3, side, side)
    ct = bound.encrypt(images)
    last = torch.channels_last
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        cl.lock(plain, bound)
        seconds.append(time.perf_counter() - started)
    variants = {
        "plain": (plain, images),
        "plain, channels last": (copy.deepcopy(plain).to(memory_format=last), images.to(memory_format=last)),
        "locked, inner plain": (cl.lock(plain, bound, "plain"), ct),
        "locked, inner shuffled": (cl.lock(plain, bound), ct),
        DEFORM: (cl.lock(plain, bound, backend="deform"), ct),
    }
    return variants, seconds


def measure(variants: dict, precision: torch.dtype, rounds: int) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in variants}
    enabled = precision == torch.bfloat16
    for number in range(rounds + 1):
        for name, (model, images) in random.sample(list(variants.items()), len(variants)):
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                started = time.perf_counter()
                model(images)
                elapsed = time.perf_counter() - started
            if number:  # the first round warms up
                times[name].append(elapsed)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    disable_malloc_trim()  # as every run does that is loaded
    rows = []
    for name, side, batch in CASES:
        variants, seconds = build(name, side, batch)
        for label, precision in PRECISIONS.items():
            dense = {variant: pair for variant, pair in variants.items() if variant != DEFORM}
            found = measure(dense, precision, options.rounds)
            best = min(PLAIN, key=lambda variant: found[variant])
            ratio = {variant: value / found[best] for variant, value in found.items()}
            last = measure({name: variants[name] for name in (best, DEFORM)}, precision, options.rounds // 4)
            ratio[DEFORM] = last[DEFORM] / last[best]
            row = {
                "model": name,
                "side": side,
                "batch": batch,
                "precision": label,
                "seconds": found,
                "ratio": ratio,
            }
            row |= {"lock_seconds": statistics.median(seconds), "threads": torch.get_num_threads()}
            rows.append(row)
            print(name, label, {k: round(v, 3) for k, v in row["ratio"].items()}, row["lock_seconds"], flush=True)
    if options.out:
        write_record(
            options.out, "python benchmarks/measure/locked_speed.py", {"rounds": options.rounds, "rows": rows}
        )


if __name__ == "__main__":
    main()
