"""Adaptation networks of the other schemes: LE (Tanaka 2018), ELE (Madono 2020), PE (Sirichotedumrong 2019).

They give the backbone more channels than an image has: 256 published filters on 4x4 blocks make 16 channels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cipherlens.errors import ShapeError, UsageError
from cipherlens.models.adaptation.network import check_sides

WIDTH = 16
"""Output channels: the 256 published filters, divided by the 16 pixels of a 4x4 block."""
PERMUTATION_WEIGHT, SMOOTHNESS_WEIGHT = 0.001, 0.1
"""Weights of ELE's two penalties (Madono 2020)."""


class LeAdaptNet(nn.Module):
    """Convolution k x k of stride k to 16 k^2 filters, batch normalisation, LeakyReLU(0.1), PixelShuffle(k).

    Input (N, channels, H, W) float, output (N, 16, H, W); H and W multiples of ``block``, otherwise ShapeError.
    """

    out_channels = WIDTH

    def __init__(self, block: int, channels: int = 3) -> None:
        super().__init__()
        self.block = block
        self.conv = nn.Conv2d(channels, WIDTH * block**2, block, block)
        self.norm = nn.BatchNorm2d(WIDTH * block**2)

    def forward(self, images: Tensor) -> Tensor:
        """Map images block by block; all blocks share the weights."""
        check_sides(images.shape[-2], images.shape[-1], self.block)
        return F.pixel_shuffle(F.leaky_relu(self.norm(self.conv(images)), 0.1), self.block)


class EleAdaptNet(nn.Module):
    """A separate convolution for every block, batch normalisation, LeakyReLU(0.2), a learned matrix over blocks.

    The matrix (blocks, blocks) shall become a permutation. ``penalty`` has two terms (Madono 2020). The first is
    0.001 times L1 norm minus L2 norm, summed over rows and columns, which is zero for a permutation. The second is
    0.1 times the mean absolute difference of neighbouring output values, over images, channels and positions. It is
    computed at each forward pass in training mode. Takes images of one size; raises ShapeError for others.
    """

    out_channels = WIDTH

    def __init__(self, block: int, size: tuple[int, int], channels: int = 3) -> None:
        super().__init__()
        check_sides(*size, block)
        self.block, self.size = block, size
        blocks, values = size[0] * size[1] // block**2, channels * block**2
        self.weight = nn.Parameter(torch.empty(blocks, values, WIDTH * block**2))
        self.bias = nn.Parameter(torch.zeros(blocks, 1, WIDTH * block**2))
        nn.init.uniform_(self.weight, -(values**-0.5), values**-0.5)  # as torch initialises a convolution
        self.norm = nn.BatchNorm1d(blocks * WIDTH * block**2)
        self.permutation = nn.Parameter(torch.eye(blocks) + 0.01 * torch.randn(blocks, blocks))
        self.penalty: Tensor | None = None

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, channels, H, W) of the network's size to (N, 16, H, W)."""
        if tuple(images.shape[-2:]) != self.size:
            raise ShapeError(f"made for images of {self.size}, not {tuple(images.shape[-2:])}")
        count = images.shape[0]
        patches = F.unfold(images, self.block, stride=self.block)  # (N, values, blocks)
        features = torch.baddbmm(self.bias, patches.permute(2, 0, 1), self.weight.to(patches.dtype))
        features = features.permute(1, 0, 2).reshape(count, -1)
        features = F.leaky_relu(self.norm(features), 0.2).reshape(count, len(self.permutation), -1)
        mixed = torch.einsum("ij,njf->nfi", self.permutation.to(features.dtype), features)
        rows, columns = self.size[0] // self.block, self.size[1] // self.block
        result = F.pixel_shuffle(mixed.reshape(count, -1, rows, columns), self.block)
        self.penalty = self._penalise(result) if self.training else None
        return result

    def _penalise(self, result: Tensor) -> Tensor:
        image = result.float()
        rough = image.diff(dim=2).abs().mean() + image.diff(dim=3).abs().mean()
        return penalise_permutation(self.permutation) + SMOOTHNESS_WEIGHT * rough


def penalise_permutation(matrix: Tensor) -> Tensor:
    """0.001 times L1 norm minus L2 norm, summed over rows and columns; zero for a permutation (Madono 2020)."""
    values = matrix.float()
    penalty: Tensor = sum((values.abs().sum(d) - values.norm(dim=d)).sum() for d in (0, 1))
    return PERMUTATION_WEIGHT * penalty


class PeAdaptNet(nn.Module):
    """Two 1 x 1 convolutions with batch normalisation and LeakyReLU(0.1) between them."""

    out_channels = WIDTH

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 2 * WIDTH, 1),
            nn.BatchNorm2d(2 * WIDTH),
            nn.LeakyReLU(0.1),
            nn.Conv2d(2 * WIDTH, WIDTH, 1),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Map (N, channels, H, W) to (N, 16, H, W)."""
        result: Tensor = self.layers(images)
        return result


def create_learned(kind: str, block: int, channels: int, size: tuple[int, int] | None) -> nn.Module:
    """The adaptation network of LE ("le"), ELE ("ele", which needs the size of the images) or PE ("pe")."""
    if kind == "ele" and size is None:
        raise UsageError("ELE's adaptation network is made for one size of images", hint="give image_size")
    if kind == "ele":
        assert size is not None
        return EleAdaptNet(block, size, channels)
    return LeAdaptNet(block, channels) if kind == "le" else PeAdaptNet(channels)
