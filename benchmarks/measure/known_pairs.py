"""How many known pictures, and how many chosen ones, each scheme takes until every other picture is read.

python benchmarks/measure/known_pairs.py --cifar10 CIFAR [--imagenette IMAGENETTE] --out results/known-pairs.json

``pairs``: the fewest known pictures with which all others are exact, under all keys (doubled, then bisected);
``queries``: the fewest chosen ones. ``noisy_pairs``: the fewest with noise on all ciphertexts (standard deviation
one level) that bring back 99 % of the values within three levels. None: not with as many as were tried.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from photos import read_photos

import cipherlens as cl
from cipherlens.evaluation.harness import evaluate, find_attack
from cipherlens.evaluation.target import Target
from cipherlens.records import write_record

SCORED = 20
MOST = 256
CASES: tuple[tuple[str, dict[str, Any], dict[str, Any]], ...] = (  # scheme, parameters at 32x32, at 224x224
    ("hill", {"block": 4}, {"block": 8}),
    ("hill-mod256", {"block": 4}, {"block": 8}),
    ("pixel-permutation", {}, {}),
    ("block-scrambling", {"block": 4}, {"block": 16}),
    ("negpos", {}, {}),
    ("pe", {}, {}),
    ("np", {"block": 4}, {"block": 16}),
    ("shf", {"block": 4}, {"block": 16}),
    ("ffx", {"block": 4}, {"block": 16}),
    ("le", {"block": 4}, {"block": 4}),
    ("ele", {"block": 4}, {"block": 4}),
    ("etc", {"block": 8}, {"block": 16}),
    ("patch", {"block": 8}, {"block": 16}),
    ("patch", {"block": 4, "orthogonal": True}, {"block": 16, "orthogonal": True}),
)


def is_solved(target: Target, attack: str, budget: int, noise: bool) -> bool:
    result = evaluate(find_attack(attack, target.cipher, target.plain_shape, target.sealed_shape), target, budget)
    if not noise:
        return result.exact_values == 1
    difference = np.abs(result.reconstruction - target.images()[result.scored])
    return float((difference <= 3.5 / 255).mean()) >= 0.99


def find_fewest(targets: list[Target], attack: str, noise: bool) -> int | None:
    """The fewest pictures that solve all targets, or None if as many as there are do not."""

    def solves(budget: int) -> bool:
        return all(is_solved(target, attack, budget, noise) for target in targets)

    most = len(targets[0].plain) - SCORED
    high = 1
    while high <= most and not solves(high):
        high *= 2
    if high > most:
        return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if solves(middle) else (middle, high)
    return high


def make_targets(scheme: str, params: dict[str, Any], plain: np.ndarray, keys: int, noise: bool) -> list[Target]:
    targets = []
    for number in range(keys):
        cipher = cl.create_cipher(scheme, **params)
        bound = cipher.bind(cl.Key.generate(), plain.shape[1:])
        ct = bound.encrypt(plain)
        if noise:
            ct = add_noise(ct, number)
        targets.append(Target(cipher, plain, ct, None, "none", bound))
    return targets


def add_noise(ct: np.ndarray, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 1, ct.shape)
    if ct.dtype == np.uint8:
        return np.clip(np.rint(ct + noise), 0, 255).astype(np.uint8)
    return (ct + noise / 255).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cifar10", required=True)
    parser.add_argument("--imagenette", help="leave out the large pictures without it")
    parser.add_argument("--keys", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = []
    sources = [(options.cifar10, MOST)] + ([(options.imagenette, MOST // 8)] if options.imagenette else [])
    for place, (source, most) in enumerate(sources):
        plain = read_photos(source, SCORED + most)
        for scheme, *params in CASES:
            exact = make_targets(scheme, params[place], plain, options.keys, False)
            noisy = make_targets(scheme, params[place], plain, options.keys, True)
            row = {"cipher": scheme, "params": params[place], "side": plain.shape[2], "most": most}
            row["pairs"] = find_fewest(exact, "known-plaintext", False)
            row["queries"] = find_fewest(exact, "chosen-plaintext", False)
            row["noisy_pairs"] = find_fewest(noisy, "known-plaintext", True)
            rows.append(row)
            print(row, flush=True)
    if options.out:
        command = "python benchmarks/measure/known_pairs.py --cifar10 cifar10-jpeg"
        command += " --imagenette imagenette-224" if options.imagenette else ""
        write_record(options.out, command, {"keys": options.keys, "scored": SCORED, "rows": rows})


if __name__ == "__main__":
    main()
