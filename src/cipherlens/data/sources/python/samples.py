"""Images and masks as data sets of Python give them."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cipherlens.data.conversion import refuse_lossy
from cipherlens.data.images import IGNORED
from cipherlens.data.sources.checks import describe_file
from cipherlens.errors import DataError


def take_image(image: Any, name: str) -> Any:
    """An image as ``Item`` takes it. Raises DataError for one of another kind."""
    if isinstance(image, Image.Image):
        refuse_lossy(image, name)  # as long as nothing is loaded
        return image
    if isinstance(image, bytes | Path):
        return image
    channels_first = hasattr(image, "detach")  # a tensor
    pixels = np.asarray(image.detach().cpu() if channels_first else image)
    if pixels.dtype.kind == "f":
        hint = "give them before ToTensor, or with v2.PILToTensor: uint8 from 0 to 255"
        raise DataError(f"{name} has numbers of type {pixels.dtype}", hint=hint)
    if pixels.dtype.kind not in "ui" or pixels.ndim not in (2, 3):
        raise DataError(
            f"{name} is {type(image).__name__}, {pixels.dtype} {pixels.shape}, not an image",
            hint="give an image of PIL, encoded bytes, an array (H, W, C) or a tensor (C, H, W) of uint8",
        )
    if pixels.ndim == 3 and (channels_first or (pixels.shape[0] in (1, 3) and pixels.shape[2] not in (1, 3, 4))):
        pixels = pixels.transpose(1, 2, 0)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3:
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))
    return _from_rows(pixels, name)


def to_classes(mask: Any) -> NDArray[Any]:
    """A mask (H, W) or (1, H, W) as uint8 where no value is lost; others are refused when they are decoded."""
    classes = np.asarray(mask.detach().cpu() if hasattr(mask, "detach") else mask)
    if classes.ndim == 3 and classes.shape[0] == 1:
        classes = classes[0]
    fits = classes.dtype.kind in "uib" and classes.size and classes.min() >= 0 and classes.max() <= IGNORED
    return classes.astype(np.uint8) if fits else classes


def describe_content(content: Any) -> bytes:
    """Bytes by which a changed image or mask is noticed: its own, or the facts of its file."""
    if content is None or isinstance(content, bytes):
        return content or b""
    if isinstance(content, Path):
        return repr((str(content), describe_file(content))).encode()
    if isinstance(content, Image.Image):
        return repr((content.mode, content.size, content.getpalette())).encode() + content.tobytes()
    return repr((content.shape, str(content.dtype))).encode() + np.ascontiguousarray(content).tobytes()


def _from_rows(pixels: NDArray[Any], name: str) -> Image.Image:
    """Rows as an image of PIL: grey, more than 8 bits, transparency."""
    try:
        return Image.fromarray(np.ascontiguousarray(pixels))
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} is no image: {error}", hint="give (H, W), (H, W, 3) or (H, W, 4)") from None
