"""Start the adaptation network from the client's inverse key: the upper bound of what it can learn.

The client makes the file (``cipherlens invert``); whoever has it, or a run that started from it, can decrypt.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from cipherlens.ciphers.hill import BoundHill
from cipherlens.errors import DataError, KeyFailure, UsageError
from cipherlens.keys.keyfile import write_secret
from cipherlens.models import AdaptationNetwork, AdaptedModel
from cipherlens.train.normalization import Normalization

MATRIX, SUFFIX = "inverse_key", ".safetensors"
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
    """Write the inverse key as a safetensors file, readable by its owner only; never over another file."""
    if path.suffix != SUFFIX:
        raise UsageError(f"{path.name} does not end in {SUFFIX}", hint=f"write to {path.with_suffix(SUFFIX)}")
    scheme = {"params": json.dumps(bound.cipher.params, sort_keys=True), "key_fingerprint": bound.fingerprint}
    write_secret(path, save({MATRIX: get_inverse(bound)}, metadata={"cipher": "hill", **scheme}))


def start_from_inverse(
    model: AdaptedModel, path: Path, normalization: Normalization, provenance: Mapping[str, Any]
) -> None:
    """Set the adaptation network so that it gives the plain image x as ``(x - 0.5) / 0.25``.

    It is given ``(ct - mean) / std``. Raises KeyFailure for the inverse of another key or cipher than that of
    ``provenance``, DataError for a file that is none, or for another block.
    """
    matrix, adapt = _read(path, provenance), model.adapt
    assert isinstance(adapt, AdaptationNetwork)
    count = adapt.conv.out_channels
    if tuple(matrix.shape) != (count, count):
        raise DataError(
            f"{path} holds no inverse key for an adaptation network with blocks of {adapt.block}",
            hint="use the cipher's block (--adapt)",
        )
    per_channel = adapt.block**2
    mean, std = (
        torch.tensor(values).repeat_interleave(per_channel) for values in (normalization.mean, normalization.std)
    )
    adapt.set_affine(std[:, None] * matrix / PLAIN_STD, (mean @ matrix - PLAIN_MEAN) / PLAIN_STD)


def _read(path: Path, provenance: Mapping[str, Any]) -> torch.Tensor:
    try:
        with safe_open(path, framework="pt") as file:
            scheme, matrix = file.metadata() or {}, file.get_tensor(MATRIX)
    except (OSError, SafetensorError) as error:
        raise DataError(
            f"{path} holds no inverse key: {error}",
            hint="make it with: cipherlens invert SEALED --key KEYFILE --out FILE.safetensors",
        ) from None
    expected = {
        "cipher": provenance.get("cipher"),
        "params": json.dumps(provenance.get("params"), sort_keys=True),
        "key_fingerprint": provenance.get("key_fingerprint"),
    }
    for name, value in expected.items():
        if scheme.get(name) != value:
            raise KeyFailure(
                f"{path} is the inverse for {name.replace('_', ' ')} {scheme.get(name)}, the images have {value}",
                hint="make it from this sealed data set, with its key",
            )
    found: torch.Tensor = matrix
    return found
