"""Data sets of Python for the tests, in a module that workers import fast."""

from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from tests.conftest import smooth_images

PIXELS = smooth_images(12)
LABELS = [0, 1, 2] * 4


class Made:
    """Images by a function, with labels; at the module's level, so that workers can have it."""

    def __init__(self, take: Callable[[np.ndarray], Any] | None = None, labels: list[Any] = LABELS) -> None:
        self.take, self.labelled = take, labels

    def __len__(self) -> int:
        return len(self.labelled)

    def __getitem__(self, index: int) -> Any:
        rows = PIXELS[index].transpose(1, 2, 0)
        return (Image.fromarray(rows) if self.take is None else self.take(rows)), self.labelled[index]


class Broken(Made):
    def __getitem__(self, index: int) -> Any:
        if index == 7:
            raise ValueError("torn file")
        return super().__getitem__(index)
