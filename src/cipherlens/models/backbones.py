"""Models by name: a registry of this project's networks, and timm for every other name."""

from collections.abc import Callable
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cipherlens.errors import DataError, ShapeError, UsageError, unknown_name
from cipherlens.models.adaptation.kinds import ADAPTATIONS
from cipherlens.models.adaptation.learned import create_learned
from cipherlens.models.adaptation.network import AdaptationNetwork, AdaptedModel
from cipherlens.models.adaptation.positions import PositionAdaptation
from cipherlens.models.adaptation.whitened import WhitenedAdaptation
from cipherlens.models.preresnet import PreResNet
from cipherlens.models.privconv import PrivConv
from cipherlens.models.pyramidnet import ShakePyramidNet
from cipherlens.models.small_vit import create_small_vit
from cipherlens.models.speednet import SpeedNet
from cipherlens.models.stems import shrink_stem
from cipherlens.models.unet import UNet
from cipherlens.models.vgg import VGG16
from cipherlens.models.weights import load_weights

OWN_MODELS: dict[str, Callable[..., nn.Module]] = {
    "preresnet20": partial(PreResNet, 20),
    "preresnet110": partial(PreResNet, 110),
    "shake-pyramidnet110": partial(ShakePyramidNet, 110, 270),
    "shake-pyramidnet20": partial(ShakePyramidNet, 20, 48),
    "speednet": SpeedNet,
    "unet": partial(UNet, width=32),
    "unet-small": partial(UNet, width=16),
    "vgg16_cifar": VGG16,
}
SIZED_MODELS: dict[str, Callable[..., nn.Module]] = {
    "privconv-512-16": partial(PrivConv, 512, 16),
    "privconv-128-4": partial(PrivConv, 128, 4, kernel=5),
    "vit-cifar": create_small_vit,
}
"""Models of this project with a fixed image size."""
SEGMENTATION_MODELS = ("unet", "unet-small")
"""Models of this project that give a class per pixel."""


def create_model(
    name: str,
    num_classes: int,
    adapt_block: int | None = None,
    in_chans: int = 3,
    pretrained: bool = False,
    weights: Path | str | None = None,
    small_stem: bool = False,
    image_size: tuple[int, int] | None = None,
    legacy_padding: bool = False,
    adaptation: str = "er",
) -> nn.Module:
    """Classifier (N, in_chans, H, W) float -> logits (N, num_classes), in training mode.

    ``adapt_block`` puts an adaptation network with blocks of that side in front (submodules ``adapt`` and
    ``backbone``). ``adaptation`` names its kind. "er" is ER-CNN's. "le", "ele" and "pe" are those of these schemes,
    and give the backbone 16 input channels. "positions" is for pixel permutations. "whitened" whitens blocks and
    learns a rotation. ``legacy_padding`` adds the padding of ER-CNN's public code, which shifts its windows off the
    block grid.

    ``pretrained`` lets timm download its weights; ``weights`` reads a local file instead. ``small_stem`` (timm's
    ResNets, DenseNets and ConvNeXts) replaces the stem, so that 32 x 32 images are not downsampled at once.
    ``image_size`` (height, width in pixels) sets the size of models with a fixed input size, such as ViTs.

    Raises ShapeError where the model cannot take images of that size. Raises UsageError for an unknown name or an
    invalid combination, DataError for weights that do not fit.
    """
    if num_classes < 1 or in_chans < 1:
        raise UsageError(f"a model needs num_classes >= 1 and in_chans >= 1, got {num_classes}, {in_chans}")
    if legacy_padding and adapt_block is None:
        raise UsageError("legacy_padding is for an adaptation network", hint="set adapt_block")
    if pretrained and weights is not None:
        raise UsageError("pretrained and weights exclude each other", hint="drop pretrained to use your file")
    adapt = None
    if adapt_block is not None:
        adapt = create_adaptation(adaptation, adapt_block, in_chans, image_size, legacy_padding)
    width = in_chans if adapt is None else getattr(adapt, "out_channels", in_chans)
    if name in SIZED_MODELS:
        model = _create_sized(name, num_classes, width, pretrained, image_size)
    else:
        create = _create_own if name in OWN_MODELS else _create_timm
        model = create(name, num_classes, width, pretrained)
    if small_stem:
        shrink_stem(model, name, width)
    if image_size is not None and hasattr(model, "set_input_size"):
        _fit_input_size(model, name, image_size)
    if adapt is not None:
        model = AdaptedModel(adapt, model)
    if weights is not None:
        load_weights(model, weights)
    if image_size is not None:
        _try_forward(model, name, (in_chans, *image_size))
    return model


def create_adaptation(
    kind: str, block: int, in_chans: int, image_size: tuple[int, int] | None = None, legacy_padding: bool = False
) -> nn.Module:
    """An adaptation network without a backbone (see :func:`create_model`)."""
    if kind not in ADAPTATIONS:
        raise unknown_name("adaptation network", kind, list(ADAPTATIONS))
    if kind == "er":
        return AdaptationNetwork(block, in_chans, legacy_padding)
    if legacy_padding:
        raise UsageError("legacy_padding is for ER-CNN's adaptation network")
    if kind == "positions":
        if image_size is None:
            raise UsageError("a pixel permutation is of one size of images", hint="give image_size")
        return PositionAdaptation(image_size, in_chans)
    if kind == "whitened":
        return WhitenedAdaptation(block, in_chans)
    return create_learned(kind, block, in_chans, image_size)


def _create_sized(
    name: str, num_classes: int, in_chans: int, pretrained: bool, image_size: tuple[int, int] | None
) -> nn.Module:
    if image_size is None:
        raise UsageError(f"{name} is made for one size of images", hint="give image_size")
    if pretrained:
        raise UsageError(f"there are no published weights of {name}", hint="give your own file with weights=")
    return SIZED_MODELS[name](num_classes=num_classes, in_chans=in_chans, image_size=image_size)


def _create_own(name: str, num_classes: int, in_chans: int, pretrained: bool) -> nn.Module:
    if pretrained:
        raise UsageError(f"there are no published weights of {name}", hint="give your own file with weights=")
    return OWN_MODELS[name](num_classes=num_classes, in_chans=in_chans)


def _create_timm(name: str, num_classes: int, in_chans: int, pretrained: bool) -> nn.Module:
    try:
        import timm
    except ImportError as error:
        raise UsageError(f"model {name!r} comes from timm", hint="pip install 'cipherlens[train]'") from error
    if not timm.is_model(name):
        known = [*OWN_MODELS, *timm.list_models()]
        raise unknown_name("model", name, get_close_matches(name, known, n=5, cutoff=0.5) or list(OWN_MODELS))
    try:
        model: nn.Module = timm.create_model(
            name, pretrained=pretrained, num_classes=num_classes, in_chans=in_chans
        )
    except Exception as error:  # timm and the hub client raise many kinds
        if not pretrained:
            raise UsageError(f"timm cannot build {name} with {in_chans} channels: {error}") from error
        raise DataError(
            f"cannot get the pretrained weights of {name}: {error}",
            hint="timm fetches them over the network; offline, give a downloaded file with weights=",
        ) from error
    return model


def _fit_input_size(model: Any, name: str, image_size: tuple[int, int]) -> None:
    try:
        model.set_input_size(img_size=image_size)
    except (AssertionError, RuntimeError, ValueError, ZeroDivisionError) as error:
        raise _refused(name, image_size, error) from error


def _try_forward(model: nn.Module, name: str, shape: tuple[int, int, int]) -> None:
    training = model.training
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, *shape))
    except ShapeError:
        raise
    except (AssertionError, RuntimeError, ValueError, ZeroDivisionError) as error:
        raise _refused(name, shape[1:], error) from error
    finally:
        model.train(training)


def _refused(name: str, image_size: tuple[int, ...], error: Exception) -> ShapeError:
    if name in SEGMENTATION_MODELS:
        return ShapeError(
            f"{name} cannot take images of {image_size[0]}x{image_size[1]} pixels",
            hint="sides must be multiples of 16",
            parameters=("size",),
        )
    return ShapeError(
        f"{name} cannot take images of {image_size[0]}x{image_size[1]} pixels: {error}",
        hint="use larger images or a model for small ones (preresnet20, or a ResNet with small_stem)",
    )
