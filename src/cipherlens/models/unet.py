"""A U-Net for segmentation: one class per pixel."""

from itertools import pairwise

import torch
from torch import Tensor, nn

DEPTH = 4
"""Number of times that the sides are halved, as in Ronneberger et al. 2015."""


class DoubleConvolution(nn.Sequential):
    """Twice a 3 x 3 convolution, batch normalisation and ReLU; the sides are kept."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
        )


class UNet(nn.Module):
    """U-Net (Ronneberger et al. 2015) with batch normalisation, and with padded convolutions, which keep the sides.

    It halves the sides four times by max pooling, and doubles them four times by transposed convolutions. It has
    ``width`` channels at full resolution, twice as many per level. Image sides must be multiples of 16.
    """

    def __init__(self, num_classes: int, in_chans: int = 3, *, width: int) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(DEPTH + 1)]
        self.encoders = nn.ModuleList(map(DoubleConvolution, [in_chans, *widths[:-2]], widths[:-1]))
        self.pool = nn.MaxPool2d(2)
        self.bottom = DoubleConvolution(widths[-2], widths[-1])
        deep_first = list(reversed(widths))
        pairs = list(pairwise(deep_first))
        self.ups = nn.ModuleList(nn.ConvTranspose2d(deep, shallow, 2, stride=2) for deep, shallow in pairs)
        self.decoders = nn.ModuleList(DoubleConvolution(2 * shallow, shallow) for _, shallow in pairs)
        self.head = nn.Conv2d(width, num_classes, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, num_classes, H, W) of images (N, in_chans, H, W)."""
        skips, x = [], images
        for encode in self.encoders:
            x = encode(x)
            skips.append(x)
            x = self.pool(x)
        x = self.bottom(x)
        for up, decode in zip(self.ups, self.decoders, strict=True):
            x = decode(torch.cat([skips.pop(), up(x)], dim=1))
        logits: Tensor = self.head(x)
        return logits
