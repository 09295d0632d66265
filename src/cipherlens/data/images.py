"""Decode, resize and pad one image. All of it runs on the client, before encryption."""

import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from cipherlens.errors import DataError, ShapeError, UsageError
from cipherlens.untrusted import open_regular

Pixels = NDArray[np.uint8]

IGNORED = 255
"""Value of a mask at pixels without a class, as in PASCAL VOC."""

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "GIF", "TIFF")
"""Formats that are decoded, whatever a file's name. Other decoders of Pillow run programs, or are hardly tested."""

MAX_FILE_BYTES = 1 << 30
"""Larger image files are refused. Chosen by hand."""
MAX_PIXELS = 100_000_000
"""Default of the largest image in pixels, 300 MB as RGB. A limit on memory."""
MAX_SIZE = 16_384
"""Largest side to which images can be resized. A limit on memory."""

_PILLOW_PIXELS = 178_956_970  # above this Pillow itself refuses
_MAX_ELONGATION = 8
"""Longer images are cut to this ratio of the sides before resizing. A limit on memory."""
_TILE_WIDTH, _TILE_HEIGHT = 322, 323  # tags of TIFF

_ON_ERROR = "repair or remove it, or skip it"


@dataclass(frozen=True)
class Item:
    """One image of a source, not decoded yet. ``label`` is -1 where the source has none.

    ``mask``: one class per pixel, for segmentation. Its class ``ignored`` is decoded as ``IGNORED``. ``variant``:
    see :func:`draw_variant`.
    """

    name: str
    label: int
    content: bytes | Path | Pixels
    mask: bytes | Pixels | None = None
    variant: tuple[int, int] = (0, 0)
    ignored: int | None = None

    def decode(self, max_pixels: int = MAX_PIXELS) -> Pixels:
        """Pixels (3, H, W), uint8.

        Raises DataError naming the image if it cannot be decoded, or has more than ``max_pixels`` pixels.
        """
        if isinstance(self.content, np.ndarray):
            return self.content
        return _decode(self.content, self.name, max_pixels, "RGB").transpose(2, 0, 1)

    def decode_mask(self, max_pixels: int = MAX_PIXELS) -> Pixels:
        """Classes (1, H, W), uint8.

        Raises DataError naming the image if the mask is missing, damaged, or has more than ``max_pixels`` pixels.
        """
        classes, name = self.mask, f"the mask of {self.name}"
        if classes is None:
            raise DataError(f"{name} is missing", hint=_ON_ERROR, parameters=("on_error",))
        if not isinstance(classes, np.ndarray):
            classes = _decode(classes, name, max_pixels)
        if classes.ndim != 2 or classes.dtype != np.uint8:
            raise DataError(f"{name} is not one byte per pixel", hint=_ON_ERROR, parameters=("on_error",))
        if self.ignored is not None:
            classes = np.where(classes == self.ignored, np.uint8(IGNORED), classes)
        return classes[None]


def _decode(content: bytes | Path, name: str, max_pixels: int, mode: str | None = None) -> Pixels:
    """Pixels (H, W, ...) of an encoded image, converted to Pillow's ``mode``."""
    try:
        # Pillow's warnings do not name the image; max_pixels replaces its warning about large images.
        with warnings.catch_warnings(action="ignore"):
            file = io.BytesIO(content) if isinstance(content, bytes) else open_regular(content, MAX_FILE_BYTES)
            with file, Image.open(file, formats=FORMATS) as image:
                _check_pixels(image, name, max_pixels)
                return np.asarray(image if mode in (None, image.mode) else image.convert(mode))
    except DataError:
        raise
    except UnidentifiedImageError:
        raise DataError(
            f"{name} is not an image ({', '.join(FORMATS)})", hint=_ON_ERROR, parameters=("on_error",)
        ) from None
    except Image.DecompressionBombError:
        raise _too_large(name, f"over {_PILLOW_PIXELS:,} pixels", max_pixels) from None
    except Exception as error:  # decoders raise many kinds, MemoryError among them
        raise DataError(
            f"{name} cannot be decoded: {str(error) or type(error).__name__}",
            hint=_ON_ERROR,
            parameters=("on_error",),
        ) from None


def _check_pixels(image: Image.Image, name: str, max_pixels: int) -> None:
    """Check the size in the header. A TIFF is decoded by tiles, which may be larger than the image."""
    tags = getattr(image, "tag_v2", {})
    tile = tags.get(_TILE_WIDTH, 0), tags.get(_TILE_HEIGHT, 0)
    for width, height in (image.size, tile):
        if not (isinstance(width, int) and isinstance(height, int)):
            raise ValueError("its tiles have no size")
        if width * height > max_pixels:
            raise _too_large(name, f"{width}x{height} pixels", max_pixels)


def _too_large(name: str, found: str, max_pixels: int) -> DataError:
    return DataError(
        f"{name} has {found}, more than {max_pixels:,} in all",
        hint=f"allow more pixels (up to {_PILLOW_PIXELS:,}), make the image smaller, or skip it",
        parameters=("max_pixels", "on_error"),
    )


@dataclass(frozen=True)
class Preprocess:
    """Preprocessing of an image before encryption.

    ``size``: the shorter side is resized to it, then the centre square is cropped. ``pad``: the last row and column
    are repeated until the sides are multiples of the cipher's block. ``max_pixels``: larger images and masks are
    refused before decoding. Raises UsageError for a size or limit out of range.
    """

    size: int | None = None
    pad: bool = False
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        if self.size is not None:
            _check_option("size", self.size, MAX_SIZE)
        _check_option("max_pixels", self.max_pixels, _PILLOW_PIXELS)

    def apply(self, item: Item) -> Pixels:
        """Decode, resize and augment, without padding: (3, H, W), uint8."""
        pixels = item.decode(self.max_pixels)
        return draw_variant(pixels if self.size is None else resize_and_crop(pixels, self.size), item.variant)

    def apply_to_mask(self, item: Item) -> Pixels:
        """The mask of an image, resized and augmented like the image: (1, H, W), uint8."""
        classes = item.decode_mask(self.max_pixels)
        check_shape(classes, (1, *item.decode(self.max_pixels).shape[1:]), f"the mask of {item.name}", "the image")
        if self.size is not None:
            classes = resize_and_crop(classes, self.size, Image.Resampling.NEAREST)
        return draw_variant(classes, item.variant)

    def padded_shape(self, shape: tuple[int, int, int], block: int) -> tuple[int, int, int]:
        """Shape that is encrypted for a resized image of ``shape``."""
        channels, height, width = shape
        if not self.pad:
            return shape
        return channels, -(-height // block) * block, -(-width // block) * block


def _check_option(name: str, value: int, highest: int) -> None:
    if not isinstance(value, int) or not 1 <= value <= highest:
        raise UsageError(f"{name} is a whole number from 1 to {highest:,}, not {value!r:.40}")


def draw_variant(pixels: Pixels, variant: tuple[int, int]) -> Pixels:
    """Variant (copy, image) of (C, H, W): mirrored with probability 1/2, shifted by up to an eighth of the sides.

    A reflection fills the uncovered border. Copy 0 is the image itself. The two numbers seed the random draws, so a
    variant is not secret.
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
    """(C, H, W) -> (C, size, size), C = 3 or 1: resize of the shorter side, then centre crop.

    Only the centre of a very long image is resized, because the whole result would be huge.
    """
    pixels = _cut_long_side(pixels)
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


def _cut_long_side(pixels: Pixels) -> Pixels:
    """The centre of (C, H, W), at most _MAX_ELONGATION times as long as wide; other images are unchanged."""
    _, height, width = pixels.shape
    longest = _MAX_ELONGATION * min(height, width)
    top, left = max(0, height - longest) // 2, max(0, width - longest) // 2
    return pixels[:, top : top + longest, left : left + longest]


def pad_to(images: Pixels, shape: tuple[int, int, int]) -> Pixels:
    """(N, C, H, W) -> (N, *shape) by repeating the last row and column."""
    extra = [target - side for target, side in zip(shape[1:], images.shape[2:], strict=True)]
    if not any(extra):
        return images
    return np.pad(images, ((0, 0), (0, 0), (0, extra[0]), (0, extra[1])), mode="edge")


def check_shape(pixels: Pixels, shape: tuple[int, int, int], name: str, other: str = "the data set") -> None:
    """Raise ShapeError, naming the image, unless it has the shape of ``other``."""
    if pixels.shape != shape:
        raise ShapeError(
            f"{name} is {pixels.shape[1]}x{pixels.shape[2]}, {other} is {shape[1]}x{shape[2]}",
            hint="bring all images to one size, or skip those of others",
            parameters=("size", "on_error"),
        )
