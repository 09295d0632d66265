"""Several owners, one model: each has images, a key and a scheme of its own; one more joins without training.

    python benchmarks/measure/owners.py SOURCE --work DIR --images 5000 --test 2000 --out results/owners-NAME.json

Beside it one plain model is trained on all their images. What was trained stays in the folder DIR.
"""

import argparse
import json
import shutil
import time
from pathlib import Path

import numpy as np

from cipherlens.api.front_end import find_map
from cipherlens.api.joint import create_owner, join
from cipherlens.ciphers import create_cipher
from cipherlens.ciphers.estimated_inverse import EstimatedInverse
from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.data.sealed.seal import seal
from cipherlens.data.sealed.unseal import save_png
from cipherlens.data.sources.base import Source, pick_evenly
from cipherlens.data.sources.registry import open_source
from cipherlens.experiments.cells import load_or_make_key
from cipherlens.records import write_record
from cipherlens.training import TrainConfig, evaluate, fit, load_run
from cipherlens.training.front_end.adapt import adapt_run

SCHEMES = (
    {"name": "hill", "block": 4},
    {"name": "hill", "block": 4},
    {"name": "pixel-permutation"},
    {"name": "hill", "block": 4},
)
"""Of three owners, and of the one who joins."""
TOGETHER = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--images", type=int, default=5000, help="training images of each owner")
    parser.add_argument("--test", type=int, default=2000)
    parser.add_argument("--held-out", type=int, default=1000, help="photos that the attack knows")
    parser.add_argument("--train", default='{"model": "preresnet20", "epochs": 8, "batch_size": 32, "lr": 0.02}')
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    make_folders(options)
    owners = [seal_for(options, number) for number in range(len(SCHEMES))]
    config = {**json.loads(options.train), "threads": 1}
    maps, seconds = find_maps(options, owners[:TOGETHER])
    accuracies = [
        train_together(options, owners[:TOGETHER], {**config, "seed": seed}, maps) for seed in options.seeds
    ]
    plain = [train_plain(options, {**config, "seed": seed}) for seed in options.seeds]
    joined = join_last(options, options.work / f"together-{options.seeds[0]}", owners[-1])
    results = {
        "source": Path(options.source).name,
        "images_each": options.images,
        "test_images": options.test,
        "training": json.loads(options.train),
        "schemes": SCHEMES,
        "seeds": options.seeds,
        "accuracies": accuracies,
        "seconds_to_read_all": seconds,
        "plain": plain,
        "joined": joined,
    }
    print(json.dumps(results))
    command = (
        f"python benchmarks/measure/owners.py {results['source']} --images {options.images} --test {options.test} "
        f"--seeds {' '.join(map(str, options.seeds))}"
    )
    write_record(options.out, command, results)


def make_folders(options) -> None:
    """A folder of images for each owner, one with all of them, and photos that nobody seals."""
    if (options.work / "held-out").exists():
        return
    source, each = open_source(options.source), options.images
    order = np.random.default_rng(0).permutation(source.splits["train"])
    tested = pick_evenly(source.splits["test"], options.test)
    for number in range(len(SCHEMES)):
        chosen = order[number * each : (number + 1) * each]
        for folder in (f"owner-{number}", *(["all"] if number < TOGETHER else [])):
            write(source, "train", chosen, options.work / folder / "train")
            write(source, "test", tested, options.work / folder / "test")
    start = len(SCHEMES) * each
    write(source, "train", order[start : start + options.held_out], options.work / "held-out" / "train")


def write(source: Source, split: str, chosen: np.ndarray, folder: Path) -> None:
    for index, item in zip(chosen, source.read(split, chosen.tolist()), strict=True):
        path = folder / source.classes[item.label] / f"{index:06d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_png(item.decode(), path)


def seal_for(options, number: int) -> SealedDataset:
    key = load_or_make_key(options.work / f"key-{number}")
    out = options.work / f"sealed-{number}"
    seal(str(options.work / f"owner-{number}"), out, create_cipher(**SCHEMES[number]), key)
    return SealedDataset.open(out)


def find_maps(options, owners: list[SealedDataset]) -> tuple[list[EstimatedInverse], float]:
    begun = time.perf_counter()
    maps = [find_map(owner, "train", str(options.work / "held-out")) for owner in owners]
    return maps, time.perf_counter() - begun


def train_together(options, owners: list[SealedDataset], config: dict, maps: list[EstimatedInverse]) -> list[float]:
    """Accuracy on the images of each owner."""
    train_set, test_set, records = join(owners, "train", "standardize")
    out = options.work / f"together-{config['seed']}"
    settings = TrainConfig.from_json({**config, "adapt_block": 4, "start": "ciphertexts"})
    fit(settings, train_set, test_set, out, owners[0].spec.to_json(), find_maps=lambda: maps, owners=records)
    runs = [(load_run(out, "last", owner=owner.spec.key_fingerprint), owner) for owner in owners]
    return [evaluate(run, owner.split("test"))["accuracy"] for run, owner in runs]


def train_plain(options, config: dict) -> float:
    source, key = str(options.work / "all"), load_or_make_key(options.work / "key-0")
    seal(source, options.work / "plain", create_cipher("identity"), key)
    dataset = SealedDataset.open(options.work / "plain")
    sets = dataset.split("train"), dataset.split("test")
    out = options.work / f"plain-run-{config['seed']}"
    accuracy = fit(TrainConfig.from_json(config), *sets, out).last.test_accuracy
    assert accuracy is not None
    return accuracy


def join_last(options, joint: Path, owner: SealedDataset) -> dict:
    """The fourth owner: seconds until the model answers, and how well it does."""
    out = options.work / "joined"
    shutil.rmtree(out, ignore_errors=True)  # each run measures the time anew
    begun = time.perf_counter()
    start = {"start": "ciphertexts"}

    def find():
        return find_map(owner, "train", str(options.work / "held-out"))

    adapt_run(joint, out, create_owner(owner, "train", "standardize"), owner.split("train"), find, start)
    seconds = time.perf_counter() - begun
    run = load_run(out, "last", owner=owner.spec.key_fingerprint)
    return {"seconds": seconds, "accuracy": evaluate(run, owner.split("test"))["accuracy"]}


if __name__ == "__main__":
    main()
