"""How much of moved, turned, inverted and recoloured blocks a jigsaw puzzle solver puts back.

python benchmarks/measure/jigsaw.py --cifar10 CIFAR [--imagenette IMAGENETTE] --out results/jigsaw.json

From ciphertexts alone: every picture under a key of its own (mean and range over ``--pictures``, as with a key per
image), and 10 and 100 pictures under one key (mean and range over ``--keys``,
other pictures with each). ``direct``, ``neighbours`` and
``largest`` are Dc, Nc, Lc of the literature (see ``audit/jigsaw_scores.py``); ``seconds`` are those of one run, for
one picture or all pictures of a key. The photos on which the attack's constants were chosen, among those that
``read_photos`` gives for 20 and 200, are left out.
"""

import argparse
import statistics
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from photos import read_photos

import cipherlens as cl
from cipherlens.attacks import ATTACKS
from cipherlens.evaluation.harness import evaluate
from cipherlens.evaluation.jigsaw_scores import score_placement
from cipherlens.evaluation.target import Target
from cipherlens.records import write_record

JIGSAW = ATTACKS["jigsaw"]
SCHEMES = ("block-scrambling", "etc")
BLOCKS = {32: (4, 8), 224: (16, 32)}
BUDGETS = (10, 100)
PUBLIC = 100
SEEN = {32: 200, 224: 20}


def read_unseen(source: str, count: int) -> NDArray[np.uint8]:
    """So many test photos of all classes, none of which the constants were chosen on."""
    photos = read_photos(source, 2 * count + 1)
    seen = {photo.tobytes() for photo in read_photos(source, SEEN[photos.shape[2]])}
    unseen = np.stack([photo for photo in photos if photo.tobytes() not in seen])
    return np.random.default_rng(0).permutation(unseen)[:count]


def attack(scheme: str, block: int, plain: NDArray[np.uint8], public: NDArray[np.uint8]) -> dict[str, float]:
    """Attack pictures under one new key."""
    cipher = cl.create_cipher(scheme, block=block)
    bound = cipher.bind(cl.Key.generate(), plain.shape[1:])
    target = Target(cipher, plain, bound.encrypt(plain), public, "other photos", bound)
    found = evaluate(JIGSAW, target, len(plain))
    scores = score_placement(bound, found.details["placements"][0])
    return vars(scores) | {
        "ssim": found.ssim,
        "guess_ssim": found.guess_ssim,
        "exact_pixels": found.exact_values,
        "seconds": found.seconds,
    }


def summarize(results: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    return {
        name: {
            "mean": statistics.mean(result[name] for result in results),
            "min": min(result[name] for result in results),
            "max": max(result[name] for result in results),
        }
        for name in results[0]
    }


def measure(source: str, pictures: int, keys: int) -> list[dict[str, Any]]:
    photos = read_unseen(source, max(keys * max(BUDGETS), pictures) + PUBLIC)
    plain, public = photos[:-PUBLIC], photos[-PUBLIC:]
    rows = []
    for scheme in SCHEMES:
        for block in BLOCKS[plain.shape[2]]:
            for budget in (1, *BUDGETS):
                parts = [plain[k * budget : (k + 1) * budget] for k in range(pictures if budget == 1 else keys)]
                results = [attack(scheme, block, part, public) for part in parts]
                row = {
                    "cipher": scheme,
                    "block": block,
                    "side": plain.shape[2],
                    "budget": budget,
                    "runs": len(results),
                }
                rows.append(row | summarize(results))
                print(
                    row, {name: round(value["mean"], 3) for name, value in summarize(results).items()}, flush=True
                )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cifar10", required=True)
    parser.add_argument("--imagenette", help="leave out the large pictures without it")
    parser.add_argument("--pictures", type=int, default=20)
    parser.add_argument("--keys", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = []
    for source in filter(None, (options.cifar10, options.imagenette)):
        rows += measure(source, options.pictures, options.keys)
    if options.out:
        command = "python benchmarks/measure/jigsaw.py --cifar10 cifar10-jpeg"
        command += " --imagenette imagenette-224" if options.imagenette else ""
        write_record(options.out, command, {"pictures": options.pictures, "keys": options.keys, "rows": rows})


if __name__ == "__main__":
    main()
