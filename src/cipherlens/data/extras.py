"""Formats of the extras: DICOM (pydicom) and HEIF (pillow-heif), as images of Pillow."""

import io
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cipherlens.errors import DataError

HEIF_SUFFIXES = frozenset({".heic", ".heif"})
DICOM_SUFFIXES = frozenset({".dcm", ".dicom"})
SUFFIXES = HEIF_SUFFIXES | DICOM_SUFFIXES
"""Names of files that an extra opens."""
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")
_HEADER = 132
"""Bytes that tell the formats apart."""
_COLOUR = 3
"""Dimensions of an array of colour pixels."""
CheckSize = Callable[[int, int], None]


def list_installed() -> frozenset[str]:
    """Suffixes of the formats whose package is installed."""
    return frozenset(
        suffix
        for suffixes, package in ((HEIF_SUFFIXES, "pillow_heif"), (DICOM_SUFFIXES, "pydicom"))
        if find_spec(package) is not None
        for suffix in suffixes
    )


def explain_missing(suffix: str) -> str | None:
    """How to open files with this suffix; None where no extra does."""
    for suffixes, extra in ((HEIF_SUFFIXES, "heif"), (DICOM_SUFFIXES, "dicom")):
        if suffix in suffixes and suffix not in list_installed():
            return f"pip install 'cipherlens[{extra}]'"
    return None


def open_extra(file: Any, check: CheckSize) -> Image.Image | None:
    """The image in an open file of one of these formats, by its first bytes; None for any other content.

    ``check`` is called with its width and height before it is decoded. ``info`` of the image may hold "remarks",
    and for grey values of more than 8 bits "window" (LOW:HIGH, of the header) and "inverted".
    """
    start = file.read(_HEADER)
    file.seek(0)
    if start[4:8] == b"ftyp" and start[8:12] in _HEIF_BRANDS:
        return _try(_open_heif, "heif", file, check)
    return _try(_open_dicom, "dicom", file, check) if start[128:132] == b"DICM" else None


def _try(opener: Callable[[Any, CheckSize], Image.Image], extra: str, file: Any, check: CheckSize) -> Image.Image:
    try:
        return opener(file, check)
    except ImportError as error:
        hint = f"pip install 'cipherlens[{extra}]'"
        raise DataError(f"this image needs {error.name}", hint=hint, parameters=("on_error",)) from None


def _open_heif(file: Any, check: CheckSize) -> Image.Image:
    import pillow_heif

    found = pillow_heif.open_heif(file, convert_hdr_to_8bit=True)
    check(*found.size)
    image: Image.Image = found.to_pillow()
    # The library turns the picture upright itself, and leaves a stale EXIF orientation behind.
    image.info = {key: value for key, value in image.info.items() if key == "icc_profile"}
    image.info["remarks"] = ("frames",) * (len(found) > 1)
    return image


def _open_dicom(file: Any, check: CheckSize) -> Image.Image:
    """The first frame of a DICOM image. No field of the header is kept but what ``info`` says.

    Grey values pass the header's modality table (DICOM PS3.3, C.11.1).
    """
    import pydicom
    from pydicom.pixels import apply_modality_lut

    header = pydicom.dcmread(io.BytesIO(file.read()))
    frames = int(header.get("NumberOfFrames") or 1)
    check(int(header.Columns), int(header.Rows))
    check(int(header.Columns), int(header.Rows) * frames)  # all are decoded at once
    values = header.pixel_array[0] if frames > 1 else header.pixel_array
    kind = str(header.PhotometricInterpretation)
    grey = kind.startswith("MONOCHROME")
    image = _open_grey(apply_modality_lut(values, header)) if grey else _open_colour(values, kind)
    image.info["remarks"] = ("frames",) * (frames > 1)
    if str(header.get("BurnedInAnnotation", "")).upper() != "NO":
        image.info["remarks"] += ("burnt-in",)
    if grey:
        image.info |= {"inverted": kind == "MONOCHROME1", "window": _find_window(header)}
    return image


def _open_grey(values: NDArray[Any]) -> Image.Image:
    exact = values.dtype == np.uint8
    return Image.fromarray(values if exact else np.ascontiguousarray(values, np.float32))


def _open_colour(values: NDArray[Any], kind: str) -> Image.Image:
    from pydicom.pixels import convert_color_space

    if kind == "PALETTE COLOR" or values.dtype != np.uint8 or values.ndim != _COLOUR:
        raise ValueError(f"{kind} of {values.dtype} is not supported")
    return Image.fromarray(values if kind == "RGB" else convert_color_space(values, kind, "RGB"))


def _find_window(header: Any) -> str | None:
    """The header's first linear window as LOW:HIGH (DICOM PS3.3, C.11.2.1.2)."""
    if header.get("WindowCenter") is None or header.get("WindowWidth") is None:
        return None
    centre, width = (
        float(value if isinstance(value, int | float | str) else value[0])
        for value in (header.WindowCenter, header.WindowWidth)
    )
    half = (width - 1) / 2
    return f"{centre - 0.5 - half}:{centre - 0.5 + half}" if half > 0 else None
