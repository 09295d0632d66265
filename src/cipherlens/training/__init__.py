"""Training on sealed images: configuration, exact resume, run folders, prediction."""

from cipherlens.train.config import TrainConfig
from cipherlens.train.data import ImageSet
from cipherlens.train.fit import FitResult, fit
from cipherlens.train.metrics import EpochMetrics, Position, Progress
from cipherlens.train.run import Run, evaluate, load_run, predict

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
