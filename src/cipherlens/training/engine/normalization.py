"""Per-channel normalisation of (encrypted) images; it is measured once and stored with the run."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, isfinite
from typing import Any

import torch
from torch import Tensor

from cipherlens.errors import DataError, UsageError
from cipherlens.schema import parse
from cipherlens.training.engine.batches import ImageSet, read_chunks

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Mean of ImageNet's channels, the constants of torchvision's models."""
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Standard deviation of ImageNet's channels, the constants of torchvision's models."""
SMALLEST_STD = 1 / 255
"""Lower bound of a measured standard deviation, one grey level: a constant channel has 0. Chosen by hand."""


@dataclass(frozen=True, slots=True)
class Normalization:
    """The model's input is (x - mean) / std per channel; uint8 images are read as x / 255."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def apply(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) uint8 or float -> float32 in channels-last layout."""
        unit = 255.0 if images.dtype == torch.uint8 else 1.0
        std = torch.tensor(self.std, device=images.device).view(-1, 1, 1)
        mean = torch.tensor(self.mean, device=images.device).view(-1, 1, 1)
        pixels = torch.empty(images.shape, device=images.device, memory_format=torch.channels_last)
        return pixels.copy_(images).mul_(1 / (unit * std)).sub_(mean / std)

    def to_json(self) -> dict[str, Any]:
        """Mean and std as lists."""
        return {"mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Normalization":
        """Inverse of ``to_json``. Raises ValueError for values that are not valid."""
        found = parse(values, cls)
        if len(found.mean) != len(found.std) or not all(map(isfinite, found.mean)):
            raise ValueError("mean and std are not one finite number per channel")
        if not all(0 < std < inf for std in found.std):
            raise ValueError("a std that is not positive")
        return found


def create_normalization(kind: str, images: ImageSet) -> Normalization:
    """Normalisation for a set's channels; ``kind``: "standardize" (measured on ``images``), "imagenet", "none"."""
    channels = images.shape[0]
    if kind == "imagenet":
        if channels != 3:
            raise UsageError(
                f"ImageNet's constants are for 3 channels, the images have {channels}",
                hint="use normalize standardize",
            )
        return Normalization(IMAGENET_MEAN, IMAGENET_STD)
    if kind == "none":
        return Normalization((0.0,) * channels, (1.0,) * channels)
    return _measure(images)


def _measure(images: ImageSet) -> Normalization:
    sums = torch.zeros(2, images.shape[0], dtype=torch.float64)
    for chunk in read_chunks(images):
        # float64: the sums of uint8 stay exact, and the variance keeps its digits.
        values = chunk.double().div_(255 if chunk.dtype == torch.uint8 else 1)
        sums += torch.stack([values.sum((0, 2, 3)), values.square().sum((0, 2, 3))])
    mean, square = sums / (len(images) * images.shape[1] * images.shape[2])
    if not bool(torch.isfinite(sums).all()):
        raise DataError("the training images hold values that are not finite")
    std = (square - mean.square()).clamp_min(0).sqrt().clamp_min(SMALLEST_STD)
    return Normalization(tuple(mean.tolist()), tuple(std.tolist()))
