"""A small network that trains in minutes on a CPU, after airbench94 (Jordan, arXiv:2404.00498)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_WIDTHS = (64, 256, 256)
_PATCH = 2
"""Side of the first layer's patches in pixels (the paper's)."""
_SCALE = 1 / 9
"""Factor of the logits (the paper's)."""
_MOMENTUM = 0.4
"""How far one batch moves BatchNorm's statistics (the paper's)."""


class SpeedNet(nn.Module):
    """Three blocks of two 3 x 3 convolutions behind a fixed layer that whitens patches of 2 x 2 pixels.

    The fixed layer has two filters of opposite sign for each principal component of a patch. Until
    ``set_whitening``, the components are the patch's values. Input: (N, in_chans, H, W) float, sides of at least 16
    pixels; output: logits (N, num_classes). Training with its own settings: see ``training/recipes.py``.
    """

    whitening: Tensor

    def __init__(self, num_classes: int, in_chans: int = 3) -> None:
        super().__init__()
        values = in_chans * _PATCH**2
        # A buffer: no training may change it, whatever it unfreezes.
        self.register_buffer("whitening", torch.zeros(2 * values, in_chans, _PATCH, _PATCH))
        self.bias = nn.Parameter(torch.zeros(2 * values))
        self.set_whitening(torch.eye(values))
        inputs = (2 * values, *_WIDTHS[:-1])
        self.blocks = nn.Sequential(*map(_Block, inputs, _WIDTHS))
        self.pool = nn.AdaptiveMaxPool2d(1)
        self.fc = nn.Linear(_WIDTHS[-1], num_classes, bias=False)

    @property
    def patch(self) -> int:
        """Side in pixels of the patches that the first layer whitens."""
        return _PATCH

    def set_whitening(self, components: Tensor) -> None:
        """Set the first layer to ``components`` (V, V): one row per component, values in order (C, 2, 2)."""
        with torch.no_grad():
            self.whitening.copy_(torch.cat([components, -components]).view_as(self.whitening))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, num_classes) of images (N, in_chans, H, W)."""
        patches = F.gelu(F.conv2d(images, self.whitening, self.bias))
        logits: Tensor = self.fc(self.pool(self.blocks(patches)).flatten(1)) * _SCALE
        return logits


class _Block(nn.Sequential):
    """Convolution, pooling by 2, convolution; BatchNorm has no scale."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            _create_convolution(in_channels, out_channels),
            nn.MaxPool2d(2),
            _create_norm(out_channels),
            nn.GELU(),
            _create_convolution(out_channels, out_channels),
            _create_norm(out_channels),
            nn.GELU(),
        )


def _create_convolution(in_channels: int, out_channels: int) -> nn.Conv2d:
    """3 x 3; the first filters start as the identity, and pass on what the layer before found."""
    convolution = nn.Conv2d(in_channels, out_channels, 3, padding="same", bias=False)
    with torch.no_grad():
        nn.init.dirac_(convolution.weight[:in_channels])
    return convolution


def _create_norm(channels: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels, momentum=_MOMENTUM)
    norm.weight.requires_grad_(False)
    return norm
