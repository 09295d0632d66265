"""Training on sealed images: configuration, resume, run folders, prediction."""

from cipherlens.training.config import TrainConfig
from cipherlens.training.engine.batches import ImageSet
from cipherlens.training.engine.metrics import EpochMetrics, Position, Progress
from cipherlens.training.fit import FitResult, fit
from cipherlens.training.run.load import Run, evaluate, load_run, predict

__all__ = [
    "EpochMetrics",
    "FitResult",
    "ImageSet",
    "Position",
    "Progress",
    "Run",
    "TrainConfig",
    "evaluate",
    "fit",
    "load_run",
    "predict",
]
