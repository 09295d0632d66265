"""An opened image as pixels: the rules of docs/images.md.

What changes a picture beyond its container (transparency, pages left out, ...) is reported as a remark.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cipherlens.data.depth import Window, map_deep_grey
from cipherlens.data.extras import Opened
from cipherlens.errors import DataError, UsageError

Pixels = NDArray[np.uint8]
Remark = Callable[[str], None]

REMARKS = {
    "transparent": "transparency was laid over white",
    "cmyk": "CMYK became RGB by the simple formula, without their colour profile",
    "profile": "an embedded colour profile was not applied: values are as stored",
    "frames": "only the first frame or page was taken",
    "luminance": "colours became their luminance",
    "window": "more than 8 bits were mapped by the window",
    "depth": "more than 8 bits per colour were rounded to 8",
    "burnt-in": "the header does not rule out text burnt into the picture: look at them",
}
"""What a remark says of the images that it counts."""

ON_ERROR = "repair or remove it, or skip it"
_DEPTHS = 258  # tag of TIFF
_BYTE = 8
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes an image upright, by its orientation (EXIF 2.3, table 6)."""
_SCALED = ("L;1", "L;2", "L;4", "I;16")
"""Raw modes in which a transparent value is not of the scale of the decoded ones."""
_CONVERTED = ("1", "P", "PA", "La", "LA", "RGBa", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV")
"""Modes of Pillow that become L or RGB."""
_BAND = 256
"""Rows that are laid over white at a time: a limit on memory, for the largest images hold four bytes a pixel."""
_SAMPLE = "sRGB"


@dataclass(frozen=True)
class Rules:
    """How images become pixels: ``channels`` 3 or 1, and the window of more than 8 bits (None: such are refused).

    Raises UsageError for another number of channels, or an impossible window.
    """

    channels: int = 3
    window: str | None = None

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise UsageError(f"channels is 1 or 3, not {self.channels!r}")
        if self.window is not None:
            Window.parse(self.window)


DEFAULT_RULES = Rules()
TURNED = "turned"
"""A remark that is not counted: the image was turned upright."""


def ignore(remark: str) -> None:
    """Ignore a remark, for a caller who counts none."""


def fit_channels(pixels: Pixels, rules: Rules, remark: Remark = ignore) -> Pixels:
    """Decoded pixels (3, H, W) with ``rules.channels`` channels; those with one are as they are."""
    if rules.channels == len(pixels) or len(pixels) == 1:
        return pixels
    return np.asarray(_to_grey(Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0))), remark))[None]


def convert(opened: Opened, name: str, rules: Rules, remark: Remark) -> Pixels:
    """Pixels (rules.channels, H, W), upright. Raises DataError for an image that would lose what it holds."""
    image = opened.image
    refuse_lossy(image, name)
    # A second picture of a camera's JPEG (MPO) is no page: it holds depth, brightness or a preview.
    if image.format != "MPO" and getattr(image, "is_animated", False):
        remark("frames")
    if _is_foreign(image.info.get("icc_profile")):
        remark("profile")
    for found in opened.remarks:
        remark(found)
    plain = _flatten(_turn_upright(image, remark), opened, name, rules, remark)
    if rules.channels == 1 and plain.mode == "RGB":
        plain = _to_grey(plain, remark)
    kept = rules.channels == 1 or plain.mode == "RGB"  # a conversion to the same mode is a copy
    pixels = np.asarray(plain if kept else plain.convert("RGB"))
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def refuse_lossy(image: Image.Image, name: str) -> None:
    """Raise DataError for an image of which Pillow would lose bits: known as long as nothing is loaded."""
    if _is_deep_colour(image):
        raise _refuse(name, "has 16 bits per colour, of which 8 would be lost", "convert it to 8 bits, or skip it")
    if "transparency" in image.info and any(mode.startswith(_SCALED) for mode in _list_raw_modes(image)):
        raise _refuse(name, "has a transparent grey of other than 8 bits", "convert it to 8 bits, or skip it")


def _turn_upright(image: Image.Image, remark: Remark) -> Image.Image:
    """Apply the orientation, as the only field of EXIF that matters; others may be of any type."""
    if image.format is None:  # a program made it, and shows it as it is meant
        return image
    image.load()  # Pillow turns a TIFF here, and takes its tag away
    way = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    if way is None:
        return image
    remark(TURNED)
    turned = image.transpose(way)
    turned.info = image.info
    return turned


def _flatten(image: Image.Image, opened: Opened, name: str, rules: Rules, remark: Remark) -> Image.Image:
    """The image as L or RGB. Raises DataError where that would lose what it holds."""
    if is_deep(image):
        window = rules.window or opened.window
        if window is None:
            raise DataError(
                f"{name} has more than 8 bits per pixel ({image.mode})",
                hint="encrypt with a window by which they become 8: LOW:HIGH, minmax or percentile; or skip it",
                parameters=("window", "on_error"),
            )
        remark("window")
        mapped = map_deep_grey(np.asarray(image), Window.parse(window), name)
        return Image.fromarray(255 - mapped if opened.inverted else mapped)
    if image.mode in ("L", "RGB") and "transparency" not in image.info:
        return image
    if image.mode not in (*_CONVERTED, "L", "RGB"):
        raise _refuse(name, f"is of mode {image.mode}", "convert it to RGB, or skip it")
    if image.mode == "CMYK":
        remark("cmyk")
    if image.has_transparency_data:
        return _lay_over_white(image if image.mode == "RGBA" else image.convert("RGBA"), remark)
    return image.convert("L" if image.mode == "1" else "RGB")


def _lay_over_white(image: Image.Image, remark: Remark) -> Image.Image:
    if image.getchannel("A").getextrema() == (255, 255):
        return image.convert("RGB")
    remark("transparent")
    laid = Image.new("RGB", image.size)
    for top in range(0, image.height, _BAND):
        part = image.crop((0, top, image.width, min(top + _BAND, image.height)))
        white = Image.new("RGBA", part.size, "white")
        laid.paste(Image.alpha_composite(white, part).convert("RGB"), (0, top))
    return laid


def _to_grey(image: Image.Image, remark: Remark) -> Image.Image:
    """The only channel of a grey picture stored in colour; the luminance of any other."""
    red, green, blue = image.split()
    if red.tobytes() == green.tobytes() == blue.tobytes():
        return red
    remark("luminance")
    return image.convert("L")


def is_deep(image: Image.Image) -> bool:
    """Whether grey values have more than 8 bits."""
    return image.mode[0] in "IF"


def _list_raw_modes(image: Image.Image) -> list[str]:
    """Pillow's names of how the samples are stored, before anything is loaded."""
    details = [tile[3] for tile in getattr(image, "tile", ()) if tile[3]]
    return [detail if isinstance(detail, str) else str(detail[0]) for detail in details]


def _is_deep_colour(image: Image.Image) -> bool:
    """Whether Pillow would keep 8 of 16 bits per sample: the file says 16, its mode 8."""
    if is_deep(image):
        return False
    depths = getattr(image, "tag_v2", {}).get(_DEPTHS, 0)
    if max(depths if isinstance(depths, tuple) else (depths,)) > _BYTE:
        return True
    # BMP's BGR;16 has 16 bits per pixel.
    return any(";16" in mode and not mode.startswith("BGR") for mode in _list_raw_modes(image))


def _is_foreign(profile: object) -> bool:
    """Whether an embedded colour profile is of another space than sRGB, as far as it says."""
    names = (_SAMPLE.encode(), _SAMPLE.encode("utf-16-be"))
    return isinstance(profile, bytes) and not any(name in profile for name in names)


def _refuse(name: str, reason: str, hint: str) -> DataError:
    return DataError(f"{name} {reason}", hint=hint, parameters=("on_error",))
