"""The network of learned decryptors: a map shaped like the inverse of a scheme, refined by a U-Net.

An attacker knows the scheme, and so the kind of map that undoes it. It is one matrix for all blocks, or a separate
affine map for every pixel. Where values move across the picture, it is a map of the whole of it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cipherlens.ciphers.structure import Shape
from cipherlens.models.unet import DEPTH, UNet

RANK = 256
"""Rank of the map of the whole picture. Set by hand."""
_WIDTH = 12
"""Channels of the U-Net at full size. Set by hand."""
_FLOOR = 1e-9
"""Share of the largest variance below which a direction is rounding noise and is dropped. Set by hand."""
_STILL = 1e-3
"""Minimum standard deviation by which a value is scaled, in units of [0, 1]. Set by hand."""


class BlockMap(nn.Module):
    """One matrix for the values of every block of ``block`` x ``block``; inputs are whitened first.

    After whitening, even the worst conditioned matrix of a Hill cipher is a rotation, and is learnt as fast as any.
    """

    mean: Tensor
    whitening: Tensor

    def __init__(self, block: int, features: int, channels: int) -> None:
        super().__init__()
        self.block = block
        count = features * block**2
        self.register_buffer("mean", torch.zeros(count))
        self.register_buffer("whitening", torch.eye(count))
        self.map = nn.Linear(count, channels * block**2)

    @torch.no_grad()
    def start(self, features: Tensor, values: Tensor, pictures: Tensor) -> None:
        """Start with the least change that gives ``values`` the mean and covariance of ``pictures``."""
        blocks, seen, wanted = (self._cut(images).double().flatten(0, 2) for images in (features, values, pictures))
        whitening = _power(torch.cov(blocks.T), -0.5)
        white = (blocks - blocks.mean(0)) @ whitening
        across = white.T @ (seen - seen.mean(0)) / len(seen)
        matrix = across @ _power(torch.cov(seen.T), -0.5) @ _power(torch.cov(wanted.T), 0.5)
        self.mean.copy_(blocks.mean(0))
        self.whitening.copy_(whitening)
        self.map.weight.copy_(matrix.T)
        self.map.bias.copy_(wanted.mean(0))

    def _cut(self, images: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, rows, columns, C * block^2)."""
        return F.pixel_unshuffle(images, self.block).permute(0, 2, 3, 1)

    def forward(self, features: Tensor, values: Tensor) -> Tensor:
        """Map (N, features, H, W) to (N, channels, H, W); ``values`` are not used."""
        mapped: Tensor = self.map((self._cut(features) - self.mean) @ self.whitening)
        return F.pixel_shuffle(mapped.permute(0, 3, 1, 2), self.block)


class PositionMap(nn.Module):
    """A separate affine map for the channels of every pixel."""

    mean: Tensor
    scale: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("scale", torch.ones(shape))
        self.weight = nn.Parameter(torch.zeros(shape[0], *shape))
        self.bias = nn.Parameter(torch.zeros(shape))

    @torch.no_grad()
    def start(self, features: Tensor, values: Tensor, pictures: Tensor) -> None:
        """Start with the least change that gives every value its mean and standard deviation in ``pictures``."""
        self.mean.copy_(values.mean(0))
        self.scale.copy_(values.std(0).clamp(min=_STILL))
        self.weight.copy_(torch.eye(len(self.bias))[:, :, None, None] * pictures.std(0))
        self.bias.copy_(pictures.mean(0))

    def forward(self, features: Tensor, values: Tensor) -> Tensor:
        """Map the values (N, C, H, W); ``features`` are not used."""
        return torch.einsum("nchw,dchw->ndhw", (values - self.mean) / self.scale, self.weight) + self.bias


class MovingMap(PositionMap):
    """A map of low rank of the whole picture, added to an affine map for every pixel.

    Natural pictures have few strong directions, so a map of low rank can restore most of them.
    """

    feature_mean: Tensor
    feature_scale: Tensor

    def __init__(self, shape: Shape, features: int) -> None:
        super().__init__(shape)
        inputs = (features, *shape[1:])
        self.register_buffer("feature_mean", torch.zeros(inputs))
        self.register_buffer("feature_scale", torch.ones(inputs))
        self.encode = nn.Linear(features * shape[1] * shape[2], RANK)
        self.decode = nn.Linear(RANK, self.bias.numel())
        nn.init.zeros_(self.decode.weight)
        nn.init.zeros_(self.decode.bias)

    @torch.no_grad()
    def start(self, features: Tensor, values: Tensor, pictures: Tensor) -> None:
        """Start as the affine map does; the map of low rank starts at zero."""
        super().start(features, values, pictures)
        self.feature_mean.copy_(features.mean(0))
        self.feature_scale.copy_(features.std(0).clamp(min=_STILL))

    def forward(self, features: Tensor, values: Tensor) -> Tensor:
        """Map values (N, C, H, W) and features (N, features, H, W) to (N, C, H, W)."""
        even = ((features - self.feature_mean) / self.feature_scale).flatten(1)
        moved: Tensor = self.decode(self.encode(even))
        return super().forward(features, values) + moved.reshape(values.shape)


class Inverter(nn.Module):
    """Maps ciphertexts (N, C, H, W) to pictures of the same shape, in units of [0, 1], not clipped.

    ``structure`` is "blocks" (of side ``block``), "positions" or "moves". With ``halves`` the inputs are the two
    half bytes of every value. With ``bf16`` the U-Net computes in bfloat16. The output has no activation, neither
    in training nor afterwards.
    """

    def __init__(self, structure: str, shape: Shape, block: int, halves: bool, bf16: bool) -> None:
        super().__init__()
        self.shape, self.halves, self.bf16 = shape, halves, bf16
        features = shape[0] * (1 + halves)
        self.unmix: BlockMap | PositionMap
        if structure == "blocks":
            self.unmix = BlockMap(block, features, shape[0])
        else:
            self.unmix = PositionMap(shape) if structure == "positions" else MovingMap(shape, features)
        self.refine = UNet(shape[0], shape[0] + features, width=_WIDTH).to(memory_format=torch.channels_last)
        nn.init.zeros_(self.refine.head.weight)
        assert self.refine.head.bias is not None
        nn.init.zeros_(self.refine.head.bias)

    def start(self, ct: Tensor, pictures: Tensor) -> None:
        """Start with the simplest map that gives ``ct`` the statistics of ``pictures``: plain images stay plain."""
        values = ct.reshape(-1, *self.shape)
        self.unmix.start(self._split(values), values, pictures)

    def _split(self, values: Tensor) -> Tensor:
        """Inputs of the network: the values, or their upper and lower half bytes, in units of [0, 1]."""
        if not self.halves:
            return values
        levels = (values * 255).round()
        upper = (levels / 16).floor()
        return torch.cat([upper, levels - 16 * upper], dim=1) / 15

    def forward(self, ct: Tensor) -> Tensor:
        """Decrypt; ciphertexts of another shape with as many values are taken row by row."""
        values = ct.reshape(-1, *self.shape)
        features = self._split(values)
        estimate: Tensor = self.unmix(features, values)
        height, width = self.shape[1:]
        step = 2**DEPTH
        seen = F.pad(torch.cat([estimate, features], dim=1), (0, -width % step, 0, -height % step), "replicate")
        # bfloat16 only here: whitening amplifies small differences.
        with torch.autocast(ct.device.type, torch.bfloat16, enabled=self.bf16):
            change: Tensor = self.refine(seen.contiguous(memory_format=torch.channels_last))
        return estimate + change[..., :height, :width].float()


def _power(covariance: Tensor, exponent: float) -> Tensor:
    """A power of a symmetric matrix (pseudo-inverse); directions without variance become zero."""
    values, vectors = torch.linalg.eigh(covariance)
    least = _FLOOR * float(values.max())
    powers = torch.where(values > least, values.clamp(min=least) ** exponent, 0)
    result: Tensor = (vectors * powers) @ vectors.T
    return result
