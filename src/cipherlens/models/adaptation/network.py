"""The adaptation network: an affine map per block, learned together with the backbone."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from cipherlens.errors import ShapeError, UsageError


@torch.fx.wrap
def check_sides(height: int, width: int, block: int) -> None:
    """Raise ShapeError unless both sides (pixels) are multiples of ``block``.

    It is wrapped for ``torch.fx``: symbolic tracing records the call instead of evaluating its condition.
    """
    if height % block or width % block:
        raise ShapeError(
            f"images of {height}x{width} pixels do not divide into blocks of {block}x{block}",
            hint=f"resize or pad the images to multiples of {block}, or choose another adapt_block",
        )


class AdaptationNetwork(nn.Module):
    """Convolution k x k, stride k, to C*k*k filters, then the transposed convolution back to C channels.

    Without a nonlinearity, the network is one affine map, the same for every block. With the right weights it
    undoes any invertible block-linear cipher, such as Hill. It has no padding, which would shift the windows off
    the cipher's block grid, so that no weights could decrypt. The report's public code has that padding;
    ``legacy_padding`` (blocks of 3 x 3 and more) adds it for comparison.

    Input and output: (N, channels, H, W) float; H and W multiples of ``block``, otherwise ShapeError.
    """

    def __init__(self, block: int, channels: int = 3, legacy_padding: bool = False) -> None:
        super().__init__()
        if legacy_padding and block < 3:
            raise UsageError(f"with legacy_padding blocks are at least 3 x 3, got {block}")
        if block < 1 or channels < 1:
            raise UsageError(f"adaptation network needs block >= 1 and channels >= 1, got {block}, {channels}")
        self.block = block
        filters = channels * block * block
        self.conv = nn.Conv2d(channels, filters, kernel_size=block, stride=block, padding=int(legacy_padding))
        self.deconv = nn.ConvTranspose2d(filters, channels, kernel_size=block, stride=block)

    def set_affine(self, matrix: Tensor, shift: Tensor) -> None:
        """Set the weights to the affine map ``block @ matrix + shift`` of blocks in (channel, row, column) order.

        ``matrix`` (C*k*k, C*k*k), ``shift`` (C*k*k,), float.
        """
        count = len(shift)
        shape = (count, count // self.block**2, self.block, self.block)
        with torch.no_grad():
            self.conv.weight.copy_(matrix.T.reshape(shape))
            self.conv.bias.copy_(shift)  # type: ignore[union-attr]
            self.deconv.weight.copy_(torch.eye(count).reshape(shape))
            self.deconv.bias.zero_()  # type: ignore[union-attr]

    def forward(self, images: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C, H, W), block by block."""
        check_sides(images.shape[-2], images.shape[-1], self.block)
        with in_float32(self):
            output: Tensor = self.deconv(self.conv(images))
        return output


def in_float32(module: nn.Module) -> torch.autocast:
    """Context in which ``module`` computes in float32 whatever the run's precision is.

    The inverse of a cipher's matrix has large entries, and bf16 would round away what they leave.
    """
    device = next(module.parameters()).device.type
    return torch.autocast("cpu" if device == "meta" else device, enabled=False)  # shapes are tried on "meta"


def list_heads(backbone: nn.Module) -> tuple[str, ...]:
    """Names of the last layers, which depend on the number of classes; from timm's config if there is one."""
    config: Any = getattr(backbone, "pretrained_cfg", None) or {}
    own = (name for name in ("fc", "classifier", "head") if hasattr(backbone, name))
    heads = config.get("classifier") or next(own, "fc")
    return (heads,) if isinstance(heads, str) else tuple(heads)


class AdaptedModel(nn.Module):
    """An adaptation network (submodule ``adapt``) in front of a classifier (submodule ``backbone``)."""

    def __init__(self, adapt: nn.Module, backbone: nn.Module) -> None:
        super().__init__()
        self.adapt = adapt
        self.backbone = backbone
        self.frozen = False
        self._learning = {name for name, part in backbone.named_parameters() if part.requires_grad}

    @property
    def penalty(self) -> Tensor | None:
        """Penalties of adaptation network and backbone (ELE's, PrivConv's), which the training adds to the loss."""
        parts = [getattr(part, "penalty", None) for part in (self.adapt, self.backbone)]
        found: list[Tensor] = [part for part in parts if part is not None]
        return torch.stack(found).sum() if found else None

    def freeze(self, frozen: bool) -> None:
        """Freeze or unfreeze the backbone with its normalisation statistics; its classifier keeps learning."""
        self.frozen = frozen
        heads = tuple(f"{name}." for name in list_heads(self.backbone))
        for name, parameter in self.backbone.named_parameters():
            parameter.requires_grad_(name in self._learning and (not frozen or name.startswith(heads)))
        self.train(self.training)

    def train(self, mode: bool = True) -> "AdaptedModel":
        """As ``nn.Module.train``, but a frozen backbone stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    def read(self, images: Tensor) -> Tensor:
        """What the backbone sees of images (N, C, H, W): pictures, where the adaptation network decrypts."""
        pictures: Tensor = self.adapt(images)
        return pictures

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, C, H, W)."""
        logits: Tensor = self.backbone(self.read(images))
        return logits


class OwnersModel(AdaptedModel):
    """One adaptation network for every key (``adapt.0``, ``adapt.1``, ...), and one common classifier."""

    adapt: nn.ModuleList

    def __init__(self, adapts: Iterable[nn.Module], backbone: nn.Module) -> None:
        super().__init__(nn.ModuleList(adapts), backbone)

    def read(self, images: Tensor, owners: Tensor) -> Tensor:  # type: ignore[override]
        """What the backbone sees of images (N, C, H, W), each under the key of ``owners`` (N,) int64."""
        places = [torch.nonzero(owners == number)[:, 0] for number in range(len(self.adapt))]
        parts = [adapt(images[place]) for adapt, place in zip(self.adapt, places, strict=True) if len(place)]
        return torch.cat(parts)[torch.argsort(torch.cat(places))]

    def forward(self, images: Tensor, owners: Tensor) -> Tensor:  # type: ignore[override]
        """Logits (N, classes) of images (N, C, H, W), each under the key of ``owners`` (N,) int64."""
        logits: Tensor = self.backbone(self.read(images, owners))
        return logits
