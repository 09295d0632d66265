"""PrivConv (Qi, MaungMaung and Kiya 2022): a ConvMixer that learns to undo block scrambling.

Only its abstract was available. The place of the permutation and its penalty are this project's choices, after
ELE-AdaptNet.
"""

import torch
from torch import Tensor, nn

from cipherlens.models.adaptation.learned import penalise_permutation


class PrivConv(nn.Module):
    """Patch embedding, a learnable matrix (patches, patches) that mixes positions, ConvMixer layers, pooling.

    ConvMixer: Trockman and Kolter 2022. Images (N, in_chans, H, W) float of the fixed ``image_size`` -> logits
    (N, num_classes). ``penalty`` is computed at each forward pass in training mode. It is zero where the matrix is
    a permutation.
    """

    def __init__(
        self,
        width: int,
        depth: int,
        num_classes: int,
        image_size: tuple[int, int],
        in_chans: int = 3,
        patch: int = 4,
        kernel: int = 9,
    ) -> None:
        super().__init__()
        patches = image_size[0] * image_size[1] // patch**2
        self.embed = nn.Sequential(nn.Conv2d(in_chans, width, patch, patch), nn.GELU(), nn.BatchNorm2d(width))
        self.permutation = nn.Parameter(torch.eye(patches) + 0.01 * torch.randn(patches, patches))
        self.layers = nn.Sequential(*(_Mixer(width, kernel) for _ in range(depth)))
        self.fc = nn.Linear(width, num_classes)
        self.penalty: Tensor | None = None

    def forward(self, images: Tensor) -> Tensor:
        """Logits of a batch."""
        tokens = self.embed(images)
        mixed = torch.einsum("ij,ncj->nci", self.permutation.to(tokens.dtype), tokens.flatten(2))
        self.penalty = penalise_permutation(self.permutation) if self.training else None
        logits: Tensor = self.fc(self.layers(mixed.reshape(tokens.shape)).mean((2, 3)))
        return logits


class _Mixer(nn.Module):
    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.spatial = nn.Sequential(
            nn.Conv2d(width, width, kernel, groups=width, padding="same"), nn.GELU(), nn.BatchNorm2d(width)
        )
        self.channels = nn.Sequential(nn.Conv2d(width, width, 1), nn.GELU(), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.channels(x + self.spatial(x))
        return result
