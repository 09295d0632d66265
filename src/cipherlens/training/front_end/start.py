"""Initialise an adaptation network from a map that reads the images, found by an attack or made with the key.

Whoever has such a map, or a run that started from it, can decrypt.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cipherlens.ciphers.estimated_inverse import BlockInverse, EstimatedInverse, PositionInverse
from cipherlens.errors import ShapeError, UsageError
from cipherlens.models import AdaptationNetwork
from cipherlens.models.adaptation.positions import PositionAdaptation
from cipherlens.training.engine.normalization import Normalization

PLAIN_MEAN, PLAIN_STD = 0.5, 0.25
"""Approximate mean and std of natural images, for networks without pretraining. Chosen by hand."""


def get_adaptation(inverse: EstimatedInverse) -> tuple[str, int]:
    """Kind and block of the adaptation network that can hold a map. Raises UsageError where none can."""
    if isinstance(inverse, PositionInverse):
        return "positions", 1
    if not isinstance(inverse, BlockInverse):
        hint = "use the map of covariance or correlation, or of invert"
        raise UsageError(f"a map of {inverse.kind} fits no adaptation network", hint=hint)
    inverse.to_affine()
    return "er", inverse.block


def choose_range(backbone: nn.Module, channels: int, pretrained: bool) -> Normalization:
    """The backbone's input normalisation: that of its pretraining, else PLAIN_MEAN and PLAIN_STD."""
    known = getattr(backbone, "pretrained_cfg", None) or {}
    mean, std = known.get("mean"), known.get("std")
    if pretrained and mean and std and len(mean) == len(std) == channels:
        return Normalization(tuple(map(float, mean)), tuple(map(float, std)))
    return Normalization((PLAIN_MEAN,) * channels, (PLAIN_STD,) * channels)


def set_front_end(adapt: nn.Module, inverse: EstimatedInverse, given: Normalization, wanted: Normalization) -> None:
    """Set an adaptation network to the map; its output is the plain image, normalised as ``wanted``.

    Its input are ciphertexts, normalised as ``given``. Raises UsageError where the network is of another kind or
    block, ShapeError for another image size.
    """
    if isinstance(adapt, PositionAdaptation) and isinstance(inverse, PositionInverse):
        if len(inverse.source) != len(adapt.source):
            raise ShapeError(f"the map is for images {inverse.shape}, not for {adapt.size}")
        std, mean = _stack(given.std) / _stack(wanted.std), _stack(given.mean) - _stack(wanted.mean)
        adapt.set_places(torch.from_numpy(inverse.source), _tensor(std), _tensor(mean / _stack(wanted.std)))
        return
    if not (isinstance(adapt, AdaptationNetwork) and isinstance(inverse, BlockInverse)):
        raise UsageError(
            "the map is for another kind of adaptation network",
            hint="start from another map",
            parameters=("start",),
        )
    matrix, shift = inverse.to_affine()
    per_channel = adapt.block**2
    if inverse.block != adapt.block or len(shift) != adapt.conv.out_channels:
        raise UsageError(
            f"the map is for blocks of {inverse.block} in {inverse.shape[0]} channels, the adaptation network for "
            f"{adapt.block} in {adapt.conv.out_channels // per_channel}",
            hint="use the cipher's block",
            parameters=("adapt_block",),
        )
    mean, std, out_mean, out_std = (
        np.repeat(_stack(values), per_channel) for values in (given.mean, given.std, wanted.mean, wanted.std)
    )
    whole = std[:, None] * matrix / out_std
    adapt.set_affine(_tensor(whole), _tensor((mean @ matrix + shift - out_mean) / out_std))


def _stack(values: tuple[float, ...]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array(values, np.float64)


def _tensor(values: np.ndarray[Any, np.dtype[np.float64]]) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))
