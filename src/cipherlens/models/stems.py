"""Stems for small images: networks for 224 x 224 pixels downsample by four before the first block."""

from collections.abc import Callable
from typing import Any

from torch import nn

from cipherlens.errors import UsageError


def shrink_stem(model: nn.Module, name: str, in_chans: int) -> None:
    """Replace the stem of a timm network by a newly initialised one for small images, in place.

    ResNets and DenseNets get one 3 x 3 convolution of stride 1 without pooling (He et al. 2016, section 4.2).
    ConvNeXts get patches of 2 x 2 pixels instead of 4 x 4. Raises UsageError for other networks.
    """
    for family, shrink in _list_families().items():
        if isinstance(model, family):
            shrink(model, in_chans)
            return
    raise UsageError(
        f"small_stem does not work for {name}",
        hint="it is for timm's resnet*, resnext*, seresnet*, densenet* and convnext*; preresnet* has a small stem",
    )


def _list_families() -> dict[type[nn.Module], Callable[[Any, int], None]]:
    from timm.models.convnext import ConvNeXt
    from timm.models.densenet import DenseNet
    from timm.models.resnet import ResNet

    return {ResNet: _shrink_resnet, DenseNet: _shrink_densenet, ConvNeXt: _shrink_convnext}


def _shrink_resnet(model: Any, in_chans: int) -> None:
    model.conv1 = _make_convolution(in_chans, model.bn1.num_features)
    model.maxpool = nn.Identity()


def _shrink_densenet(model: Any, in_chans: int) -> None:
    model.features.conv0 = _make_convolution(in_chans, model.features.norm0.num_features)
    model.features.pool0 = nn.Identity()


def _make_convolution(in_chans: int, width: int) -> nn.Conv2d:
    convolution = nn.Conv2d(in_chans, width, 3, 1, 1, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return convolution


def _shrink_convnext(model: Any, in_chans: int) -> None:
    old = model.stem[0]
    if old.stride != (4, 4):
        raise UsageError("small_stem is for ConvNeXts whose stem cuts patches", hint="choose convnext_tiny, ...")
    model.stem[0] = nn.Conv2d(in_chans, old.out_channels, 2, 2, bias=old.bias is not None)
    nn.init.trunc_normal_(model.stem[0].weight, std=0.02)
