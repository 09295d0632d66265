"""ST-LPIPS (Ghildyal and Liu, ECCV 2022): a learned perceptual distance, tolerant of shifts.

The code is ours; the weights (AlexNet, "shift tolerant") are a file of the package stlpips-pytorch, which the extra
``perceptual`` installs. Nothing is downloaded. The package's own code is not run: it imports what it does not
declare, and parts of it are licensed for non-commercial use only.
"""

import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

_PACKAGE, _FILE = "stlpips_pytorch", "weights/vST0.0/alex_shift_tolerant.pth"
_SMALLEST = 21
"""Minimum side: on smaller ones the input of the third layer is too small to reflect its border."""
_MOST_IMAGES, _MOST_PIXELS = 200, 1_000_000
"""Images and pixels measured at most, from the first: a limit on time (half a second per 224x224 image)."""
_BATCH_PIXELS = 100_000
"""Pixels per batch: a limit on memory, set by hand."""


def perceptual_distance(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float64] | None:
    """ST-LPIPS per image, (n,), of (N, C, H, W) images in [0, 1]: 0 is the same picture, larger is less similar.

    It covers the first 200 images, or as many as have a million pixels. The result is None without the weights, for
    sides below 21 pixels, and for images with other than one or three channels.
    """
    _, channels, height, width = first.shape
    weights = _load_weights()
    if weights is None or min(height, width) < _SMALLEST or channels not in (1, 3):
        return None
    import torch

    count = max(1, min(len(first), _MOST_IMAGES, _MOST_PIXELS // (height * width)))
    step = max(1, _BATCH_PIXELS // (height * width))
    with torch.inference_mode():
        parts = [
            _measure(weights, *(_to_colour(images[start : min(count, start + step)]) for images in (first, second)))
            for start in range(0, count, step)
        ]
    return np.asarray(torch.cat(parts).numpy(), np.float64)


@lru_cache(maxsize=1)
def _load_weights() -> "dict[str, torch.Tensor] | None":
    found = importlib.util.find_spec(_PACKAGE)
    paths = [Path(place) / _FILE for place in (found.submodule_search_locations or [])] if found else []
    if not paths or not paths[0].is_file():
        return None
    import torch

    loaded: dict[str, torch.Tensor] = torch.load(paths[0], map_location="cpu", weights_only=True)
    return loaded


def _to_colour(images: NDArray[np.float32]) -> "torch.Tensor":
    """Values in [-1, 1], three channels."""
    import torch

    return 2 * torch.from_numpy(np.ascontiguousarray(images)).expand(-1, 3, -1, -1) - 1


def _measure(weights: "dict[str, torch.Tensor]", first: "torch.Tensor", second: "torch.Tensor") -> "torch.Tensor":
    """Squared differences of the feature maps, brought to unit length at every position, weighted and averaged."""
    total: Any = 0
    for layer, maps in enumerate(zip(_look(weights, first), _look(weights, second), strict=True)):
        one, two = (found / (found.square().sum(1, keepdim=True).sqrt() + 1e-10) for found in maps)
        total = total + ((one - two).square() * weights[f"lin{layer}.model.1.weight"]).sum(1).mean((1, 2))
    return total  # type: ignore[no-any-return]


def _look(weights: "dict[str, torch.Tensor]", images: "torch.Tensor") -> "list[torch.Tensor]":
    """The five feature maps of images (n, 3, H, W) in [-1, 1].

    Unlike in AlexNet, the first layer has stride 1, and maps are blurred before they are subsampled.
    """
    from torch.nn.functional import conv2d, max_pool2d, relu

    def convolve(maps: "torch.Tensor", layer: str, padding: int) -> "torch.Tensor":
        return conv2d(maps, weights[f"net.{layer}.weight"], weights[f"net.{layer}.bias"], padding=padding)

    scaled = (images - weights["scaling_layer.shift"]) / weights["scaling_layer.scale"]
    found = [relu(_halve(convolve(scaled, "slice1.0", 2)))]
    for layer, padding in (("slice2.5", 2), ("slice3.9", 1)):
        found.append(relu(convolve(_halve(max_pool2d(found[-1], 3, 1)), layer, padding)))
    for layer in ("slice4.11", "slice5.13"):
        found.append(relu(convolve(found[-1], layer, 1)))
    return found


def _halve(maps: "torch.Tensor") -> "torch.Tensor":
    """Every second position after a 3x3 binomial blur (Zhang 2019), with two positions reflected at the border."""
    import torch
    from torch.nn.functional import conv2d, pad

    line = torch.tensor([0.25, 0.5, 0.25])
    kernel = torch.outer(line, line).expand(maps.shape[1], 1, 3, 3)
    return conv2d(pad(maps, (2, 2, 2, 2), mode="reflect"), kernel, stride=2, groups=maps.shape[1])
