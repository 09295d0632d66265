"""Capture the feature maps of a locked model, as stored and in true order."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx

from cipherlens.ciphers.rearrangement import invert_order
from cipherlens.keyed.lock import FeatureMap, LockedModel


@dataclass(frozen=True)
class CapturedMap:
    """A feature map of one image, as stored and in true order; both (C, H, W) float32."""

    feature_map: FeatureMap
    stored: NDArray[np.float32]
    restored: NDArray[np.float32]


class _Capture(fx.Interpreter):
    def __init__(self, model: LockedModel) -> None:
        super().__init__(model)
        self.wanted = {feature_map.node for feature_map in model.feature_maps}
        self.found: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n.name in self.wanted:
            self.found[n.name] = result[0].detach().float().cpu().clone()  # before it is changed in place
        return result


def capture_maps(model: LockedModel, image: Tensor) -> list[CapturedMap]:
    """All stored feature maps for one encrypted image (1, C, H, W), in the order of computation."""
    capture = _Capture(model)
    with torch.inference_mode():
        capture.run(image)
    return [_put_back(feature_map, capture.found[feature_map.node].numpy()) for feature_map in model.feature_maps]


def _put_back(feature_map: FeatureMap, stored: NDArray[np.float32]) -> CapturedMap:
    flat = stored.reshape(len(stored), -1)[:, invert_order(feature_map.order)]
    return CapturedMap(feature_map, stored, flat.reshape(stored.shape))
