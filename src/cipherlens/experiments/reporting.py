"""Progress reports of experiments."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from cipherlens.training.engine.metrics import Progress


@dataclass(frozen=True)
class Reporter:
    """``say`` prints a line. ``bar`` opens a progress bar, which takes (done, total); ``train`` updates one."""

    say: Callable[[str], None]
    bar: Callable[[str], AbstractContextManager[Callable[[int, int], None]]]
    train: Callable[[Progress, Any], None]
