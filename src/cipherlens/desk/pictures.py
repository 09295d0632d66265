"""Photos as the desk prepares, seals and shows them."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cipherlens.attacks.base import to_unit
from cipherlens.auditing.report.figures import display_ciphertext
from cipherlens.data.images import Item, Preprocess, resize_and_crop
from cipherlens.desk.setting import SIZES
from cipherlens.evaluation.alignment import ALIGNMENTS
from cipherlens.evaluation.metrics import mean_similarity, structural_similarity

_LARGEST = 2 * max(SIZES)
"""Side to which a photo's centre is reduced when it comes, so that hundreds fit into memory."""
Pixels = NDArray[np.uint8]
Picture = NDArray[Any]
"""(C, H, W): pixels, or a ciphertext."""


def prepare(name: str, content: bytes) -> Pixels:
    """The centre square (3, S, S) of an encoded photo. Raises DataError for one that cannot be decoded."""
    pixels = Preprocess().apply(Item(name, -1, content))
    side = min(_LARGEST, *pixels.shape[1:])
    return resize_and_crop(pixels, side)


def resize(photo: Pixels, size: int) -> Pixels:
    """A prepared photo at the size at which it is sealed."""
    return resize_and_crop(photo, size)


def to_png(picture: Picture) -> bytes:
    """(C, H, W), pixels, ciphertexts or what was read, as a PNG file."""
    shown = display_ciphertext(picture)[:3]
    buffer = io.BytesIO()
    Image.fromarray(shown[0] if len(shown) < 3 else np.moveaxis(shown, 0, -1)).save(buffer, "PNG")
    return buffer.getvalue()


def to_bytes(read: NDArray[np.float32]) -> Pixels:
    """What was read, nominally in [0, 1], as pixels."""
    return np.rint(255 * np.clip(read, 0, 1)).astype(np.uint8)


def align_and_score(
    read: NDArray[np.float32], plain: Pixels, alignment: str
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """What was read (N, C, H, W), without what no attack can know, and its similarity (SSIM) to the photos (N,)."""
    truth = to_unit(plain)
    found = read if alignment == "none" else ALIGNMENTS[alignment](read, truth)
    return found, structural_similarity(np.clip(found, 0, 1), truth)


def guess_similarity(plain: Pixels) -> float:
    """Mean similarity of middle grey to photos (N, C, H, W): what nobody needs to read."""
    return mean_similarity(np.full(plain.shape, 0.5, np.float32), to_unit(plain))
