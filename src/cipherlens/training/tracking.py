"""Send a run's figures to an experiment tracker (TensorBoard, MLflow, ...), through accelerate."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cipherlens.errors import UsageError, unknown_name
from cipherlens.training.config import TrainConfig
from cipherlens.training.engine.metrics import Progress

TRACKER = "tracker"
"""Folder of a run with the files of its tracker."""
_INSTALL = "install its package, as in: pip install tensorboard"


@contextmanager
def track(name: str | None, config: TrainConfig, out: Path) -> Iterator[Callable[[Progress], None]]:
    """A function that sends each finished epoch's figures to the tracker ``name``; None sends nothing.

    The settings are sent with the first epoch: names and numbers, never a path, key or image. Files are written to
    ``out/tracker``. Raises UsageError for an unknown tracker, or one whose package is missing.
    """
    if name is None:
        yield lambda event: None
        return
    _check_name(name)
    from accelerate import Accelerator

    accelerator = Accelerator(log_with=name, project_dir=out / TRACKER)
    begun: list[bool] = []

    def send(event: Progress) -> None:
        if event.metrics is None:
            return
        if not begun:  # the run folder is there by now
            accelerator.init_trackers("cipherlens", _list_settings(config))
            begun.append(True)
        figures = {name: value for name, value in event.metrics.to_json().items() if value is not None}
        accelerator.log(figures, step=(event.position.round - 1) * event.epochs + event.position.epoch)

    try:
        yield send
    finally:
        if begun:
            for tracker in accelerator.trackers:  # not end_training, which would end the other processes' group
                tracker.finish()


def _check_name(name: str) -> None:
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

    if name not in LOGGER_TYPE_TO_CLASS:
        raise unknown_name("tracker", name, LOGGER_TYPE_TO_CLASS)
    if name not in map(str, get_available_trackers()):
        raise UsageError(f"the tracker {name} is not installed", hint=_INSTALL, parameters=("tracker",))


def _list_settings(config: TrainConfig) -> dict[str, str | int | float | bool]:
    """The settings without those that are paths of this machine."""
    paths = ("weights", "public", "inverse")
    return {name: value for name, value in config.to_json().items() if value is not None and name not in paths}
