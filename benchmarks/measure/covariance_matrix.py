"""What `covariance` reads of photos of each origin with photos of each other one, its own, or none.

python benchmarks/measure/covariance_matrix.py --imagenette DIR --camvid DIR --cifar10 DIR --work DIR
    [--block 8] [--part 1/2] [--out results/prior-matrix-8x8.json]

Hill, one key, the same test images in all cells of an origin and budget; public photos are training images. What
was measured on the attacked origin is left out. Each cell is a file in WORK, so that a run that was stopped goes
on, and several runs can take parts. The record is written when all cells are there.
"""

import argparse
import itertools
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.attacks.base import View, to_unit
from cipherlens.attacks.covariance.attack import CovarianceAttack
from cipherlens.ciphers import create_cipher
from cipherlens.data.sources.base import pick_evenly
from cipherlens.data.sources.registry import open_source
from cipherlens.errors import CipherlensError
from cipherlens.evaluation.metrics import mean_similarity
from cipherlens.keys import Key
from cipherlens.records import write_record

ORIGINS = ("imagenette", "camvid", "cifar10")
BUDGETS = (100, 10, 400, 1)
ALONE, FEWER_ALONE = (20, 5), (5, 2)
"""Single photos, each attacked alone: without photos and with, which takes longer; fewer in blocks above 8x8."""
PUBLIC = {"imagenette": 200, "camvid": 200, "cifar10": 2_000}
SCORED = 100
NONE = "none"


def read(place: str, split: str, count: int) -> NDArray[np.uint8]:
    source = open_source(place)
    chosen = pick_evenly(source.splits[split], min(count, source.splits[split])).tolist()
    return np.stack([item.decode() for item in source.read(split, chosen)])


def run(places: dict[str, str], origin: str, prior: str, block: int, budget: int) -> dict[str, Any]:
    alone = (ALONE if block <= 8 else FEWER_ALONE)[prior != NONE]
    plain = read(places[origin], "test", alone if budget == 1 else budget)
    public = None if prior == NONE else to_unit(read(places[prior], "train", PUBLIC[prior]))
    cipher = create_cipher("hill", block=block)
    ct = np.asarray(cipher.bind(Key(bytes(range(32))), plain.shape[1:]).encrypt(plain), np.float32)
    attack = CovarianceAttack().leave_out(origin)
    groups = [slice(i, i + 1) for i in range(len(plain))] if budget == 1 else [slice(None)]
    begun, scores, believed = time.perf_counter(), [], set()
    for group in groups:
        starts = attack.count_starts(cipher.structure(plain.shape[1:])) if public is not None else 1
        found = attack.execute(View(cipher, ct[group], public, starts=starts))
        scores.append(mean_similarity(found.reconstruction[:SCORED], to_unit(plain[group][:SCORED])))
        believed.add(str(found.details["prior"]))
    seconds = (time.perf_counter() - begun) / len(groups)
    return {"ssim": statistics.mean(scores), "n": len(plain), "believed": sorted(believed), "seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ORIGINS:
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--part", default="1/1")
    parser.add_argument("--block", type=int, default=8)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    block = options.block
    places = {name: getattr(options, name) for name in ORIGINS}
    part, parts = map(int, options.part.split("/"))
    cells = list(itertools.product(BUDGETS, ORIGINS, (NONE, *ORIGINS)))
    options.work.mkdir(parents=True, exist_ok=True)
    files = [options.work / f"{origin}-{prior}-{block}-{budget}.json" for budget, origin, prior in cells]
    for file, (budget, origin, prior) in list(zip(files, cells, strict=True))[part - 1 :: parts]:
        if file.exists():
            continue
        cell = {"origin": origin, "prior": prior, "ciphertexts": budget}
        try:
            cell |= run(places, origin, prior, block, budget)
        except CipherlensError as error:  # too few blocks
            cell["refused"] = str(error.args[0])
        print(cell, flush=True)
        file.write_text(json.dumps(cell))
    if all(file.exists() for file in files):
        rows = [json.loads(file.read_text()) for file in files]
        write_record(
            options.out or Path(f"results/prior-matrix-{block}x{block}.json"),
            f"python benchmarks/measure/covariance_matrix.py --block {block}",
            {"cipher": "hill", "block": block, "rows": rows},
        )


if __name__ == "__main__":
    main()
