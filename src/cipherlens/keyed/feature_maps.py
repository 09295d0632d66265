"""Pictures of a locked model's feature maps: in true order above, as stored below."""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cipherlens.files import write_atomic
from cipherlens.keyed.inspection import CapturedMap

_CHANNELS = 8
"""Channels per picture. Chosen by hand."""
_SIDE = 96
"""Smaller maps are enlarged by a whole factor, up to this side in pixels. Chosen by hand."""
_BORDER = 2
"""White border of a channel in pixels. Chosen by hand."""


def write_feature_maps(folder: Path, maps: list[CapturedMap]) -> list[Path]:
    """Write a PNG per feature map, ``NN-layer.png``: its eight most varied channels, restored and stored."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, captured in enumerate(maps):
        layer = captured.feature_map.layer.split(":")[0].replace("/", "_")
        path = folder / f"{number:02d}-{layer}.png"
        buffer = io.BytesIO()
        Image.fromarray(draw(captured)).save(buffer, "PNG")
        write_atomic(path, buffer.getvalue())
        paths.append(path)
    return paths


def draw(captured: CapturedMap) -> NDArray[np.uint8]:
    """Two rows of channels, grey, each scaled to its own range: (H, W) uint8."""
    chosen = np.argsort(-captured.restored.std(axis=(1, 2)), kind="stable")[:_CHANNELS]
    rows = [
        np.concatenate([_tile(maps[i]) for i in chosen], axis=1) for maps in (captured.restored, captured.stored)
    ]
    return np.concatenate(rows)


def _tile(channel: NDArray[np.float32]) -> NDArray[np.uint8]:
    low, high = np.percentile(channel, (1, 99))
    grey = np.clip((channel - low) / max(high - low, 1e-9), 0, 1)
    scale = max(1, _SIDE // max(channel.shape))
    pixels = np.rint(255 * grey).astype(np.uint8).repeat(scale, axis=0).repeat(scale, axis=1)
    return np.pad(pixels, _BORDER, constant_values=255)
