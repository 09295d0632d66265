"""One image: decode, bring to size, pad. Everything here runs on the client, before encryption."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from cipherlens.errors import DataError, ShapeError

Pixels = NDArray[np.uint8]

IGNORED = 255
"""In a mask: a pixel without a class."""


@dataclass(frozen=True)
class Item:
    """One image of a source, not decoded yet. ``label`` is -1 where the source has none.

    ``mask``: a class per pixel, for segmentation. ``variant``: see :func:`draw_variant`.
    """

    name: str
    label: int
    content: bytes | Path | Pixels
    mask: bytes | Pixels | None = None
    variant: tuple[int, int] = (0, 0)

    def decode(self) -> Pixels:
        """Pixels (3, H, W), uint8. Raises DataError naming the image if it cannot be decoded."""
        if isinstance(self.content, np.ndarray):
            return self.content
        try:
            file = io.BytesIO(self.content) if isinstance(self.content, bytes) else self.content
            with Image.open(file) as image:
                pixels = np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
        except UnidentifiedImageError:
            raise DataError(f"{self.name} is not an image", hint=_ON_ERROR) from None
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise DataError(f"{self.name} is damaged: {error}", hint=_ON_ERROR) from None
        return pixels.transpose(2, 0, 1)

    def decode_mask(self) -> Pixels:
        """Classes (1, H, W), uint8. Raises DataError naming the image if there is no mask, or a damaged one."""
        if isinstance(self.mask, np.ndarray):
            return self.mask[None]
        try:
            with Image.open(io.BytesIO(self.mask or b"")) as image:
                classes = np.asarray(image)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise DataError(f"the mask of {self.name} is missing or damaged: {error}", hint=_ON_ERROR) from None
        if classes.ndim != 2 or classes.dtype != np.uint8:
            raise DataError(f"the mask of {self.name} is not one byte per pixel", hint=_ON_ERROR)
        return classes[None]


_ON_ERROR = "repair or remove it, or pass --on-error skip"


@dataclass(frozen=True)
class Preprocess:
    """What happens to an image before encryption.

    ``size``: the shorter side is resized to it and the centre square is cut out. ``pad``: sides are filled up
    to multiples of the cipher's block by repeating the last row and column.
    """

    size: int | None = None
    pad: bool = False

    def apply(self, item: Item) -> Pixels:
        """Decode, resize and augment, without padding: (3, H, W), uint8."""
        pixels = item.decode()
        return draw_variant(pixels if self.size is None else resize_and_crop(pixels, self.size), item.variant)

    def apply_to_mask(self, item: Item) -> Pixels:
        """The mask of an image, brought to the same size and variant: (1, H, W), uint8."""
        classes = item.decode_mask()
        check_shape(classes, (1, *item.decode().shape[1:]), f"the mask of {item.name}", "the image")
        if self.size is not None:
            classes = resize_and_crop(classes, self.size, Image.Resampling.NEAREST)
        return draw_variant(classes, item.variant)

    def padded_shape(self, shape: tuple[int, int, int], block: int) -> tuple[int, int, int]:
        """Shape that is encrypted for a resized image of ``shape``."""
        channels, height, width = shape
        if not self.pad:
            return shape
        return channels, -(-height // block) * block, -(-width // block) * block


def draw_variant(pixels: Pixels, variant: tuple[int, int]) -> Pixels:
    """Variant (copy, image) of (C, H, W): mirrored half of the time, shifted by up to an eighth of the sides.

    What a shift uncovers is filled with a reflection. Copy 0 is the image itself. A variant follows from its two
    numbers: it is no secret.
    """
    if variant[0] == 0:
        return pixels
    rng = np.random.default_rng(variant)
    mirrored = pixels[:, :, ::-1] if rng.random() < 0.5 else pixels
    reach = [side // 8 for side in pixels.shape[1:]]
    top, left = (int(rng.integers(0, 2 * by + 1)) for by in reach)
    padded = np.pad(mirrored, ((0, 0), *((by, by) for by in reach)), mode="reflect")
    return padded[:, top : top + pixels.shape[1], left : left + pixels.shape[2]]


def resize_and_crop(pixels: Pixels, size: int, resampling: Image.Resampling = Image.Resampling.BILINEAR) -> Pixels:
    """(C, H, W) -> (C, size, size), C = 3 or 1: resize of the shorter side, then centre crop."""
    _, height, width = pixels.shape
    if (height, width) == (size, size):
        return pixels
    scale = size / min(height, width)
    rows, columns = max(size, round(height * scale)), max(size, round(width * scale))
    rows_first = np.ascontiguousarray(pixels.transpose(1, 2, 0))
    image = Image.fromarray(rows_first[:, :, 0] if len(pixels) == 1 else rows_first)
    image = image.resize((columns, rows), resampling)
    top, left = (rows - size) // 2, (columns - size) // 2
    resized = np.asarray(image).reshape(rows, columns, -1).transpose(2, 0, 1)
    return resized[:, top : top + size, left : left + size]


def pad_to(images: Pixels, shape: tuple[int, int, int]) -> Pixels:
    """(N, C, H, W) -> (N, *shape): repeats the last row and column."""
    extra = [target - side for target, side in zip(shape[1:], images.shape[2:], strict=True)]
    if not any(extra):
        return images
    return np.pad(images, ((0, 0), (0, 0), (0, extra[0]), (0, extra[1])), mode="edge")


def check_shape(pixels: Pixels, shape: tuple[int, int, int], name: str, other: str = "the data set") -> None:
    """Raise ShapeError, naming the image, unless it has the shape of ``other``."""
    if pixels.shape != shape:
        raise ShapeError(
            f"{name} is {pixels.shape[1]}x{pixels.shape[2]}, {other} is {shape[1]}x{shape[2]}",
            hint="bring all images to one size with --size, or pass --on-error skip",
        )
