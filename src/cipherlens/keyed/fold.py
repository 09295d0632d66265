"""``fold``: fold a key into the patch embedding, so that a plain-trained model takes encrypted images (Kiya lab).

The first layer of such a model multiplies each patch by a matrix. The inverse of a block-wise affine cipher can be
folded into that matrix. The outputs and the speed stay the same, without training.
"""

import copy
import warnings
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cipherlens.ciphers.base import BoundCipher
from cipherlens.errors import PrecisionWarning, ShapeError, UsageError
from cipherlens.keyed.blockmap import BlockMap, find_block_map

_FOLDED = "_folded_key"
"""Attribute of a folded model's layers with the key's fingerprint."""
POOR_CONDITION = 500.0
"""Condition number above which float32 rounding may change logits by 1e-4 (measured: ConvMixer at 357, 6e-5)."""


def fold(
    model: nn.Module, bound: BoundCipher, mean: Sequence[float] | None = None, std: Sequence[float] | None = None
) -> nn.Module:
    """A copy of ``model`` that gives on images encrypted by ``bound`` what ``model`` gives on plain ones.

    ``model`` was trained on ``(x - mean) / std`` with x in [0, 1] (per channel; 0 and 1 by default). The copy takes
    the ciphertext itself, an integer one as ct / 255. The first layer must be a convolution on the image that cuts
    patches (kernel equal to stride, no padding). Patches must hold whole blocks of the cipher. Block scrambling
    folds into the position embedding of timm's vision transformers where patch and block are the same.

    Warns (PrecisionWarning) where the key's matrix has a condition number above 500. The inverse amplifies float32
    rounding by up to that number, and logits may differ by more than 1e-4 of the largest.

    Raises UsageError, with the reason, for a cipher or model that cannot be folded. Whoever holds the folded and
    the plain model can compute the key from their difference.
    """
    channels = bound.shape[0]
    mean, std = tuple(mean or (0.0,) * channels), tuple(std or (1.0,) * channels)
    if len(mean) != channels or len(std) != channels or min(std) <= 0:
        raise UsageError(f"mean and std need {channels} numbers each, std above 0, not {mean} and {std}")
    found = find_block_map(bound)
    with torch.inference_mode(False):  # inference tensors could not be trained later
        return _fold(copy.deepcopy(model), bound, found, mean, std)


def _fold(
    folded: nn.Module, bound: BoundCipher, found: BlockMap, mean: Sequence[float], std: Sequence[float]
) -> nn.Module:
    name, stem = _find_stem(folded, bound)
    patch = _check_patch(name, stem, found)
    condition = float(np.linalg.cond(found.matrix))
    if condition > POOR_CONDITION:
        warnings.warn(
            f"the matrix of this key has condition number {condition:,.0f}: logits may differ by more than 1e-4 of "
            "the largest; orthogonal matrices, and most keys, do better",
            PrecisionWarning,
            stacklevel=3,
        )
    if found.moves:
        _move_positions(folded, name, found, bound)
    _fold_into(stem, found, patch, np.asarray(mean, np.float64), np.asarray(std, np.float64))
    mark_folded(folded, bound.fingerprint)
    return folded


def mark_folded(model: nn.Module, fingerprint: str) -> None:
    """Note at every layer that the model holds the key of this fingerprint, so that no wrapper hides it."""
    for part in model.modules():
        part.__dict__[_FOLDED] = fingerprint


def get_folded_key(model: nn.Module) -> str | None:
    """Fingerprint of the key that is folded into a model, or into a part of it; None where there is none.

    Weights that were copied into another model are not recognised.
    """
    found = (part.__dict__.get(_FOLDED) for part in model.modules())
    return next((str(fingerprint) for fingerprint in found if fingerprint is not None), None)


def _find_stem(model: nn.Module, bound: BoundCipher) -> tuple[str, nn.Conv2d]:
    """The only layer whose input is the image itself, and its name."""
    parameter = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    example = torch.zeros(1, *bound.shape, dtype=parameter.dtype, device=parameter.device)
    seen: list[tuple[str, nn.Module]] = []

    def watch(name: str) -> object:
        def hook(module: nn.Module, inputs: tuple[object, ...]) -> None:
            given = inputs[0] if inputs else None
            leaf = next(module.children(), None) is None
            if leaf and isinstance(given, Tensor) and given.data_ptr() == example.data_ptr():
                seen.append((name, module))

        return hook

    handles = [module.register_forward_pre_hook(watch(name)) for name, module in model.named_modules()]
    training = model.training
    try:
        with torch.no_grad():
            model.eval()(example)
    except (AssertionError, RuntimeError, ValueError, ShapeError) as error:
        raise UsageError(f"the model does not take images of {bound.shape}: {error}") from error
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    if len(seen) != 1 or not isinstance(seen[0][1], nn.Conv2d):
        found = ", ".join(f"{name} ({type(module).__name__})" for name, module in seen) or "none"
        raise UsageError(
            f"the first layer of the model is no convolution that alone is given the image (found: {found})",
            hint="lock the model instead (pixel-permutation)",
        )
    return seen[0][0], seen[0][1]


def _check_patch(name: str, stem: nn.Conv2d, found: BlockMap) -> tuple[int, int]:
    kernel, stride = tuple(stem.kernel_size), tuple(stem.stride)
    padded = stem.padding not in ((0, 0), "valid")
    if kernel != stride or padded or tuple(stem.dilation) != (1, 1) or stem.groups != 1:
        raise UsageError(
            f"{name} does not cut patches: kernel {kernel}, stride {stride}, padding {stem.padding}",
            hint="fold ViT, DeiT, ConvMixer, ConvNeXt, Swin, MLP-Mixer; lock other models (pixel-permutation)",
        )
    if kernel[0] % found.block or kernel[1] % found.block:
        raise UsageError(
            f"patches of {kernel[0]}x{kernel[1]} do not hold whole blocks of {found.block}x{found.block}",
            hint=f"encrypt with a block that divides {kernel[0]}",
        )
    return kernel[0], kernel[1]


def _move_positions(model: nn.Module, name: str, found: BlockMap, bound: BoundCipher) -> None:
    """Permute the position embedding as the cipher permutes patches."""
    from timm.models.vision_transformer import VisionTransformer

    stem = model.get_submodule(name)
    if not (isinstance(model, VisionTransformer) and isinstance(model.pos_embed, Tensor)):
        raise UsageError(
            f"{bound.cipher.name} moves blocks, and {type(model).__name__} knows where patches lie by other means "
            "than a position embedding",
            hint="use a cipher that leaves blocks in their places, or a vision transformer",
        )
    if stem.kernel_size != (found.block, found.block):
        raise UsageError(
            f"{bound.cipher.name} moves blocks of {found.block}x{found.block}, patches are {stem.kernel_size}",
            hint="choose the patch size as block",
        )
    tokens, count = model.pos_embed.shape[1], len(found.order)
    if tokens not in (count, count + model.num_prefix_tokens):
        raise UsageError(f"the position embedding has {tokens} places, the image {count} patches")
    first = tokens - count
    order = torch.from_numpy(found.order).to(model.pos_embed.device)
    with torch.no_grad():
        model.pos_embed[:, first:] = model.pos_embed[:, first:][:, order].clone()


def _fold_into(
    stem: nn.Conv2d, found: BlockMap, patch: tuple[int, int], mean: NDArray[np.float64], std: NDArray[np.float64]
) -> None:
    """Set weights and bias for ciphertext: x = (ct - shift) @ inverse, then (x - mean) / std, then the layer."""
    weight = stem.weight.detach().double().cpu().numpy()
    outputs, channels, block = weight.shape[0], weight.shape[1], found.block
    scaled = weight / std[:, None, None]
    bias = -(scaled * mean[:, None, None]).sum((1, 2, 3))
    if stem.bias is not None:
        bias += stem.bias.detach().double().cpu().numpy()
    rows, columns = patch[0] // block, patch[1] // block
    # (outputs, blocks of the patch, values of a block), values as (row, column, channel).
    grid = scaled.reshape(outputs, channels, rows, block, columns, block).transpose(0, 2, 4, 3, 5, 1)
    vectors = grid.reshape(outputs, rows * columns, -1)
    inverse = np.linalg.inv(found.matrix)
    folded = vectors @ inverse.T
    bias -= (folded @ found.shift).sum(1)
    grid = folded.reshape(outputs, rows, columns, block, block, channels).transpose(0, 5, 1, 3, 2, 4)
    with torch.no_grad():
        stem.weight.copy_(torch.from_numpy(np.ascontiguousarray(grid.reshape(weight.shape))))
        fresh = torch.from_numpy(bias).to(stem.weight)
        if stem.bias is None:
            stem.bias = nn.Parameter(fresh)
        else:
            stem.bias.copy_(fresh)
