"""Start the adaptation network from the client's inverse key: the upper bound of what it can learn.

The client makes the file (``cipherlens invert``); whoever has it can decrypt.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save

from cipherlens.ciphers.hill import BoundHill
from cipherlens.data.files import write_atomic
from cipherlens.errors import DataError
from cipherlens.models import AdaptedModel
from cipherlens.models.weights import read_weights
from cipherlens.train.normalization import Normalization

MATRIX = "inverse_key"
PLAIN_MEAN, PLAIN_STD = 0.5, 0.25  # about those of natural images, so that the backbone sees usual numbers


def get_inverse(bound: BoundHill) -> NDArray[np.float32]:
    """The matrix (C*n, C*n) that decrypts a block in (channel, row, column) order: ``plain = ct @ matrix``."""
    channels, size, _ = bound.inverses.shape
    matrix = np.zeros((channels * size, channels * size), np.float32)
    for channel, inverse in enumerate(bound.inverses):
        place = slice(channel * size, (channel + 1) * size)
        matrix[place, place] = inverse
    return matrix


def write_inverse(bound: BoundHill, path: Path) -> None:
    """Write the inverse key as a safetensors file, readable by its owner only."""
    write_atomic(path, save({MATRIX: get_inverse(bound)}))
    path.chmod(0o600)


def start_from_inverse(model: AdaptedModel, path: Path, normalization: Normalization) -> None:
    """Set the adaptation network so that it gives the plain image x as ``(x - 0.5) / 0.25``.

    It is given ``(ct - mean) / std``. Raises DataError for a file of another block or number of channels.
    """
    weights = read_weights(path)
    count = model.adapt.conv.out_channels
    matrix = weights.get(MATRIX)
    if matrix is None or tuple(matrix.shape) != (count, count):
        raise DataError(
            f"{path} holds no inverse key for blocks of {model.adapt.block}x{model.adapt.block}",
            hint="make it with: cipherlens invert SEALED --key KEYFILE --out FILE",
        )
    per_channel = model.adapt.block**2
    mean, std = (
        torch.tensor(values).repeat_interleave(per_channel) for values in (normalization.mean, normalization.std)
    )
    model.adapt.set_affine(std[:, None] * matrix / PLAIN_STD, (mean @ matrix - PLAIN_MEAN) / PLAIN_STD)
