"""What is typical of ciphertexts: their range, and their roughness. Photos are smooth, most ciphertexts are not."""

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

Finite = Annotated[float, Meta(gt=-1e30, lt=1e30)]


@dataclass(frozen=True)
class Statistics:
    """Of some training ciphertexts: the smallest roughness of one, and the lowest and highest value of all."""

    roughness: Annotated[float, Meta(ge=0, lt=1e30)]
    low: Finite
    high: Finite

    @classmethod
    def of(cls, images: NDArray[Any]) -> "Statistics":
        """The statistics of images (N, C, H, W), N > 0."""
        roughness = min(float(measure_roughness(images).min()), 1e29)  # constant images have none
        return cls(roughness, float(images.min()), float(images.max()))

    def find_smooth(self, images: NDArray[Any]) -> int | None:
        """The first image that is far smoother than ciphertexts are, None where there is none."""
        smooth = measure_roughness(images) < self.roughness / 2
        return int(smooth.argmax()) if smooth.any() else None

    def find_outlier(self, images: NDArray[Any]) -> int | None:
        """The first image with a value further out than the whole range of the training ciphertexts."""
        low, high = 2 * self.low - self.high, 2 * self.high - self.low
        if images.min() >= low and images.max() <= high:
            return None
        return int(((images < low) | (images > high)).any((1, 2, 3)).argmax())


def measure_roughness(images: NDArray[Any]) -> NDArray[np.float64]:
    """Mean difference of neighbouring values divided by the standard deviation, for each image (N, C, H, W).

    Photos are near 0.2 and noise near 1.1, whatever the scale. A constant image counts as rough.
    """
    values = images.astype(np.float32)
    steps = (np.abs(np.diff(values, axis=axis)).mean((1, 2, 3)) for axis in (2, 3) if images.shape[axis] > 1)
    spread = values.std((1, 2, 3), dtype=np.float64)
    return np.where(spread > 0, sum(steps, np.zeros(len(images))) / 2 / np.where(spread > 0, spread, 1), np.inf)
