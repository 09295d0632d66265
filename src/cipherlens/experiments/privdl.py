"""PrivDL's experiments: accuracy on shuffled images without the key, with it, and with wrong keys."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cipherlens.ciphers import BoundCipher
from cipherlens.data.sealed.dataset import SealedDataset, SealedSplit
from cipherlens.data.sealed.reading import SealOptions
from cipherlens.data.sources.base import pick_evenly
from cipherlens.data.sources.registry import open_source
from cipherlens.errors import UsageError
from cipherlens.experiments.cells import load_or_make_key, seal_images
from cipherlens.experiments.pictures import write_masks_picture
from cipherlens.experiments.reporting import Reporter
from cipherlens.experiments.settings import Settings, check_options
from cipherlens.keys import Key
from cipherlens.training.config import TrainConfig
from cipherlens.training.engine.batches import read_images, read_targets
from cipherlens.training.fit import fit
from cipherlens.training.keyed_runs.lock import lock_run
from cipherlens.training.run.load import Run, evaluate, load_run

WRONG_KEYS = 5
"""Wrong keys with which the locked model is tested. Chosen by hand."""
_BATCH = 128
"""Images in a batch when logits are compared. A limit on memory."""
_PICTURES = 5
"""Test images in the picture of masks. Chosen by hand."""


@dataclass(frozen=True)
class Data:
    """The same images sealed twice under one key: plain, and shuffled."""

    out: Path
    key: Key
    plain: SealedDataset
    shuffled: SealedDataset

    @property
    def bound(self) -> BoundCipher:
        """The client's cipher."""
        return self.shuffled.spec.bind(self.key)


def run_privdl(settings: Settings, out: Path, threads: int, report: Reporter) -> dict[str, Any]:
    """Run (or continue) an experiment in the folder ``out``; returns the results as JSON values."""
    check_options(settings, ("models", "augment"))
    configs = {model: _read_config(model, threads, **o) for model, o in settings.options["models"].items()}
    if open_source(settings.source).masked != (settings.kind == "segmentation"):
        raise UsageError(f"{settings.source} is not for {settings.name}", hint="segmentation needs masks")
    out = out.resolve()  # runs record the path of their initial weights
    data = _prepare(settings, out, report)
    measured = {}
    for model, (config, finetune_epochs) in configs.items():
        plain = _train(config, data.plain, out / f"{model}-plain", report)
        finetuned = None
        if finetune_epochs is not None:
            weights = str(plain / "last.safetensors")
            again = replace(config.keep_pixels(), epochs=finetune_epochs, weights=weights)
            finetuned = _train(again, data.shuffled, out / f"{model}-finetuned", report)
        locked = out / f"{model}-locked"
        if not locked.exists():
            lock_run(plain, locked, data.key, "shuffled")
        report.say(f"{model}: measuring")
        measured[model] = {
            "epochs": config.epochs,
            "finetune_epochs": finetune_epochs,
            "rows": _measure_rows(plain, finetuned, locked, data),
            "equality": compare(plain, locked, data),
        }
        if data.plain.spec.masked:
            report.say(str(draw_masks(plain, locked, data, out / f"{model}.png")))
    return {
        "scale": settings.scale,
        "source": Path(settings.source).name,
        "test_images": data.plain.splits["test"],
        "augment": _get_augment(settings),
        "metric": "mean IoU" if data.plain.spec.masked else "accuracy",
        "seeds": [0],
        "wrong_keys": WRONG_KEYS,
        "models": measured,
        "published": settings.published,
    }


def _read_config(
    model: str, threads: int, finetune_epochs: int | None = None, **options: Any
) -> tuple[TrainConfig, int | None]:
    """A model's settings, and its epochs of fine-tuning on shuffled images, or None without fine-tuning."""
    return TrainConfig(model=model, threads=threads, **options), finetune_epochs


def _get_augment(settings: Settings) -> int:
    return int(settings.options.get("augment", 0))


def _prepare(settings: Settings, out: Path, report: Reporter) -> Data:
    key = load_or_make_key(out)
    folders = {"identity": out / "sealed-plain", "pixel-permutation": out / "sealed-shuffled"}
    for name, folder in folders.items():
        seal_images(
            settings.source, folder, {"name": name}, key, SealOptions(augment=_get_augment(settings)), report
        )
    return Data(out, key, *(SealedDataset.open(folder) for folder in folders.values()))


def _train(config: TrainConfig, dataset: SealedDataset, out: Path, report: Reporter) -> Path:
    with report.bar(f"training {out.name}") as bar:
        fit(
            config,
            dataset.split("train"),
            dataset.split("test"),
            out,
            dataset.spec.to_json(),
            lambda event: report.train(event, bar),
        )
    return out


def _measure_rows(plain: Path, finetuned: Path | None, locked: Path, data: Data) -> dict[str, dict[str, Any]]:
    """One figure per row of the table, for the weights after the last epoch."""
    readable, shuffled = data.plain.split("test"), data.shuffled.split("test")
    rows = {
        "plain images": [_score(load_run(plain, "last"), readable)],
        "plain model, shuffled images": [_score(load_run(plain, "last"), shuffled)],
        "fine-tuned on shuffled images": []
        if finetuned is None
        else [_score(load_run(finetuned, "last"), shuffled)],
        "locked model, right key": [_score(load_run(locked, "last", data.bound), shuffled)],
        "locked model, wrong keys": [_score(load_run(locked, "last", b), shuffled) for b in _draw_wrong_keys(data)],
    }
    return {name: _summarize(scores) for name, scores in rows.items() if scores}


def _draw_wrong_keys(data: Data) -> Iterator[BoundCipher]:
    for _ in range(WRONG_KEYS):
        yield data.shuffled.spec.bind(Key.generate(), check=False)


def _score(run: Run, split: SealedSplit) -> float:
    result = evaluate(run, split)
    return float(result.get("mean_iou", result["accuracy"]))


def _summarize(scores: list[float]) -> dict[str, Any]:
    return {"mean": float(np.mean(scores)), "min": min(scores), "max": max(scores), "runs": len(scores)}


def compare(plain: Path, locked: Path, data: Data) -> dict[str, Any]:
    """Compare the plain run on plain images with the locked one on shuffled images: all test images, in float32.

    ``same`` is the number of decisions (images, or pixels) on which both agree. ``relative_error`` is the largest
    logit difference divided by the largest logit.
    """
    runs = (load_run(plain, "last"), load_run(locked, "last", data.bound))
    first, second = (replace(run, precision="float32") for run in runs)
    splits, bound = (data.plain.split("test"), data.shuffled.split("test")), data.bound
    same = total = 0
    difference = largest = 0.0
    for start in range(0, len(splits[0]), _BATCH):
        chosen = np.arange(start, min(start + _BATCH, len(splits[0])))
        expected, found = (_logits(run, split, chosen) for run, split in zip((first, second), splits, strict=True))
        found = _put_back(found, bound)
        same += int((expected.argmax(1) == found.argmax(1)).sum())
        total += expected.argmax(1).numel()
        difference = max(difference, float((expected - found).abs().max()))
        largest = max(largest, float(expected.abs().max()))
    return {"same": same, "of": total, "relative_error": difference / largest}


def draw_masks(plain: Path, locked: Path, data: Data, path: Path) -> Path:
    """Write a picture of some test images with the predicted masks (``COLUMNS``)."""
    readable, shuffled = data.plain.split("test"), data.shuffled.split("test")
    chosen = pick_evenly(len(readable), _PICTURES)
    bound, wrong = data.bound, next(_draw_wrong_keys(data))
    photos = [readable.read(chosen), shuffled.read(chosen)]
    runs = [
        (load_run(plain, "last"), readable),
        (load_run(locked, "last", bound), shuffled),
        (load_run(locked, "last", wrong), shuffled),
    ]
    said = [_logits(run, split, chosen).argmax(1, keepdim=True) for run, split in runs]
    masks = [said[0], said[1], _put_back(said[1], bound), _put_back(said[2], bound)]
    shown = [read_targets(readable)[chosen], *(mask[:, 0].numpy() for mask in masks)]
    write_masks_picture(path, photos, shown, len(data.plain.spec.classes))
    return path


def _logits(run: Run, split: SealedSplit, chosen: NDArray[np.int64]) -> Tensor:
    with torch.inference_mode():
        return run.forward(read_images(split, chosen).to(run.device)).cpu()


def _put_back(logits: Tensor, bound: BoundCipher) -> Tensor:
    """Output maps (N, C, H, W) of a locked model in true order; logits (N, C) unchanged."""
    if logits.ndim == 2:
        return logits
    inverse = torch.from_numpy(bound.inverse)  # type: ignore[attr-defined]
    return logits.flatten(2)[:, :, inverse].view_as(logits)
