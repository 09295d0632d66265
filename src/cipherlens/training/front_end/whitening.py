"""The map that whitens ciphertext blocks: the values of a block get variance 1 and no correlation."""

import torch
from torch import Tensor
from torch.nn.functional import unfold

from cipherlens.errors import DataError
from cipherlens.training.engine.batches import ImageSet, read_chunks
from cipherlens.training.engine.normalization import Normalization

_IMAGES = 64
"""Images that are cut into blocks at a time. A limit on memory."""
_FLOOR = 1e-4
"""Lower bound of variances, relative to their mean: smaller ones are rounding noise. Chosen by hand."""
_ROUNDING = 1e-6
"""A largest variance below this fraction of the mean square may be float32 rounding. Chosen by hand."""


def find_whitening(images: ImageSet, normalization: Normalization, block: int) -> tuple[Tensor, Tensor]:
    """Matrix (C*k*k, C*k*k) and shift (C*k*k,) float32: normalised blocks y become ``y @ matrix + shift``.

    The matrix is symmetric (ZCA whitening), so whitened blocks are as close to the blocks as possible. Raises
    DataError for images that do not vary.
    """
    values = images.shape[0] * block**2
    total, products, count = torch.zeros(values).double(), torch.zeros(values, values).double(), 0
    for chunk in read_chunks(images):
        for part in torch.split(chunk, _IMAGES):
            blocks = unfold(normalization.apply(part).contiguous(), block, stride=block).transpose(1, 2)
            blocks = blocks.reshape(-1, values)
            total += blocks.sum(0, dtype=torch.float64)
            products += blocks.T @ blocks
            count += len(blocks)
    mean = total / count
    squares = products / count
    variances, axes = torch.linalg.eigh(squares - torch.outer(mean, mean))
    if not variances[-1] > _ROUNDING * squares.trace():
        raise DataError("the training images do not vary", hint="train on images that are not all the same")
    variances = variances.clamp_min(_FLOOR * variances.mean())
    matrix = (axes / variances.sqrt()) @ axes.T
    return matrix.float(), (-mean @ matrix).float()
