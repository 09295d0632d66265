"""Shake-PyramidNet: the classifier of the published comparisons of LE, ELE and EtC (Madono 2020).

PyramidNet with basic blocks (Han, Kim and Kim 2017) and ShakeDrop (Yamada, Iwamura and Kise 2018).
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

KEPT_AT_THE_END = 0.5
"""Probability that the last block keeps its residual branch, as in the ShakeDrop paper."""


class _Shake(torch.autograd.Function):
    """Scales features by one number per image, and gradients by another."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, ahead: Tensor, back: Tensor) -> Tensor:
        ctx.save_for_backward(back)
        return features * ahead

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (back,) = ctx.saved_tensors
        return gradients[0] * back, None, None


class ShakeDrop(nn.Module):
    """Keep a residual branch with probability ``kept``, else scale it by a number from [-1, 1] per image.

    Gradients of a scaled branch are scaled by a number from [0, 1] per image. In evaluation mode the branch is
    multiplied by ``kept``.
    """

    def __init__(self, kept: float) -> None:
        super().__init__()
        self.kept = kept

    def forward(self, features: Tensor) -> Tensor:
        """Scale (N, C, H, W)."""
        if not self.training:
            return self.kept * features
        if torch.rand(()) < self.kept:
            return features
        shape = (features.shape[0], 1, 1, 1)
        ahead = torch.empty(shape, device=features.device, dtype=features.dtype).uniform_(-1, 1)
        back = torch.empty(shape, device=features.device, dtype=features.dtype).uniform_(0, 1)
        result: Tensor = _Shake.apply(features, ahead, back)
        return result


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, kept: float) -> None:
        super().__init__()
        self.added, self.stride = outputs - inputs, stride
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.drop = ShakeDrop(kept)

    def forward(self, x: Tensor) -> Tensor:
        branch = self.conv1(self.bn1(x))
        branch = self.bn3(self.conv2(F.relu(self.bn2(branch))))
        short = F.avg_pool2d(x, self.stride) if self.stride > 1 else x
        result: Tensor = self.drop(branch) + F.pad(short, (0, 0, 0, 0, 0, self.added))
        return result


class ShakePyramidNet(nn.Module):
    """``depth`` = 6 n + 2 layers; the width grows from 16 to 16 + ``alpha``, evenly over the 3 n blocks.

    (N, in_chans, H, W) float -> logits (N, num_classes). Block k of K is kept with probability 1 - k / K / 2.
    """

    def __init__(self, depth: int, alpha: int, num_classes: int, in_chans: int = 3) -> None:
        super().__init__()
        count = (depth - 2) // 6
        blocks = 3 * count
        widths = [round(16 + alpha * k / blocks) for k in range(blocks + 1)]
        self.conv = nn.Conv2d(in_chans, widths[0], 3, 1, 1, bias=False)
        self.bn = nn.BatchNorm2d(widths[0])
        self.blocks = nn.Sequential(
            *(
                _Block(
                    widths[k],
                    widths[k + 1],
                    stride=2 if k in (count, 2 * count) else 1,
                    kept=1 - (1 - KEPT_AT_THE_END) * (k + 1) / blocks,
                )
                for k in range(blocks)
            )
        )
        self.last = nn.BatchNorm2d(widths[-1])
        self.fc = nn.Linear(widths[-1], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Logits of a batch."""
        features = F.relu(self.last(self.blocks(self.bn(self.conv(images)))))
        logits: Tensor = self.fc(features.mean((2, 3)))
        return logits
