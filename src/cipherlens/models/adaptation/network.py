"""The adaptation network: a linear map per block, learnt together with the backbone behind it."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from cipherlens.errors import ShapeError, UsageError


@torch.fx.wrap
def check_sides(height: int, width: int, block: int) -> None:
    """Raise ShapeError unless both sides (pixels) are multiples of ``block``.

    Wrapped for ``torch.fx``: symbolic tracing records the call instead of tripping over its condition.
    """
    if height % block or width % block:
        raise ShapeError(
            f"images of {height}x{width} pixels do not divide into blocks of {block}x{block}",
            hint=f"resize or pad the images to multiples of {block}, or choose another adapt_block",
        )


class AdaptationNetwork(nn.Module):
    """Convolution k x k, stride k, to C*k*k filters, then the transposed convolution back to C channels.

    There is no nonlinearity, so that the network is one affine map per block, the same for every block: with
    the right weights it undoes any invertible block-linear cipher such as Hill. There is no padding either:
    it would shift the windows off the cipher's block grid, and no weights could decrypt then. That is what the
    report's public code does; ``legacy_padding`` (blocks of 3 x 3 and more) does it too, for comparison.

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
        """Make it the affine map of a block: ``block @ matrix + shift``, in (channel, row, column) order.

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
        output: Tensor = self.deconv(self.conv(images))
        return output


def list_heads(backbone: nn.Module) -> tuple[str, ...]:
    """Names of a classifier's last layers, which depend on the number of classes; timm's networks know theirs."""
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

    @property
    def penalty(self) -> Tensor | None:
        """What adaptation network and backbone add to the loss of the last training step (ELE's, PrivConv's)."""
        parts = [getattr(part, "penalty", None) for part in (self.adapt, self.backbone)]
        found: list[Tensor] = [part for part in parts if part is not None]
        return torch.stack(found).sum() if found else None

    def freeze(self, frozen: bool) -> None:
        """Keep the backbone as it is, normalisation statistics too, but for its classifier, which is often new."""
        self.frozen = frozen
        heads = tuple(f"{name}." for name in list_heads(self.backbone))
        for name, parameter in self.backbone.named_parameters():
            parameter.requires_grad_(not frozen or name.startswith(heads))
        self.train(self.training)

    def train(self, mode: bool = True) -> "AdaptedModel":
        """As torch's, but a frozen backbone stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, C, H, W)."""
        logits: Tensor = self.backbone(self.adapt(images))
        return logits


class OwnersModel(AdaptedModel):
    """One adaptation network for every key (``adapt.0``, ``adapt.1``, ...), one classifier behind them."""

    adapt: nn.ModuleList

    def __init__(self, adapts: Iterable[nn.Module], backbone: nn.Module) -> None:
        super().__init__(nn.ModuleList(adapts), backbone)

    def forward(self, images: Tensor, owners: Tensor) -> Tensor:  # type: ignore[override]
        """Logits (N, classes) of images (N, C, H, W), each under the key of ``owners`` (N,) int64."""
        places = [torch.nonzero(owners == number)[:, 0] for number in range(len(self.adapt))]
        parts = [adapt(images[place]) for adapt, place in zip(self.adapt, places, strict=True) if len(place)]
        order = torch.argsort(torch.cat(places))
        logits: Tensor = self.backbone(torch.cat(parts)[order])
        return logits
