"""Grids of trainings on images of one key; every cell has its own run folder, so that a rerun continues."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cipherlens.attacks.model.adaptation import AdaptationAttack
from cipherlens.data.images import Preprocess
from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.data.sealed.reading import SealOptions
from cipherlens.errors import UsageError
from cipherlens.evaluation.harness import evaluate
from cipherlens.evaluation.load import load_target
from cipherlens.experiments.cells import TrainingJob, count_workers, load_or_make_key, seal_images, train_cells
from cipherlens.experiments.plots import draw_grid
from cipherlens.experiments.reporting import Reporter
from cipherlens.experiments.settings import Settings, check_options, find_weights

SEALED = {"plain": "sealed-plain", "sealed": "sealed"}
"""Folders of the sealed data."""
BACKBONES = ("random", "pretrained")
"""Whether a network starts from random weights, or from those that the experiment names."""
READ_FIRST = "read first"
IMAGES = ("plain", "sealed", "adapted", READ_FIRST)
"""Plain images; sealed ones; sealed ones with an adaptation network of the cipher's block in front, which starts as
the experiment says, or from the map that an attack finds in the ciphertexts."""
ADAPTED = ("adapted", READ_FIRST)
_SCORED = 200
"""Maximum test images whose pictures are scored. Chosen by hand."""
SCORES = ("ssim", "guess_ssim")
"""Figures of a row with an adaptation network."""


def run_grid(settings: Settings, out: Path, threads: int, report: Reporter) -> dict[str, Any]:
    """Run (or continue) all cells in the folder ``out``, with ``threads`` CPU threads each; return the figures."""
    check_options(settings, ("cipher", "limit", "size", "seeds", "base", "axes", "weights"))
    out = out.resolve()
    cells = list_cells(settings, out)
    prepare_images(settings, out, report)
    trained = train_cells(cells, threads, report)
    score_pictures(settings, out, cells, trained)
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


def score_pictures(
    settings: Settings, out: Path, cells: Sequence[TrainingJob], trained: dict[str, dict[str, Any]]
) -> None:
    """Add to the figures of adaptation networks the SSIM of their pictures, and that of guessing, on test images.

    The score is taken after the best affine fit per channel. Windows off the cipher's grid give no such pictures.
    """
    dataset = SealedDataset.open(out / SEALED["sealed"])
    count = min(_SCORED, len(dataset.split("test")))
    adapted = [
        cell for cell in cells if cell.axes.get("images") in ADAPTED and not cell.config.get("legacy_padding")
    ]
    if adapted:
        target = load_target(dataset, settings.source, "test", count)
    for cell in adapted:
        found = evaluate(AdaptationAttack(cell.out), target, count)
        trained[cell.out.name] |= {"ssim": found.ssim, "guess_ssim": found.guess_ssim}


def list_cells(settings: Settings, out: Path) -> list[TrainingJob]:
    """All cells: the product of the axes, for every seed. Raises UsageError for invalid values."""
    axes: dict[str, Sequence[Any]] = settings.options["axes"]
    cells = []
    block = settings.options["cipher"].get("block")
    for values in itertools.product(*axes.values()):
        place = dict(zip(axes, values, strict=True))
        config = {**settings.options["base"], **place}
        kind = config.pop("images", None)
        if kind not in (None, *IMAGES):
            raise UsageError(f"{settings.name}.toml: images {kind!r}", hint=f"choose from {', '.join(IMAGES)}")
        if kind is not None and "adapt_block" not in axes:
            config["adapt_block"] = block if kind in ADAPTED else None
        if kind == READ_FIRST:
            config["start"] = "ciphertexts"
            if config["adapt_block"] != block:
                continue  # the map that is found has the cipher's block
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
            cells.append(TrainingJob(seed, sealed, out / "runs" / name, config, place, source=settings.source))
            cells[-1].read_config()
    return cells


def _summarize(cells: list[TrainingJob], trained: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per point of the grid, summarised over its seeds."""
    rows = []
    for _, group in itertools.groupby(cells, key=lambda cell: cell.axes):
        members = list(group)
        runs = [trained[cell.out.name] for cell in members]
        last = [run["last"] for run in runs]
        scores = {name: float(np.mean([run[name] for run in runs])) for name in SCORES if name in runs[0]}
        rows.append(
            {
                "axes": members[0].axes,
                "mean": float(np.mean(last)),
                "min": min(last),
                "max": max(last),
                "best": float(np.mean([run["best"] for run in runs])),
                "histories": [run["history"] for run in runs],
                "seconds": float(np.mean([run["seconds"] for run in runs])),
                **scores,
            }
        )
    return rows
