"""Pictures of a segmentation model's outputs, with and without the key."""

import colorsys
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cipherlens.data.images import IGNORED
from cipherlens.files import write_atomic

COLUMNS = (
    *("photo", "sealed photo", "truth", "plain model"),
    *("right key, as the provider has it", "right key, put back", "wrong key, put back"),
)
_BORDER = 3
"""White border of an image in pixels. Chosen by hand."""


def write_masks_picture(
    path: Path, photos: list[NDArray[np.uint8]], masks: list[NDArray[Any]], classes: int
) -> None:
    """Write a PNG with a row per image and the columns ``COLUMNS``: photos (N, 3, H, W), then masks (N, H, W)."""
    colours = _choose_colours(classes)
    columns = [photo.transpose(0, 2, 3, 1) for photo in photos] + [colours[mask.astype(np.int64)] for mask in masks]
    write_rows(path, columns)


def write_rows(path: Path, columns: list[NDArray[np.uint8]]) -> None:
    """Write a PNG with a row per image; each of ``columns`` is (N, H, W, 3) uint8."""
    edges = ((0, 0), (_BORDER, _BORDER), (_BORDER, _BORDER), (0, 0))
    bordered = [np.pad(column, edges, constant_values=255) for column in columns]
    rows = np.concatenate([np.concatenate(list(column), axis=0) for column in bordered], axis=1)
    buffer = io.BytesIO()
    Image.fromarray(rows).save(buffer, "PNG")
    write_atomic(path, buffer.getvalue())


def _choose_colours(classes: int) -> NDArray[np.uint8]:
    """Colours (256, 3): one hue per class, black for pixels without a class."""
    table = np.zeros((256, 3), np.uint8)
    for index in range(classes):
        table[index] = [
            round(255 * part) for part in colorsys.hsv_to_rgb(index / classes, 0.75, 0.95 - 0.3 * (index % 2))
        ]
    table[IGNORED] = 0
    return table
