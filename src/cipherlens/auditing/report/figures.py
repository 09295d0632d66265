"""Pictures of the report as data URIs, so that the page needs no second file."""

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cipherlens.auditing.samples import PictureRow

_LONGEST_SIDE, _THUMBNAIL = 256, 160
"""Longest side in pixels of the report's pictures, where there are _FEW of them, and where there are more.

They limit the page's size: forty photos make less than 1.5 MB. Chosen by hand.
"""
_FEW = 3
_EXACT_SIDE = 64
"""Longest side of a picture that is stored as it is; larger ones are stored as JPEG. Chosen by hand."""
_QUALITY = 82
"""Quality of these JPEG files. Chosen by hand: at the sizes shown one sees no difference."""


def display_ciphertext(ct: NDArray[Any]) -> NDArray[np.uint8]:
    """Ciphertext (C, H, W) as uint8: floats stretched from the 1st to the 99th percentile, integers as they are."""
    if ct.dtype == np.uint8:
        return ct
    low, high = np.percentile(ct, (1, 99))
    return _to_uint8((ct - low) / max(high - low, np.finfo(np.float32).tiny))


def picture_uri(image: NDArray[np.uint8], longest: int = _LONGEST_SIDE, noise: bool = False) -> str:
    """(C, H, W) uint8 as a data URI; the first three channels, or the first where there are fewer.

    A longer side is reduced by a whole factor: photos by averaging, ``noise`` by leaving pixels out, since averages
    would turn it into grey. Small pictures are stored as PNG, others as JPEG.
    """
    step = -(-max(image.shape[1:]) // longest)
    kept = image[: 3 if len(image) >= 3 else 1]
    kept = kept[:, ::step, ::step] if noise else kept
    shown = Image.fromarray(kept[0] if len(kept) == 1 else np.moveaxis(kept, 0, -1))
    if step > 1 and not noise:
        shown = shown.reduce(step)
    buffer = io.BytesIO()
    if max(shown.size) <= _EXACT_SIDE:
        shown.save(buffer, "PNG")
        return data_uri("image/png", buffer.getvalue())
    shown.save(buffer, "JPEG", quality=_QUALITY)
    return data_uri("image/jpeg", buffer.getvalue())


def picture_size(count: int) -> int:
    """Longest side of the report's pictures where the table has so many rows."""
    return _LONGEST_SIDE if count <= _FEW else _THUMBNAIL


def show_pair(row: PictureRow, title: str, longest: int) -> tuple[str, str]:
    """Data URIs of the original and of one reconstruction."""
    return picture_uri(row.plain, longest), picture_uri(_to_uint8(row.reconstructions[title]), longest)


def tabulate_pictures(rows: Sequence[PictureRow]) -> tuple[list[str], list[list[str | None]]]:
    """Titles of the reconstructions, and per row the data URIs: plain, ciphertext, each title's (None: missing)."""
    titles = list(dict.fromkeys(title for row in rows for title in row.reconstructions))
    longest = picture_size(len(rows))
    return titles, [
        [
            picture_uri(row.plain, longest),
            picture_uri(display_ciphertext(row.ct), longest, noise=True),
            *(
                picture_uri(_to_uint8(row.reconstructions[title]), longest)
                if title in row.reconstructions
                else None
                for title in titles
            ),
        ]
        for row in rows
    ]


def _to_uint8(image: NDArray[Any]) -> NDArray[np.uint8]:
    values: NDArray[np.uint8] = np.rint(np.clip(np.nan_to_num(image, nan=0.0), 0, 1) * 255).astype(np.uint8)
    return values


def data_uri(media_type: str, content: bytes) -> str:
    """The content as an address that needs no second file."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"
