"""Front ends that an attack finds: pictures, a pretrained network as it is, and training from there.

    python benchmarks/measure/read_first.py SOURCE --work DIR --block 8 --model NAME --priors held-out none \\
        elsewhere=SOURCE --out results/NAME.json

Each key seals the same images. "held-out" are photos of the source that are not sealed. "random" and "whitened" are
starts of batchnorm-match, without an attack. What was trained stays in the folder DIR, and a rerun continues there.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from cipherlens.api.front_end import count_images, find_map
from cipherlens.api.joint import create_owner
from cipherlens.attacks.base import View
from cipherlens.attacks.model.batchnorm_match import STEPS, begin, refine
from cipherlens.attacks.model.networks import load_prior_network
from cipherlens.ciphers import create_cipher
from cipherlens.ciphers.estimated_inverse import BlockInverse, EstimatedInverse, Target
from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.data.sealed.reading import SealOptions
from cipherlens.data.sealed.seal import seal
from cipherlens.data.sealed.unseal import save_png
from cipherlens.data.sources.base import pick_evenly
from cipherlens.data.sources.registry import open_source
from cipherlens.evaluation.load import PARAMETRIC, load_view
from cipherlens.evaluation.metrics import mean_similarity
from cipherlens.evaluation.recognition import RECOGNISED
from cipherlens.experiments.cells import load_or_make_key
from cipherlens.experiments.settings import find_weights
from cipherlens.records import write_record
from cipherlens.training import TrainConfig, evaluate, fit, load_run
from cipherlens.training.front_end.pretrained import adapt_pretrained, cut_classes
from cipherlens.training.recipes import recommend
from cipherlens.training.run.checkpoint import save_tensors
from cipherlens.training.run.record import read_record

SCORED = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--block", type=int, required=True)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--held-out", type=int, default=400)
    parser.add_argument("--keys", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--priors", nargs="*", default=["held-out", "none"])
    parser.add_argument("--model", required=True)
    parser.add_argument("--weights")
    parser.add_argument(
        "--own-classes", action="store_true", help="training keeps the network's own rows of the classes"
    )
    parser.add_argument("--as-it-is", action="store_true", help="the pretrained network without training")
    parser.add_argument("--plain", action="store_true", help="the same training on plain images too")
    parser.add_argument("--match", help="a public network: also the map that batchnorm-match makes of each")
    parser.add_argument("--match-weights", type=Path)
    parser.add_argument("--train", help="settings of the training, JSON; leave away for none")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    weights = None if options.weights is None else find_weights(options.weights)
    rows = []
    for number in options.keys:
        dataset = seal_for(options, number, {"name": "hill", "block": options.block})
        for prior in options.priors:
            rows.append(measure(options, dataset, number, prior, weights))
            print(json.dumps(rows[-1]), flush=True)
    plain = measure_plain(options, weights)
    print(json.dumps(plain), flush=True)
    arguments = [
        f"--block {options.block}",
        f"--model {options.model}",
        f"--priors {' '.join(map(name, options.priors))}",
    ]
    arguments += [f"--limit {options.limit}"] * (options.limit is not None)
    arguments += ["--own-classes"] * options.own_classes
    arguments += [f"--match {Path(options.match).name}"] if options.match is not None else []
    write_record(
        options.out,
        f"python benchmarks/measure/read_first.py {Path(options.source).name} {' '.join(arguments)}",
        {
            "source": Path(options.source).name,
            "cipher": {"name": "hill", "block": options.block},
            "images": SealedDataset.open(options.work / f"sealed-{options.keys[0]}").splits,
            "model": options.model,
            "training": None if options.train is None else choose_settings(options),
            "own_classes": options.own_classes,
            "scored_pictures": SCORED,
            "plain": plain,
            "summary": summarize(rows),
            "rows": rows,
        },
    )


def choose_settings(options) -> dict:
    """Settings of the training: the model's recipe, and what was asked for."""
    return recommend(options.model, pictures=True) | json.loads(options.train)


def name(prior: str) -> str:
    return prior.partition("=")[0]


def seal_for(options, number: int, cipher: dict) -> SealedDataset:
    folder = options.work / ("plain" if cipher["name"] == "identity" else f"sealed-{number}")
    key = load_or_make_key(options.work / f"key-{number}")
    if not (folder / "manifest.json").exists():
        seal(options.source, folder, create_cipher(**cipher), key, SealOptions(limit=options.limit))
    return SealedDataset.open(folder)


def open_prior(options, prior: str) -> str | None:
    """A source of photos: of another origin, or those that nobody seals, as files."""
    if prior == "none":
        return None
    if prior != "held-out":
        return prior.partition("=")[2]
    folder = options.work / "held-out"
    if not folder.exists():
        source = open_source(options.source)
        count = source.splits["train"]
        rest = np.setdiff1d(np.arange(count), pick_evenly(count, options.limit))
        items = source.read("train", rest[pick_evenly(len(rest), options.held_out)].tolist())
        (folder / "photos").mkdir(parents=True)
        for index, item in enumerate(items):
            save_png(item.decode(), folder / "photos" / f"{index:05d}.png")
    return str(folder)


def measure(options, dataset: SealedDataset, number: int, prior: str, weights: Path | None) -> dict:
    """Scores of one key and one prior."""
    label = f"{number}-{name(prior)}"
    inverse, seconds = load_or_find(options, dataset, label, prior)
    row = {"key": number, "prior": name(prior), "seconds": seconds, "ssim": score(options, dataset, inverse)}
    if options.match is not None:
        row |= match(options, dataset, inverse)
    if options.as_it_is:
        out = options.work / f"as-it-is-{label}"
        if not out.exists():
            owner = create_owner(dataset, "train", "standardize")
            adapt_pretrained(
                options.model,
                weights,
                out,
                owner,
                dataset.split("train"),
                lambda: inverse,
                {"start": "ciphertexts"},
            )
        outcome = evaluate(load_run(out, "last"), dataset.split("test"))
        recognised = [recall for recall in outcome["per_class"].values() if recall > RECOGNISED]
        row |= {"as_it_is": outcome["accuracy"], "categories": float(len(recognised))}
    if options.train is not None:
        start = {"adapt_block": options.block, "start": "ciphertexts"}
        row |= train(options, dataset, label, number, weights, start, inverse)
        row["ssim_trained"] = score_run(options, dataset, options.work / f"run-{label}")
    return row


def load_or_find(options, dataset: SealedDataset, label: str, prior: str) -> tuple[EstimatedInverse, float]:
    path = options.work / f"map-{label}.safetensors"
    times = path.with_suffix(".json")
    if not times.exists():
        begun = time.perf_counter()
        if prior in ("random", "whitened"):
            inverse: EstimatedInverse = begin(look(dataset), prior)
        else:
            inverse = find_map(dataset, "train", open_prior(options, prior), left_out=options.source)
        seconds = time.perf_counter() - begun
        spec = dataset.spec
        inverse.save(path, Target.of(spec.to_json()))
        times.write_text(json.dumps(seconds))
    return EstimatedInverse.load(path), json.loads(times.read_text())


def look(dataset: SealedDataset) -> View:
    """As many ciphertexts as training looks at."""
    return load_view(dataset, "train", count_images(dataset, "train"), PARAMETRIC, seed=0)


def match(options, dataset: SealedDataset, inverse: EstimatedInverse) -> dict:
    """What batchnorm-match makes of a map."""
    network, given = load_prior_network(options.match, options.match_weights, dataset.spec.padded_shape)
    begun = time.perf_counter()
    assert isinstance(inverse, BlockInverse)
    found, losses = refine(look(dataset), inverse, network, given, STEPS)
    seconds = time.perf_counter() - begun
    return {"ssim_matched": score(options, dataset, found), "match_seconds": seconds, "mismatch": losses[::10]}


def score(options, dataset: SealedDataset, inverse: EstimatedInverse) -> float:
    """SSIM of pictures of the test set, of which the attack saw nothing."""
    return compare(options, inverse.apply(read_scored(dataset)))


def score_run(options, dataset: SealedDataset, run: Path) -> float:
    """The same of what the trained front end gives on."""
    loaded, picture = load_run(run, "last"), read_record(run).picture
    assert picture is not None
    with torch.no_grad():
        seen = loaded.model.adapt(loaded.normalization.apply(torch.from_numpy(read_scored(dataset)))).numpy()
    mean, std = (np.array(part, np.float32)[:, None, None] for part in (picture.mean, picture.std))
    return compare(options, seen * std + mean)


def read_scored(dataset: SealedDataset) -> np.ndarray:
    test = dataset.split("test")
    return test.read(pick_evenly(len(test), SCORED))


def compare(options, pictures: np.ndarray) -> float:
    truth = read_scored(seal_for(options, 0, {"name": "identity"}))
    return mean_similarity(truth / np.float32(255), pictures.clip(0, 1))


def train(options, dataset, label: str, seed: int, weights: Path | None, start: dict, inverse) -> dict:
    """Test accuracy after the last epoch, the seconds of all epochs, and the images a second of the fastest."""
    if options.own_classes:
        weights = cut(options, dataset, weights)
    settings = {
        "model": options.model,
        "seed": seed,
        "weights": None if weights is None else str(weights),
        "threads": options.threads,
    }
    config = TrainConfig.from_json({**settings, **choose_settings(options), **start})
    sets = dataset.split("train"), dataset.split("test")
    out = options.work / f"run-{label}"
    result = fit(config, *sets, out, dataset.spec.to_json(), find_maps=lambda: [inverse])
    return {
        "trained": result.last.test_accuracy,
        "seconds_trained": sum(epoch.seconds for epoch in result.history),
        "images_per_second": max(epoch.images_per_second for epoch in result.history),
    }


def cut(options, dataset, weights: Path | None) -> Path:
    """Weights whose last layer tells apart the classes of the data set, as their authors trained it."""
    path = options.work / "own-classes.safetensors"
    if not path.exists():
        images = dataset.split("train")
        save_tensors(path, cut_classes(options.model, weights, images.classes, images.shape).state_dict())
    return path


def measure_plain(options, weights: Path | None) -> dict:
    """The same on plain images: the network as it is, and trained with each seed."""
    dataset, found = seal_for(options, 0, {"name": "identity"}), {}
    if options.as_it_is:
        from cipherlens.training.engine.batches import ImageBatches
        from cipherlens.training.engine.distributed import join_processes
        from cipherlens.training.engine.loop import Forward, choose_batch_size
        from cipherlens.training.engine.loop import measure as measure_model
        from cipherlens.training.front_end.start import choose_range

        test, device = dataset.split("test"), join_processes().device
        network = cut_classes(options.model, weights, test.classes, test.shape)
        forward = Forward(network, choose_range(network, test.shape[0], True), device, "float32")
        size = choose_batch_size(test.shape)
        found["as_it_is"] = measure_model(forward, ImageBatches(test, device, 0), len(test.classes), size).accuracy
    if options.plain:
        seeds = options.keys
        start = (
            {"adapt_block": options.block, "start": "ciphertexts"} if "warm_up" in json.loads(options.train) else {}
        )
        same = change_nothing(dataset, options.block)
        runs = [train(options, dataset, f"{seed}-plain", seed, weights, start, same) for seed in seeds]
        found |= {figure: [run[figure] for run in runs] for figure in runs[0]}
    return found


def change_nothing(dataset: SealedDataset, block: int) -> BlockInverse:
    """A map that leaves images as they are, for schedules that only models with a front end have."""
    channels, size = dataset.spec.padded_shape[0], block**2
    matrices = np.stack([np.eye(size)] * channels)
    return BlockInverse(
        shape=dataset.spec.padded_shape, block=block, matrices=matrices, offsets=np.zeros((channels, size))
    )


def summarize(rows: list[dict]) -> dict:
    """Mean, least and greatest of every figure, by prior."""
    summary = {}
    for prior in dict.fromkeys(row["prior"] for row in rows):
        members = [row for row in rows if row["prior"] == prior]
        names = [key for key, value in members[0].items() if isinstance(value, float) and key != "key"]
        summary[prior] = {
            key: [
                statistics.mean(row[key] for row in members),
                *(f(row[key] for row in members) for f in (min, max)),
            ]
            for key in names
        }
    return summary


if __name__ == "__main__":
    main()
