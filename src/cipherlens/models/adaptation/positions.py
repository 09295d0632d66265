"""An adaptation network for pixel permutations: it applies the inverse permutation."""

import torch
from torch import Tensor, nn

from cipherlens.errors import ShapeError


class PositionAdaptation(nn.Module):
    """Rearranges the pixels of every image, then scales and shifts each channel.

    The permutation is given, not learned: pixel i of the picture (row-major) is pixel ``source[i]`` of the
    ciphertext, ``source`` (H * W,). Before :meth:`set_places` it is the identity.

    Input and output: (N, channels, H, W) float; ShapeError for another size.
    """

    source: Tensor

    def __init__(self, size: tuple[int, int], channels: int = 3) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("source", torch.arange(size[0] * size[1]))
        self.scale = nn.Parameter(torch.ones(channels))
        self.shift = nn.Parameter(torch.zeros(channels))

    def set_places(self, source: Tensor, scale: Tensor, shift: Tensor) -> None:
        """Set ``source`` (H * W,) int64, and ``scale`` and ``shift`` of the channels, (C,) float."""
        with torch.no_grad():
            for own, given in ((self.source, source), (self.scale, scale), (self.shift, shift)):
                own.copy_(given)

    def forward(self, images: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C, H, W)."""
        if tuple(images.shape[-2:]) != self.size:
            raise ShapeError(f"images of {tuple(images.shape[-2:])} pixels given, the map is for {self.size}")
        placed = images.flatten(2)[..., self.source].view(*images.shape[:2], *self.size)
        return placed * self.scale[:, None, None] + self.shift[:, None, None]
