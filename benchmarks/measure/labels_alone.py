"""How far labels alone take an adaptation network: starts, learning rates of its own, a frozen backbone first.

    python benchmarks/measure/labels_alone.py SOURCE --work DIR --block 4 --limit 10000 \\
        --weights RUN/last.safetensors --out results/labels-alone-NAME.json

Every cell is one training. Its front end's pictures are scored beside guessing, after the best affine fit per
channel. ``--weights`` are of a network that was trained on plain images of other classes. What was trained stays in
the folder DIR, and a rerun continues there.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from cipherlens.api.front_end import find_map
from cipherlens.attacks.model.adaptation import AdaptationAttack
from cipherlens.ciphers import create_cipher
from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.data.sealed.reading import SealOptions
from cipherlens.data.sealed.seal import seal
from cipherlens.evaluation.harness import evaluate
from cipherlens.evaluation.load import load_target
from cipherlens.experiments.cells import load_or_make_key
from cipherlens.records import write_record
from cipherlens.training import TrainConfig, fit

SCORED = 200
FROZEN = {"warm_up": 2, "lr": 0.02}
"""Of pretrained backbones: the rate of fresh ones made one diverge."""
CELLS: dict[str, dict[str, Any]] = {
    "random": {},
    "random, own rate": {"adapt_lr": 0.02},
    "whitened, own rate": {"start": "whitened", "adapt_lr": 0.02},
    "ciphertexts": {"start": "ciphertexts"},
    "ciphertexts, own rate": {"start": "ciphertexts", "adapt_lr": 0.002},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--block", type=int, required=True)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--train", default='{"model": "preresnet20", "epochs": 4, "batch_size": 64, "lr": 0.1}')
    parser.add_argument("--weights", type=Path, help="where the backbones start that are not fresh")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    backbones = {"fresh": {}}
    if options.weights is not None:
        backbones["pretrained"] = {"weights": str(options.weights.resolve()), **FROZEN}
    sealed, plain = (
        seal_for(options, {"name": "hill", "block": options.block}),
        seal_for(options, {"name": "identity"}),
    )
    rows = []
    for seed in options.seeds:
        for backbone, settings in backbones.items():
            own = {
                name: value for name, value in settings.items() if name != "warm_up"
            }  # plain images need no adaptation network
            rows.append({**train(options, plain, f"plain {backbone}", seed, own), "backbone": backbone})
            for name, cell in CELLS.items():
                label = f"{name} {backbone}"
                row = train(options, sealed, label, seed, {"adapt_block": options.block, **settings, **cell})
                rows.append({**row, "backbone": backbone, "start": name, **decrypt(options, sealed, label, seed)})
                print(json.dumps(rows[-1]), flush=True)
    write_record(
        options.out,
        f"python benchmarks/measure/labels_alone.py {Path(options.source).name} --block {options.block} "
        f"--limit {options.limit} --seeds {' '.join(map(str, options.seeds))}",
        {
            "source": Path(options.source).name,
            "cipher": {"name": "hill", "block": options.block},
            "images": sealed.splits,
            "training": json.loads(options.train),
            "frozen_first": FROZEN,
            "cells": CELLS,
            "scored_pictures": SCORED,
            "rows": rows,
        },
    )


def seal_for(options, cipher: dict) -> SealedDataset:
    folder = options.work / cipher["name"]
    if not (folder / "manifest.json").exists():
        key = load_or_make_key(options.work / "key")
        seal(options.source, folder, create_cipher(**cipher), key, SealOptions(limit=options.limit))
    return SealedDataset.open(folder)


def find_run(options, label: str, seed: int) -> Path:
    return options.work / f"run-{seed}-{label.replace(', ', '-').replace(' ', '-')}"


def train(options, dataset: SealedDataset, label: str, seed: int, settings: dict) -> dict:
    config = TrainConfig.from_json({"threads": 1, **json.loads(options.train), **settings, "seed": seed})
    sets, facts = (dataset.split("train"), dataset.split("test")), dataset.spec.to_json()
    out = find_run(options, label, seed)
    result = fit(config, *sets, out, facts, find_maps=lambda: [find_map(dataset, "train")])
    return {"seed": seed, "accuracy": result.last.test_accuracy}


def decrypt(options, dataset: SealedDataset, label: str, seed: int) -> dict:
    target = load_target(dataset, options.source, "test", SCORED, "parametric")
    found = evaluate(AdaptationAttack(find_run(options, label, seed)), target, SCORED, 0)
    return {"ssim": found.ssim, "guess_ssim": found.guess_ssim}


if __name__ == "__main__":
    main()
