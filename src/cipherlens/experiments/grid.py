"""Grids of trainings on one key's images: every cell is a run folder of its own, so that a rerun continues."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cipherlens.ciphers import create_cipher
from cipherlens.data.images import Preprocess
from cipherlens.data.sealed import SealedDataset
from cipherlens.data.sealing import seal
from cipherlens.data.shards import SealOptions
from cipherlens.errors import UsageError
from cipherlens.experiments.cells import Cell, load_or_make_key, train_cells
from cipherlens.experiments.plots import draw_grid
from cipherlens.experiments.reporting import Reporter
from cipherlens.experiments.settings import Settings, check_options, find_weights

IMAGES = ("plain", "sealed", "adapted")
"""Plain images; sealed ones; sealed ones with an adaptation network of the cipher's block in front."""


def run_grid(settings: Settings, out: Path, workers: int, report: Reporter) -> dict[str, Any]:
    """Run (or continue) all cells in the folder ``out``, ``workers`` at a time; returns what was measured."""
    check_options(settings, ("cipher", "limit", "size", "seeds", "base", "axes", "weights"))
    folders = prepare_images(settings, out, workers, report)
    cells = list_cells(settings, folders, out)
    trained = train_cells(cells, workers, report)
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
    key = load_or_make_key(out)
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
