"""Metrics of a run by epoch, and its position in rounds and epochs."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cipherlens.data.run_files import METRICS, read_epochs
from cipherlens.errors import DataError
from cipherlens.files import write_atomic
from cipherlens.schema import Count, parse


@dataclass(frozen=True, slots=True)
class Position:
    """A round and an epoch in it, both from 1."""

    round: int
    epoch: int


@dataclass(frozen=True, slots=True)
class EpochMetrics:
    """One line of metrics.jsonl. Rounds and epochs count from 1; losses are per image, accuracies in [0, 1].

    With masks, accuracies and the test loss are per pixel, and ``test_iou`` is the mean intersection over union of
    the classes.

    The training figures are measured while the weights change, and include label smoothing. ``lr`` is the last one
    used. ``seconds`` include testing; ``images_per_second`` is of training only.
    """

    round: Count
    epoch: Count
    train_loss: float
    train_accuracy: float
    test_loss: float | None
    test_accuracy: float | None
    lr: float
    images_per_second: float
    seconds: float
    test_iou: float | None = None

    def to_json(self) -> dict[str, Any]:
        """All fields by name."""
        return asdict(self)


def write_metrics(folder: Path, history: Sequence[EpochMetrics]) -> None:
    """Rewrite metrics.jsonl from the checkpoint's history, so that no line is repeated or incomplete."""
    lines = "".join(json.dumps(metrics.to_json()) + "\n" for metrics in history)
    write_atomic(folder / METRICS, lines.encode())


def read_metrics(folder: Path) -> list[EpochMetrics]:
    """All epochs of a run folder. Raises DataError where there is none, or the file is damaged."""
    epochs = read_epochs(folder)
    try:
        history = [parse(epoch, EpochMetrics) for epoch in epochs]
    except ValueError as error:
        raise DataError(f"{folder / METRICS} is damaged: {error}", hint="copy the run folder again") from None
    if not history:
        raise DataError(f"{folder / METRICS} is empty", hint="copy the run folder again")
    return history


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of training, about a hundred times per epoch, and with ``metrics`` when the epoch is on disk."""

    position: Position
    rounds: int
    epochs: int
    step: int
    steps: int
    loss: float
    metrics: EpochMetrics | None = None
