"""Trainings of an experiment: every cell is a run folder of its own, so that a rerun continues."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cipherlens.data.sealed import SealedDataset
from cipherlens.data.workers import run_in_processes
from cipherlens.experiments.reporting import Reporter
from cipherlens.keys import Key


@dataclass(frozen=True)
class Cell:
    """One training: its place in the grid, its seed, its data and settings (fields of TrainConfig)."""

    axes: dict[str, Any]
    seed: int
    sealed: Path
    out: Path
    config: dict[str, Any]


def load_or_make_key(out: Path) -> Key:
    """The client's key of an experiment in the folder ``out``, which is made."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / "client.key"
    if not path.exists():
        Key.generate().save(path)
    return Key.load(path)


def train_cells(cells: Sequence[Cell], workers: int, report: Reporter) -> dict[str, dict[str, Any]]:
    """Train all cells, or continue them, ``workers`` at a time; what each reached, by the name of its folder."""
    trained = {}
    with report.bar("training") as progress:
        for done, (name, figures) in enumerate(
            run_in_processes(train_cell, cells, workers, start_worker, ()), start=1
        ):
            trained[name] = figures
            report.say(f"{name}: test accuracy {figures['last']:.2%} after the last epoch ({done} of {len(cells)})")
            progress(done, len(cells))
    return trained


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
