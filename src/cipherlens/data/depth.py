"""Grey images of more than 8 bits: the window that maps them to 8, where the client names one."""

from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.errors import DataError, UsageError

PER_IMAGE = ("minmax", "percentile")
_PERCENTILES = (1.0, 99.0)
"""What "percentile" takes of each image, as medical viewers do. Chosen by hand."""

_ROWS = 256
"""Rows that are mapped at a time. A limit on memory."""


@dataclass(frozen=True)
class Window:
    """Values from ``low`` to ``high`` become 0 to 255; those outside are clipped. None: taken from each image."""

    kind: str
    low: float | None = None
    high: float | None = None

    @classmethod
    def parse(cls, text: str) -> "Window":
        """LOW:HIGH, the same for all images; or "minmax" or "percentile", of each image. Raises UsageError."""
        if text in PER_IMAGE:
            return cls(text)
        try:
            low, high = (float(part) for part in text.split(":"))
        except ValueError:
            low = high = 0.0
        if not (isfinite(low) and isfinite(high) and low < high):
            raise UsageError(
                f"window is LOW:HIGH with LOW below HIGH, {' or '.join(PER_IMAGE)}, not {text!r:.40}",
                hint="for 16 bits in full: 0:65535",
            )
        return cls("fixed", low, high)

    def find_limits(self, values: NDArray[Any]) -> tuple[float, float]:
        """The values that become 0 and 255."""
        if self.low is not None and self.high is not None:
            return self.low, self.high
        if self.kind == "minmax":
            return float(values.min()), float(values.max())
        low, high = np.percentile(values, _PERCENTILES)
        return float(low), float(high)


def map_deep_grey(values: NDArray[Any], window: Window, name: str) -> NDArray[np.uint8]:
    """Integers or floats -> uint8, rounded; one value everywhere becomes 0. Raises DataError for NaN, infinity."""
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        hint = "repair it, or skip it"
        raise DataError(f"{name} holds values that are not finite", hint=hint, parameters=("on_error",))
    low, high = window.find_limits(values)
    scale = 255 / (high - low) if high > low else 0.0
    mapped = np.empty(values.shape, np.uint8)
    for start in range(0, len(values), _ROWS):
        part = values[start : start + _ROWS].astype(np.float64)
        mapped[start : start + _ROWS] = np.rint(((part - low) * scale).clip(0, 255))
    return mapped
