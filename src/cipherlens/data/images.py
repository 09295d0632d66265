"""Decode, resize and pad one image. All of it runs on the client, before encryption."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from cipherlens.data.conversion import DEFAULT_RULES, ON_ERROR, TURNED, Pixels, Remark, Rules, fit_channels, ignore
from cipherlens.data.decoding import MAX_PIXELS, PILLOW_PIXELS, Content, decode, decode_classes
from cipherlens.errors import DataError, ShapeError, UsageError

IGNORED = 255
"""Value of a mask at pixels without a class, as in PASCAL VOC."""

MAX_SIZE = 16_384
"""Largest side to which images can be resized. A limit on memory."""

_MAX_ELONGATION = 8
"""Longer images are cut to this ratio of the sides before resizing. A limit on memory."""


@dataclass(frozen=True)
class Item:
    """One image of a source, not decoded yet. ``label`` is -1 where the source has none.

    ``mask``: one class per pixel, for segmentation. Its class ``ignored`` is decoded as ``IGNORED``. ``variant``:
    see :func:`draw_variant`.
    """

    name: str
    label: int
    content: Content | Pixels
    mask: Content | Pixels | None = None
    variant: tuple[int, int] = (0, 0)
    ignored: int | None = None

    def decode(self, max_pixels: int = MAX_PIXELS, rules: Rules = DEFAULT_RULES, remark: Remark = ignore) -> Pixels:
        """Pixels (rules.channels, H, W), uint8; see :func:`decode`.

        Raises DataError naming the image if it cannot be decoded, or has more than ``max_pixels`` pixels.
        """
        if isinstance(self.content, np.ndarray):
            return fit_channels(self.content, rules, remark)
        return decode(self.content, self.name, max_pixels, rules, remark)

    def decode_mask(self, max_pixels: int = MAX_PIXELS) -> Pixels:
        """Classes (1, H, W), uint8.

        Raises DataError naming the image if the mask is missing, damaged, or has more than ``max_pixels`` pixels.
        """
        classes, name = self.mask, f"the mask of {self.name}"
        if classes is None:
            raise DataError(f"{name} is missing", hint=ON_ERROR, parameters=("on_error",))
        if not isinstance(classes, np.ndarray):
            classes = decode_classes(classes, name, max_pixels)
        if classes.ndim != 2 or classes.dtype != np.uint8:
            raise DataError(f"{name} is not one byte per pixel", hint=ON_ERROR, parameters=("on_error",))
        if self.ignored is not None:
            classes = np.where(classes == self.ignored, np.uint8(IGNORED), classes)
        return classes[None]


@dataclass(frozen=True)
class Preprocess:
    """Preprocessing of an image before encryption.

    ``size``: the shorter side is resized to it, then the centre square is cropped. ``pad``: the last row and column
    are repeated until the sides are multiples of the cipher's block. ``max_pixels``: larger images and masks are
    refused before decoding. ``rules`` say how images become pixels. Raises UsageError for a size or limit out of
    range.
    """

    size: int | None = None
    pad: bool = False
    max_pixels: int = MAX_PIXELS
    rules: Rules = DEFAULT_RULES

    def __post_init__(self) -> None:
        if self.size is not None:
            _check_option("size", self.size, MAX_SIZE)
        _check_option("max_pixels", self.max_pixels, PILLOW_PIXELS)

    def apply(self, item: Item, remark: Remark = ignore) -> Pixels:
        """Decode, resize and augment, without padding: (C, H, W), uint8. ``remark`` hears how it was decoded."""
        pixels = item.decode(self.max_pixels, self.rules, remark)
        return draw_variant(pixels if self.size is None else resize_and_crop(pixels, self.size), item.variant)

    def apply_to_mask(self, item: Item) -> Pixels:
        """The mask of an image, resized and augmented like the image: (1, H, W), uint8."""
        classes, heard = item.decode_mask(self.max_pixels), set[str]()
        sides = item.decode(self.max_pixels, self.rules, heard.add).shape[1:]
        if TURNED in heard:  # nobody says whether the mask lies as the image does
            hint = "store it upright, with its mask"
            raise DataError(f"{item.name} has a mask, and an orientation in its header", hint=hint)
        check_shape(classes, (1, *sides), f"the mask of {item.name}", "the image")
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
