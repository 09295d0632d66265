"""Decode one image faithfully, or refuse it. All of it runs on the client."""

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, UnidentifiedImageError

from cipherlens.data.conversion import DEFAULT_RULES, ON_ERROR, Pixels, Remark, Rules, convert, ignore, is_deep
from cipherlens.data.extras import Opened, open_extra
from cipherlens.errors import DataError
from cipherlens.untrusted import open_regular

Content = bytes | Path | Image.Image
"""An encoded image, its file, or an image that a program has opened."""
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "GIF", "TIFF")
"""Formats that are decoded, whatever a file's name. Other decoders of Pillow run programs, or are hardly tested."""
MAX_FILE_BYTES = 1 << 30
"""Larger image files are refused. Chosen by hand."""
MAX_PIXELS = 100_000_000
"""Default of the largest image in pixels, 300 MB as RGB. A limit on memory."""
PILLOW_PIXELS = 178_956_970
"""Above this Pillow itself refuses."""
_TILE_WIDTH, _TILE_HEIGHT, _PHOTOMETRIC = 322, 323, 262  # tags of TIFF
_WHITE_IS_ZERO = 0


def decode(
    content: Content, name: str, max_pixels: int, rules: Rules = DEFAULT_RULES, remark: Remark = ignore
) -> Pixels:
    """Pixels (rules.channels, H, W), upright. Raises DataError, with the name, for what cannot be decoded so."""
    return _decode(content, name, max_pixels, lambda opened: convert(opened, name, rules, remark))


def decode_classes(content: Content, name: str, max_pixels: int) -> Pixels:
    """The stored values (H, W, ...) of an encoded mask."""
    return _decode(content, name, max_pixels, lambda opened: np.asarray(opened.image))


def _decode(content: Content, name: str, max_pixels: int, read: Callable[[Opened], Pixels]) -> Pixels:
    try:
        # Pillow's warnings do not name the image; max_pixels replaces its warning about large images.
        with warnings.catch_warnings(action="ignore"):
            if isinstance(content, Image.Image):  # it stays open, for it is the caller's
                return read(_describe(content, name, max_pixels))
            file = io.BytesIO(content) if isinstance(content, bytes) else open_regular(content, MAX_FILE_BYTES)
            with file:
                opened = _open(file, name, max_pixels)
                with opened.image:
                    return read(opened)
    except DataError:
        raise
    except UnidentifiedImageError:
        known = ", ".join(FORMATS)
        raise DataError(f"{name} is not an image ({known})", hint=ON_ERROR, parameters=("on_error",)) from None
    except Image.DecompressionBombError:
        raise _too_large(name, f"over {PILLOW_PIXELS:,} pixels", max_pixels) from None
    except Exception as error:  # decoders raise many kinds, MemoryError among them
        raise DataError(
            f"{name} cannot be decoded: {str(error) or type(error).__name__}",
            hint=ON_ERROR,
            parameters=("on_error",),
        ) from None


def _open(file: IO[bytes], name: str, max_pixels: int) -> Opened:
    """The image, not decoded yet. Its size in the header is checked."""
    found = open_extra(file, name, lambda width, height: _check_size(width, height, name, max_pixels))
    if found is not None:
        return found
    return _describe(Image.open(file, formats=FORMATS), name, max_pixels)


def _describe(image: Image.Image, name: str, max_pixels: int) -> Opened:
    tags = getattr(image, "tag_v2", {})
    # A TIFF is decoded by tiles, which may be larger than the image.
    for width, height in (image.size, (tags.get(_TILE_WIDTH, 0), tags.get(_TILE_HEIGHT, 0))):
        _check_size(width, height, name, max_pixels)
    return Opened(image, inverted=is_deep(image) and tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO)


def _check_size(width: object, height: object, name: str, max_pixels: int) -> None:
    if not (isinstance(width, int) and isinstance(height, int)):
        raise ValueError("its tiles have no size")
    if width * height > max_pixels:
        raise _too_large(name, f"{width}x{height} pixels", max_pixels)


def _too_large(name: str, found: str, max_pixels: int) -> DataError:
    return DataError(
        f"{name} has {found}, more than {max_pixels:,} in all",
        hint=f"allow more pixels (up to {PILLOW_PIXELS:,}), make the image smaller, or skip it",
        parameters=("max_pixels", "on_error"),
    )
