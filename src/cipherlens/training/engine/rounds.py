"""The state of a run, computed from its metrics only: the next epoch, and the best one."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from cipherlens.training.config import TrainConfig
from cipherlens.training.engine.metrics import EpochMetrics, Position

ADAPT_PREFIX = "adapt."


def get_next(config: TrainConfig, history: Sequence[EpochMetrics]) -> Position | None:
    """The epoch to train after ``history``, or None when the run is finished."""
    if not history:
        return Position(1, 1)
    last = history[-1]
    if last.epoch < config.epochs and not _has_stalled(config, history):
        return Position(last.round, last.epoch + 1)
    return Position(last.round + 1, 1) if last.round < config.rounds else None


def _has_stalled(config: TrainConfig, history: Sequence[EpochMetrics]) -> bool:
    this_round = [metrics for metrics in history if metrics.round == history[-1].round]
    return bool(config.patience) and history[-1].epoch - get_best(this_round).epoch >= config.patience


def get_best(history: Sequence[EpochMetrics]) -> EpochMetrics:
    """The first epoch of the highest test accuracy (with masks: mean IoU; untested: training accuracy)."""
    return max(history, key=_get_score)


def _get_score(metrics: EpochMetrics) -> float:
    scores = (metrics.test_iou, metrics.test_accuracy, metrics.train_accuracy)
    return next(score for score in scores if score is not None)


def select_carried(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors that the next round keeps: the adaptation network's, by their names in the whole model."""
    return {name: value for name, value in weights.items() if name.startswith(ADAPT_PREFIX)}


def strip_prefix(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with ``prefix``, by their names without it."""
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
