"""An adaptation network that whitens blocks and then learns a rotation."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d
from torch.nn.utils.parametrizations import orthogonal

from cipherlens.models.adaptation.network import AdaptationNetwork, check_sides, in_float32


class WhitenedAdaptation(AdaptationNetwork):
    """Whitening, a rotation, and the transposed convolution back to C channels.

    Whitened blocks of a block-linear cipher are whitened plain blocks, up to a rotation of their values. ``conv``
    holds the whitening (:meth:`set_affine`) and is not trained. ``rotation`` starts as the identity and stays
    orthogonal. ``deconv`` learns the scale of the values.

    Input and output are those of AdaptationNetwork.
    """

    def __init__(self, block: int, channels: int = 3) -> None:
        super().__init__(block, channels)
        self.conv.requires_grad_(False)
        values = self.conv.out_channels
        self.rotation: Any = orthogonal(nn.Linear(values, values, bias=False))
        self.rotation.weight = torch.eye(values)

    def forward(self, images: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C, H, W), block by block."""
        check_sides(images.shape[-2], images.shape[-1], self.block)
        with in_float32(self):
            rotation: Tensor = self.rotation.weight
            rotated = conv2d(self.conv(images), rotation[:, :, None, None])
            output: Tensor = self.deconv(rotated)
        return output
