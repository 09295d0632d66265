"""The map that whitens blocks of ciphertexts, or of pictures: values get variance 1 and no correlation."""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn.functional import unfold

from cipherlens.data.sources.base import pick_evenly
from cipherlens.errors import DataError
from cipherlens.models.speednet import SpeedNet
from cipherlens.training.engine.batches import ImageBatches, ImageSet, read_chunks, split_batches
from cipherlens.training.engine.loop import Forward
from cipherlens.training.engine.normalization import Normalization

_IMAGES = 64
"""Images that are cut into blocks at a time. A limit on memory."""
_FLOOR = 1e-4
"""Lower bound of variances, relative to their mean: smaller ones are rounding noise. Chosen by hand."""
_PATCHED = 5_000
"""Maximum images whose patches are measured (airbench94's)."""
_PATCH_FLOOR = 5e-4
"""Added to the variances of patches' components (airbench94's)."""
_ROUNDING = 1e-6
"""A largest variance below this fraction of the mean square may be float32 rounding. Chosen by hand."""


def find_whitening(images: ImageSet, normalization: Normalization, block: int) -> tuple[Tensor, Tensor]:
    """Matrix (C*k*k, C*k*k) and shift (C*k*k,) float32: normalised blocks y become ``y @ matrix + shift``.

    The matrix is symmetric (ZCA whitening), so whitened blocks are as close to the blocks as possible. Raises
    DataError for images that do not vary.
    """
    parts = (part for chunk in read_chunks(images) for part in torch.split(chunk, _IMAGES))
    mean, squares = _measure((normalization.apply(part) for part in parts), images.shape[0], block, block)
    variances, axes = torch.linalg.eigh(squares - torch.outer(mean, mean))
    if not variances[-1] > _ROUNDING * squares.trace():
        raise DataError("the training images do not vary", hint="train on images that are not all the same")
    variances = variances.clamp_min(_FLOOR * variances.mean())
    matrix = (axes / variances.sqrt()) @ axes.T
    return matrix.float(), (-mean @ matrix).float()


def set_first_layer(network: SpeedNet, forward: Forward, batches: ImageBatches) -> None:
    """Set the first layer to the principal components of what the network sees of training images."""
    plan = split_batches(pick_evenly(len(batches.images), _PATCHED), _IMAGES)
    with torch.no_grad():
        pictures = (forward.read(inputs).cpu() for inputs, _ in batches.iterate(plan))
        _, squares = _measure(pictures, batches.images.shape[0], network.patch, 1)
    variances, axes = torch.linalg.eigh(squares)
    components = axes / (variances.clamp_min(0) + _PATCH_FLOOR).sqrt()
    network.set_whitening(components.T.flip(0).to(network.whitening))


def _measure(pictures: Iterable[Tensor], channels: int, block: int, stride: int) -> tuple[Tensor, Tensor]:
    """Mean (V,) and mean products (V, V), float64, of all blocks (C*k*k = V values) of pictures (n, C, H, W)."""
    values = channels * block**2
    total, products, count = torch.zeros(values).double(), torch.zeros(values, values).double(), 0
    for part in pictures:
        blocks = unfold(part.contiguous(), block, stride=stride).transpose(1, 2).reshape(-1, values)
        total += blocks.sum(0, dtype=torch.float64)
        products += blocks.T @ blocks
        count += len(blocks)
    return total / count, products / count
