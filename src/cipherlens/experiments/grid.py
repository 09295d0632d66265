"""Grids of trainings on one key's images: every cell is a run folder of its own, so that a rerun continues."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cipherlens.ciphers import create_cipher
from cipherlens.data.images import Preprocess
from cipherlens.data.sealed import SealedDataset
from cipherlens.data.sealing import seal
from cipherlens.data.shards import SealOptions
from cipherlens.data.workers import run_in_processes
from cipherlens.errors import UsageError
from cipherlens.experiments.plots import draw_grid
from cipherlens.experiments.reporting import Reporter
from cipherlens.experiments.settings import Settings, check_options, find_weights
from cipherlens.keys import Key

IMAGES = ("plain", "sealed", "adapted")
"""Plain images; sealed ones; sealed ones with an adaptation network of the cipher's block in front."""


@dataclass(frozen=True)
class Cell:
    """One training: its place in the grid, its seed, its data and settings (fields of TrainConfig)."""

    axes: dict[str, Any]
    seed: int
    sealed: Path
    out: Path
    config: dict[str, Any]


def run_grid(settings: Settings, out: Path, workers: int, report: Reporter) -> dict[str, Any]:
    """Run (or continue) all cells in the folder ``out``, ``workers`` at a time; returns what was measured."""
    check_options(settings, ("cipher", "limit", "size", "seeds", "base", "axes", "weights"))
    folders = prepare_images(settings, out, workers, report)
    cells = list_cells(settings, folders, out)
    trained = {}
    with report.bar("training") as progress:
        for done, (name, figures) in enumerate(
            run_in_processes(train_cell, cells, workers, start_worker, ()), start=1
        ):
            trained[name] = figures
            report.say(f"{name}: test accuracy {figures['last']:.2%} after the last epoch ({done} of {len(cells)})")
            progress(done, len(cells))
    rows = _summarize(cells, trained)
    draw_grid(out / "figure.png", settings.title, rows, settings.options["axes"])
    dataset = SealedDataset.open(folders["sealed"])
    return {
        "scale": settings.scale,
        "source": Path(settings.source).name,
        "cipher": settings.options["cipher"],
        "images": dataset.splits,
        "classes": len(dataset.plan.classes),
        "base": settings.options["base"],
        "seeds": settings.options["seeds"],
        "axes": settings.options["axes"],
        "rows": rows,
        "published": settings.published,
    }


def prepare_images(settings: Settings, out: Path, workers: int, report: Reporter) -> dict[str, Path]:
    """Seal the source twice under one key, readable and with the experiment's cipher; folders by kind."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / "client.key"
    if not path.exists():
        Key.generate().save(path)
    key = Key.load(path)
    options = settings.options
    sealing = SealOptions(Preprocess(options.get("size")), limit=options.get("limit"), workers=workers)
    cipher = dict(options["cipher"])
    folders = {"plain": out / "sealed-plain", "sealed": out / "sealed"}
    for folder, chosen in ((folders["plain"], {"name": "identity"}), (folders["sealed"], cipher)):
        with report.bar(f"sealing {folder.name}") as progress:
            seal(settings.source, folder, create_cipher(**chosen), key, sealing, progress)
    return folders


def list_cells(settings: Settings, folders: dict[str, Path], out: Path) -> list[Cell]:
    """All cells: the product of the axes, for every seed. Raises UsageError for an unknown kind of images."""
    axes: dict[str, Sequence[Any]] = settings.options["axes"]
    cells = []
    for values in itertools.product(*axes.values()):
        place = dict(zip(axes, values, strict=True))
        config = {**settings.options["base"], **place}
        kind = config.pop("images", "sealed")
        if kind not in IMAGES:
            raise UsageError(f"{settings.name}.toml: images {kind!r}", hint=f"choose from {', '.join(IMAGES)}")
        if kind == "adapted":
            config.setdefault("adapt_block", settings.options["cipher"]["block"])
        source = settings.options.get("weights", {}).get(config["model"])
        if source is not None:
            config["weights"] = str(find_weights(source))
        sealed = folders["plain" if kind == "plain" else "sealed"]
        for seed in settings.options["seeds"]:
            name = "-".join(str(value) for value in (*values, f"seed{seed}"))
            cells.append(Cell(place, seed, sealed, out / "runs" / name, {**config, "seed": seed, "threads": 1}))
    return cells


def start_worker() -> None:
    """A worker has nothing to prepare."""


def train_cell(cell: Cell) -> tuple[str, dict[str, Any]]:
    """Train one cell, or continue it; runs in a worker process of its own."""
    from cipherlens.train.config import TrainConfig
    from cipherlens.train.fit import fit

    dataset = SealedDataset.open(cell.sealed)
    result = fit(
        TrainConfig(**cell.config), dataset.split("train"), dataset.split("test"), cell.out, dataset.plan.public()
    )
    history = [metrics.test_accuracy for metrics in result.history]
    return cell.out.name, {
        "last": result.last.test_accuracy,
        "best": result.best.test_accuracy,
        "history": history,
        "seconds": sum(metrics.seconds for metrics in result.history),
    }


def _summarize(cells: list[Cell], trained: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per place in the grid, over its seeds."""
    rows = []
    for _, group in itertools.groupby(cells, key=lambda cell: cell.axes):
        members = list(group)
        runs = [trained[cell.out.name] for cell in members]
        last = [run["last"] for run in runs]
        rows.append(
            {
                "axes": members[0].axes,
                "mean": float(np.mean(last)),
                "min": min(last),
                "max": max(last),
                "best": float(np.mean([run["best"] for run in runs])),
                "history": np.mean([run["history"] for run in runs], axis=0).tolist(),
                "seconds": float(np.mean([run["seconds"] for run in runs])),
            }
        )
    return rows
