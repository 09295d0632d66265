"""ER-CNN's eavesdropper: decryption by the adaptation network after each round, and by the covariance attack."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cipherlens.api.front_end import explain_refusal
from cipherlens.attacks import ATTACKS
from cipherlens.attacks.base import Attack
from cipherlens.attacks.model.adaptation import AdaptationAttack
from cipherlens.data.images import Preprocess
from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.data.sealed.reading import SealOptions
from cipherlens.data.sources.base import pick_evenly
from cipherlens.data.sources.imagenet21k import Choice, choose_from
from cipherlens.evaluation.harness import Evaluation, evaluate
from cipherlens.evaluation.load import load_target
from cipherlens.evaluation.recognition import recognise
from cipherlens.evaluation.target import Target
from cipherlens.experiments.cells import TrainingJob, count_workers, load_or_make_key, seal_images, train_cells
from cipherlens.experiments.pictures import write_rows
from cipherlens.experiments.plots import draw_rounds
from cipherlens.experiments.reporting import Reporter
from cipherlens.experiments.settings import Settings, check_options, find_weights, resolve

OPTIONS = (
    *("cipher", "limit", "size", "seeds", "train", "recogniser", "pretrain"),
    *("weights", "classes", "pretrain_classes", "outside", "attacked", "frozen"),
)
UNTRAINED = "adaptation, untrained"
_PICTURES = 6
"""Rows of the figure, one per image. Chosen by hand."""


@dataclass(frozen=True)
class Folders:
    """Sealed data: the encrypted classes, plain and encrypted, and the classes for pretraining, if any."""

    plain: Path
    sealed: Path
    pretraining: Path | None


def run_decryption(settings: Settings, out: Path, threads: int, report: Reporter) -> dict[str, Any]:
    """Run (or continue) a decryption experiment in the folder ``out``; returns what was measured."""
    check_options(settings, OPTIONS)
    options, out = settings.options, out.resolve()  # runs record the path of their initial weights
    chosen = _choose_outside(settings)
    encrypted = tuple(options.get("classes", ())) if chosen is None else chosen.chosen
    folders = _seal_all(settings, encrypted, out, report)
    weights, pretraining = _pretrain(settings, folders, out, threads, report)
    start = {} if weights is None else {"weights": str(weights)}
    train, rounds = {**options["train"], **start}, int(options["train"]["rounds"])
    block = options["cipher"]["block"]
    unreadable = explain_refusal(SealedDataset.open(folders.sealed), "train")
    if unreadable is not None:
        report.say(f"no row reads first: {unreadable}")
    cells = [TrainingJob(0, folders.plain, out / "recogniser", {**options["recogniser"], **start})]
    for seed in options["seeds"]:
        common = {**train, "adapt_block": block}
        long = {**common, "rounds": 1, "epochs": train["epochs"] * rounds}
        frozen = {**long, "warm_up": long["epochs"], **options.get("frozen", {})}
        cells.append(TrainingJob(seed, folders.sealed, out / f"rounds-seed{seed}", common))
        cells.append(TrainingJob(seed, folders.sealed, out / f"one-long-round-seed{seed}", long))
        if weights is not None:
            cells.append(TrainingJob(seed, folders.sealed, out / f"frozen-backbone-seed{seed}", frozen))
        if unreadable is None:
            read = {**long, "start": "ciphertexts"}
            place = out / f"read-first-seed{seed}"
            prior, source = folders.pretraining, settings.source
            cells.append(TrainingJob(seed, folders.sealed, place, read, prior=prior, source=source))
    trained = train_cells(cells, threads, report)
    target, labels = _load_target(settings, folders)
    report.say("attacking")
    rows, pictures = _attack_all(settings, out, target, labels, trained)
    _draw(out / "figure.png", target, pictures)
    histories = {name: figures["history"] for name, figures in trained.items() if name != "recogniser"}
    draw_rounds(out / "rounds.png", settings.title, histories, rounds, [row for row in rows if "ssim" in row])
    return {
        "scale": settings.scale,
        "source": Path(settings.source).name,
        "cipher": options["cipher"],
        "images": SealedDataset.open(folders.sealed).splits,
        "seeds": options["seeds"],
        "train": options["train"],
        "frozen": options.get("frozen", {}),
        "pretrained": weights is not None,
        "pretraining": pretraining,
        "trainings_at_once": count_workers(threads),
        "encrypted_classes": list(SealedDataset.open(folders.sealed).spec.classes),
        "classes_left_out": None if chosen is None else chosen.left_out,
        "attacked": len(target.plain),
        "runs": trained,
        "rows": rows,
        "published": settings.published,
    }


def _seal_all(settings: Settings, encrypted: tuple[str, ...], out: Path, report: Reporter) -> Folders:
    key, options = load_or_make_key(out), settings.options
    jobs = [("sealed-plain", {"name": "identity"}, "classes"), ("sealed", options["cipher"], "classes")]
    if "pretrain" in options:
        jobs.append(("sealed-pretraining", {"name": "identity"}, "pretrain_classes"))
    chosen = {"classes": encrypted, "pretrain_classes": tuple(options.get("pretrain_classes", ()))}
    for name, cipher, classes in jobs:
        sealing = SealOptions(Preprocess(options.get("size")), limit=options.get("limit"), classes=chosen[classes])
        seal_images(settings.source, out / name, cipher, key, sealing, report)
    return Folders(
        out / "sealed-plain", out / "sealed", out / "sealed-pretraining" if "pretrain" in options else None
    )


def _choose_outside(settings: Settings) -> Choice | None:
    """Classes outside a pretraining set (approach two), or None where the experiment does not use them."""
    asked = settings.options.get("outside")
    if asked is None:
        return None
    hierarchy = Path(resolve(asked["hierarchy"]))
    return choose_from(settings.source, asked["pretrained_on"], hierarchy, asked["least"], asked["count"])


def _pretrain(
    settings: Settings, folders: Folders, out: Path, threads: int, report: Reporter
) -> tuple[Path | None, dict[str, Any] | None]:
    """Initial weights of the backbones, from a file or a training on other classes, and its figures."""
    options = settings.options
    if "weights" in options:
        return find_weights(options["weights"]), None
    if folders.pretraining is None:
        return None, None
    cell = TrainingJob(0, folders.pretraining, out / "pretrained", options["pretrain"])
    trained = train_cells([cell], threads, report)
    return out / "pretrained" / "last.safetensors", trained["pretrained"]


def _load_target(settings: Settings, folders: Folders) -> tuple[Target, Any]:
    dataset = SealedDataset.open(folders.sealed)
    labels = dataset.split("test").labels
    count = min(int(settings.options.get("attacked", 500)), len(labels))
    return load_target(dataset, settings.source, "test", count), labels[pick_evenly(len(labels), count)]


def _attack_all(
    settings: Settings, out: Path, target: Target, labels: Any, trained: dict[str, dict[str, Any]]
) -> tuple[list[dict[str, Any]], dict[str, Evaluation]]:
    """Run every attack on the same ciphertexts: scores, and for the first seed the pictures."""
    first, rounds = settings.options["seeds"][0], int(settings.options["train"]["rounds"])
    attacks: list[tuple[str, int | None, float, Attack]] = [("covariance", None, 0.0, ATTACKS["covariance"])]
    for seed in settings.options["seeds"]:
        run = out / f"rounds-seed{seed}"
        seconds = [0.0, *trained[run.name]["round_seconds"]]
        for number, spent in enumerate(seconds[: rounds + 1]):
            name = f"adaptation, round {number}" if number else UNTRAINED
            attacks.append((name, seed, spent, AdaptationAttack(run, number)))
        for name in ("one long round", "frozen backbone", "read first"):
            other = out / f"{name.replace(' ', '-')}-seed{seed}"
            if other.name in trained:
                spent = trained[other.name]["seconds"]
                attacks.append((f"adaptation, {name}", seed, spent, AdaptationAttack(other)))
    rows, pictures = [], {}
    for name, seed, training_seconds, attack in attacks:
        found = evaluate(attack, target, len(target.plain))
        recognition = recognise(found.reconstruction, labels, out / "recogniser").to_json()
        rows.append(
            {
                "name": name,
                "seed": seed,
                "ssim": found.ssim,
                "psnr": found.psnr,
                "guess_ssim": found.guess_ssim,
                "training_seconds": training_seconds,
                "seconds": found.seconds,
                "recognition": recognition,
            }
        )
        if seed in (None, first):
            pictures[name] = found
    for name, images in (("plain images", target.images()), ("encrypted images", target.ciphertexts())):
        rows.append(
            {"name": name, "seed": None, "recognition": recognise(images, labels, out / "recogniser").to_json()}
        )
    return rows, pictures


def _draw(path: Path, target: Target, found: dict[str, Evaluation]) -> None:
    from cipherlens.auditing.report.figures import display_ciphertext

    chosen = pick_evenly(len(target.plain), _PICTURES)
    columns = [target.plain[chosen], np.stack([display_ciphertext(target.ct[i])[:3] for i in chosen])]
    for name in (*(n for n in found if n != "covariance"), "covariance"):
        images = np.clip(found[name].reconstruction[chosen], 0, 1)
        columns.append(np.rint(255 * images).astype(np.uint8))
    write_rows(path, [column.transpose(0, 2, 3, 1) for column in columns])
