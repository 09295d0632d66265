"""Common steps of experiments: the client's key, sealed images, and trainings, which a rerun continues."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cipherlens.attacks.base import to_unit
from cipherlens.ciphers import create_cipher
from cipherlens.ciphers.estimated_inverse import EstimatedInverse, Target
from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.data.sealed.reading import SealOptions
from cipherlens.data.sealed.seal import seal
from cipherlens.data.sealed.workers import run_in_processes
from cipherlens.data.sources.base import pick_evenly
from cipherlens.experiments.reporting import Reporter
from cipherlens.keys import Key

if TYPE_CHECKING:
    from cipherlens.training.config import TrainConfig
    from cipherlens.training.engine.metrics import EpochMetrics

_MOST_KNOWN = 400
"""Maximum known photos that serve as prior, as many as the front ends' records have. Chosen by hand."""


@dataclass(frozen=True)
class TrainingJob:
    """One training: seed, data, run folder, settings (fields of TrainConfig), and values on the axes of a grid.

    With start "ciphertexts" it starts from the map that an attack finds. ``prior`` is then a folder of sealed plain
    images that the attacker knows, if any. Without one, no prior is used that was measured on photos of ``source``.
    """

    seed: int
    sealed: Path
    out: Path
    config: dict[str, Any]
    axes: dict[str, Any] = field(default_factory=dict)
    prior: Path | None = None
    source: str | None = None

    @property
    def map_file(self) -> Path:
        """Where the map is kept: one for all trainings on the same images with the same prior."""
        return self.sealed.with_name(
            f"map-{self.sealed.name}-{self.prior.name if self.prior else 'none'}.safetensors"
        )

    def read_config(self) -> "TrainConfig":
        """The settings of the training. Raises UsageError for an unknown one."""
        from cipherlens.training.config import TrainConfig

        return TrainConfig.from_json({**self.config, "seed": self.seed})


def count_workers(threads: int) -> int:
    """Number of trainings that run at once: one on an accelerator, else the cores divided by ``threads``."""
    import torch

    return 1 if torch.accelerator.is_available() else max(1, (os.cpu_count() or 1) // threads)


def seal_images(
    source: str, out: Path, cipher: dict[str, Any], key: Key, options: SealOptions, report: Reporter
) -> None:
    """Seal ``source`` into the folder ``out``, or continue, on all cores; ``cipher`` is for create_cipher."""
    options = replace(options, workers=os.cpu_count() or 1)
    with report.bar(f"sealing {out.name}") as progress:
        seal(source, out, create_cipher(**cipher), key, options, progress)


def load_or_make_key(out: Path) -> Key:
    """The client's key in the folder ``out`` of an experiment; folder and key are made if missing."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / "client.key"
    if not path.exists():
        Key.generate().save(path)
    return Key.load(path)


def train_cells(cells: Sequence[TrainingJob], threads: int, report: Reporter) -> dict[str, dict[str, Any]]:
    """Train all cells, or continue them, several at a time; return their figures by folder name.

    ``threads`` (at least 1) is the number of CPU threads of each training.
    """
    trained = {}
    _find_maps(cells, report)
    cells = [replace(cell, config={**cell.config, "threads": threads}) for cell in cells]
    workers = count_workers(threads)
    with report.bar("training") as progress:
        for done, (name, figures) in enumerate(
            run_in_processes(train_cell, cells, workers, start_worker, ()), start=1
        ):
            trained[name] = figures
            report.say(f"{name}: test accuracy {figures['last']:.2%} after the last epoch ({done} of {len(cells)})")
            progress(done, len(cells))
    return trained


def _find_maps(cells: Sequence[TrainingJob], report: Reporter) -> None:
    """Find the maps from which trainings start, each once, and keep them beside the sealed images."""
    from cipherlens.api.front_end import find_map

    for cell in cells:
        if cell.config.get("start") != "ciphertexts" or cell.map_file.exists():
            continue
        report.say(f"reading {cell.sealed.name} to find a map")
        dataset, public = SealedDataset.open(cell.sealed), None
        if cell.prior is not None:
            known = SealedDataset.open(cell.prior).split("train")
            public = to_unit(known.read(pick_evenly(len(known), _MOST_KNOWN)))
        found = find_map(dataset, "train", public, left_out=cell.source)
        found.save(cell.map_file, Target.of(dataset.spec.to_json()))


def start_worker() -> None:
    """Do nothing: a worker needs no preparation."""


def train_cell(cell: TrainingJob) -> tuple[str, dict[str, Any]]:
    """Train one cell, or continue it, in a worker process."""
    from cipherlens.training.fit import fit

    dataset = SealedDataset.open(cell.sealed)
    result = fit(
        cell.read_config(),
        dataset.split("train"),
        dataset.split("test"),
        cell.out,
        dataset.spec.to_json(),
        find_maps=lambda: [EstimatedInverse.load(cell.map_file)],
    )
    history = [metrics.test_accuracy for metrics in result.history]
    return cell.out.name, {
        "last": result.last.test_accuracy,
        "best": result.best.test_accuracy,
        "history": history,
        "seconds": sum(metrics.seconds for metrics in result.history),
        "round_seconds": _sum_rounds(result.history),
    }


def _sum_rounds(history: "Sequence[EpochMetrics]") -> list[float]:
    """Training seconds until the end of each round."""
    return [
        sum(metrics.seconds for metrics in history if metrics.round <= number)
        for number in range(1, history[-1].round + 1)
    ]
