"""Where a run is and how well it does, epoch by epoch."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Position:
    """A round and an epoch in it, both from 1."""

    round: int
    epoch: int


@dataclass(frozen=True, slots=True)
class EpochMetrics:
    """One line of metrics.jsonl. Rounds and epochs count from 1; losses are per image, accuracies in [0, 1].

    With masks, accuracies and the test loss are of pixels, and ``test_iou`` is the mean intersection over union of
    the classes.

    The training figures are measured while the weights move and include label smoothing; ``lr`` is the last
    one used; ``seconds`` include testing, ``images_per_second`` is training alone.
    """

    round: int
    epoch: int
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


@dataclass(frozen=True, slots=True)
class Progress:
    """Where training is: up to a hundred times per epoch, and with ``metrics`` once the epoch is on disk."""

    position: Position
    rounds: int
    epochs: int
    step: int
    steps: int
    loss: float
    metrics: EpochMetrics | None = None
