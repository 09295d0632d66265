"""Grids of trainings on images of one key; every cell has its own run folder, so that a rerun continues."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cipherlens.data.images import Preprocess
from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.data.sealed.shards import SealOptions
from cipherlens.errors import UsageError
from cipherlens.experiments.cells import TrainingJob, count_workers, load_or_make_key, seal_images, train_cells
from cipherlens.experiments.plots import draw_grid
from cipherlens.experiments.reporting import Reporter
from cipherlens.experiments.settings import Settings, check_options, find_weights

SEALED = {"plain": "sealed-plain", "sealed": "sealed"}
"""Folders of the sealed data."""
BACKBONES = ("random", "pretrained")
"""Whether a network starts from random weights, or from those that the experiment names."""
IMAGES = ("plain", "sealed", "adapted")
"""Plain images; sealed ones; sealed ones with an adaptation network of the cipher's block in front."""


def run_grid(settings: Settings, out: Path, threads: int, report: Reporter) -> dict[str, Any]:
    """Run (or continue) all cells in the folder ``out``, with ``threads`` CPU threads each; return the figures."""
    check_options(settings, ("cipher", "limit", "size", "seeds", "base", "axes", "weights"))
    out = out.resolve()
    cells = list_cells(settings, out)
    prepare_images(settings, out, report)
    trained = train_cells(cells, threads, report)
    rows = _summarize(cells, trained)
    draw_grid(out / "figure.png", settings.title, rows, settings.options["axes"])
    dataset = SealedDataset.open(out / SEALED["sealed"])
    return {
        "scale": settings.scale,
        "source": Path(settings.source).name,
        "cipher": settings.options["cipher"],
        "images": dataset.splits,
        "classes": len(dataset.spec.classes),
        "base": settings.options["base"],
        "seeds": settings.options["seeds"],
        "axes": settings.options["axes"],
        "trainings_at_once": count_workers(threads),
        "rows": rows,
        "published": settings.published,
    }


def prepare_images(settings: Settings, out: Path, report: Reporter) -> None:
    """Seal the source twice under one key, plain and with the experiment's cipher, in the folders ``SEALED``."""
    key = load_or_make_key(out)
    options = settings.options
    sealing = SealOptions(Preprocess(options.get("size")), limit=options.get("limit"))
    seal_images(settings.source, out / SEALED["plain"], {"name": "identity"}, key, sealing, report)
    seal_images(settings.source, out / SEALED["sealed"], options["cipher"], key, sealing, report)


def list_cells(settings: Settings, out: Path) -> list[TrainingJob]:
    """All cells: the product of the axes, for every seed. Raises UsageError for invalid values."""
    axes: dict[str, Sequence[Any]] = settings.options["axes"]
    cells = []
    for values in itertools.product(*axes.values()):
        place = dict(zip(axes, values, strict=True))
        config = {**settings.options["base"], **place}
        kind = config.pop("images", None)
        if kind not in (None, *IMAGES):
            raise UsageError(f"{settings.name}.toml: images {kind!r}", hint=f"choose from {', '.join(IMAGES)}")
        if kind is not None:
            config["adapt_block"] = settings.options["cipher"]["block"] if kind == "adapted" else None
        backbone = config.pop("backbone", "pretrained")
        if backbone not in BACKBONES:
            raise UsageError(
                f"{settings.name}.toml: backbone {backbone!r}", hint=f"choose from {', '.join(BACKBONES)}"
            )
        source = settings.options.get("weights", {}).get(config["model"])
        if backbone == "random":
            config["pretrained"] = False
        elif source is not None:
            config["weights"] = str(find_weights(source))
        sealed = out / SEALED["plain" if kind == "plain" else "sealed"]
        for seed in settings.options["seeds"]:
            name = "-".join(str(value) for value in (*values, f"seed{seed}"))
            cells.append(TrainingJob(seed, sealed, out / "runs" / name, config, place))
            cells[-1].read_config()
    return cells


def _summarize(cells: list[TrainingJob], trained: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per point of the grid, summarised over its seeds."""
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
                "histories": [run["history"] for run in runs],
                "seconds": float(np.mean([run["seconds"] for run in runs])),
            }
        )
    return rows
