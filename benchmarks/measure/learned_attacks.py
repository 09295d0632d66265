"""What learned decryptors read of each scheme at 32x32, beside published figures.

python benchmarks/measure/learned_attacks.py --cifar10 CIFAR --out results/learned-attacks.json

Every attack runs under KEYS keys and once more for its two controls. Rows that the --out file has already are
kept, so that an interrupted run goes on where it stopped. ``itn``, ``gan`` and ``sia-gan`` see all SEEN ciphertexts
and have PUBLIC training pictures; ``itn-pairs`` knows SEEN pairs and is scored on SCORED other pictures.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

import cipherlens as cl
from cipherlens.data.sources.base import pick_evenly
from cipherlens.data.sources.registry import open_source
from cipherlens.evaluation.controls import run_controls
from cipherlens.evaluation.harness import evaluate, find_attack
from cipherlens.evaluation.target import Target
from cipherlens.records import write_record

SEEN, SCORED, PUBLIC = 1000, 1000, 2000
ATTACKS = ("itn-pairs", "itn", "gan", "sia-gan")
SCHEMES: tuple[dict[str, Any], ...] = (
    {"name": "le"},
    {"name": "ele"},
    {"name": "etc", "block": 4},
    {"name": "pe"},
    {"name": "negpos"},
    {"name": "hill", "block": 4},
    {"name": "shf", "block": 4},
    {"name": "etc", "block": 4, "per_image": True},
    {"name": "pe", "per_image": True},
)
PUBLISHED = {
    "source": "Qi 2022, SSIM of one image, read off a figure: doubtful; which keys is not said",
    "le": {"gan": 0.774, "itn": 0.407},
    "ele": {"gan": 0.021, "itn": 0.001},
    "etc": {"gan": 0.031, "itn": 0.529},
    "pe": {"gan": 0.010, "itn": 0.086},
}
COMMAND = "python benchmarks/measure/learned_attacks.py --cifar10 cifar10-jpeg"


Labelled = tuple[np.ndarray, np.ndarray]


def read(source: str, split: str, count: int) -> Labelled:
    """At most ``count`` pictures of a split, evenly spread, in random order, with their labels."""
    opened = open_source(source)
    chosen = np.random.default_rng(0).permutation(pick_evenly(opened.splits[split], count))
    pictures = np.stack([item.decode() for item in opened.read(split, chosen.tolist())])
    return pictures, opened.read_labels(split)[chosen]


def make_target(params: dict[str, Any], seen: Labelled, known: Labelled) -> Target:
    """Pictures under a new key."""
    (plain, labels), (public, public_labels) = seen, known
    cipher = cl.create_cipher(**params)
    bound = cipher.bind(cl.Key.generate(), plain.shape[1:])
    ct = bound.encrypt(plain, [f"test/{number}" for number in range(len(plain))])
    words = f"{len(public)} training images"
    return Target(cipher, plain, ct, public, words, labels=labels, public_labels=public_labels)


def list_jobs(keys: int) -> Iterator[dict[str, Any]]:
    """First every attack once, then its controls, then the other keys."""
    for run in (0, "controls", *range(1, keys)):
        for scheme in SCHEMES:
            for attack in ATTACKS:
                if run == "controls" and scheme.get("per_image"):
                    continue  # the same training as with one key, but for the victim's ciphertexts
                yield {"scheme": scheme, "attack": attack, "run": run}


def run_job(job: dict[str, Any], seen: Labelled, known: Labelled) -> dict[str, Any]:
    """One attack, or its two controls."""
    count = SEEN + SCORED if job["attack"] == "itn-pairs" else SEEN
    target = make_target(job["scheme"], (seen[0][:count], seen[1][:count]), known)
    attack = find_attack(job["attack"], target.cipher, target.plain_shape, target.sealed_shape)
    if job["run"] == "controls":
        return job | {"controls": [asdict(control) for control in run_controls(attack, target, SEEN)]}
    return job | evaluate(attack, target, SEEN, seed=job["run"]).to_json()


def load_rows(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_bytes())["results"]["rows"] if path.exists() else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cifar10", required=True)
    parser.add_argument("--keys", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    seen, known = read(options.cifar10, "test", SEEN + SCORED), read(options.cifar10, "train", PUBLIC)
    rows = load_rows(options.out)
    facts = {"seen": SEEN, "public": PUBLIC, "threads": torch.get_num_threads(), "published": PUBLISHED}
    for job in list_jobs(options.keys):
        if any(row.items() >= job.items() for row in rows):
            continue
        rows.append(run_job(job, seen, known))
        print(rows[-1], flush=True)
        write_record(options.out, f"{COMMAND} --keys {options.keys}", facts | {"rows": rows})


if __name__ == "__main__":
    main()
