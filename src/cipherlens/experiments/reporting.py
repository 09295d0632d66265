"""How experiments talk to the person who waits for them."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from cipherlens.training.engine.metrics import Progress


@dataclass(frozen=True)
class Reporter:
    """``say`` a line; ``bar`` opens a progress bar fed with (done, total); ``train`` feeds one from training."""

    say: Callable[[str], None]
    bar: Callable[[str], AbstractContextManager[Callable[[int, int], None]]]
    train: Callable[[Progress, Any], None]
