"""Formats of the extras: DICOM (pydicom) and HEIF (pillow-heif), as images of Pillow."""

from collections.abc import Callable
from dataclasses import dataclass
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
_UNCOMPRESSED = tuple(f"1.2.840.10008.1.2{end}" for end in ("", ".1", ".2"))
_JPEG_FAMILY = "1.2.840.10008.1.2.4."
"""Transfer syntaxes of DICOM: an uncompressed image, or one by JPEG, JPEG-LS or JPEG 2000."""
_META = 1 << 14
"""Bytes in which the transfer syntax is looked for. Chosen by hand."""
_BYTE, _MOST = 8, np.uint8(255)
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


@dataclass(frozen=True)
class Opened:
    """An image, and what its container says of it that Pillow does not know.

    ``window`` (LOW:HIGH) and ``inverted`` are for values of more than 8 bits, ``remarks`` as of ``decode``.
    """

    image: Image.Image
    window: str | None = None
    inverted: bool = False
    remarks: tuple[str, ...] = ()


def open_extra(file: Any, name: str, check: CheckSize) -> Opened | None:
    """The image in an open file of one of these formats, by its first bytes; None for any other content.

    ``check`` is called with its width and height before it is decoded. Raises DataError where the extra is missing.
    """
    start = file.read(_HEADER)
    file.seek(0)
    if start[4:8] == b"ftyp" and start[8:12] in _HEIF_BRANDS:
        return _try(_open_heif, "heif", file, name, check)
    return _try(_open_dicom, "dicom", file, name, check) if start[128:132] == b"DICM" else None


def _try(opener: Callable[[Any, CheckSize], Opened], extra: str, file: Any, name: str, check: CheckSize) -> Opened:
    try:
        return opener(file, check)
    except ImportError as error:
        hint = f"pip install 'cipherlens[{extra}]'"
        raise DataError(f"{name} needs {error.name}", hint=hint, parameters=("on_error",)) from None


def _open_heif(file: Any, check: CheckSize) -> Opened:
    import pillow_heif

    found = pillow_heif.open_heif(file, convert_hdr_to_8bit=True)
    check(*found.size)
    remarks = ("frames",) * (len(found) > 1) + ("depth",) * (int(found.info.get("bit_depth") or _BYTE) > _BYTE)
    image: Image.Image = found.to_pillow()
    # The library turns the picture upright itself, and leaves a stale EXIF orientation behind.
    image.info = {key: value for key, value in image.info.items() if key == "icc_profile"}
    return Opened(image, remarks=remarks)


def _open_dicom(file: Any, check: CheckSize) -> Opened:
    """The first frame of a DICOM image. No field of the header is kept.

    Grey values pass the header's modality table (DICOM PS3.3, C.11.1), if it changes them.
    """
    import pydicom
    from pydicom.pixels import apply_modality_lut, pixel_array

    syntax = _find_syntax(file.read(_META))
    if syntax not in _UNCOMPRESSED and not syntax.startswith(_JPEG_FAMILY):  # others inflate without a limit
        raise ValueError(f"transfer syntax {syntax} is not supported: convert it to an uncompressed one")
    file.seek(0)
    header = pydicom.dcmread(file)
    check(int(header.Columns), int(header.Rows))
    values = pixel_array(header, index=0)
    kind = str(header.PhotometricInterpretation)
    remarks = ("frames",) * (int(header.get("NumberOfFrames") or 1) > 1)
    if str(header.get("BurnedInAnnotation", "")).upper() != "NO":
        remarks += ("burnt-in",)
    if not kind.startswith("MONOCHROME"):
        return Opened(_open_colour(values, kind), remarks=remarks)
    inverted = kind == "MONOCHROME1"
    slope, intercept = float(header.get("RescaleSlope", 1)), float(header.get("RescaleIntercept", 0))
    if "ModalityLUTSequence" in header or (slope, intercept) != (1, 0):
        values = apply_modality_lut(values, header)
    if values.dtype == np.uint8:
        return Opened(Image.fromarray(_MOST - values if inverted else values), remarks=remarks)
    deep = Image.fromarray(np.ascontiguousarray(values, np.float32))
    return Opened(deep, _find_window(header), inverted, remarks)


def _find_syntax(start: bytes) -> str:
    """The transfer syntax; a DICOM file begins in explicit little endian whatever follows (PS3.10, 7.1)."""
    _, found, rest = start.partition(b"\x02\x00\x10\x00UI")
    length = int.from_bytes(rest[:2], "little") if found else 0
    return rest[2 : 2 + length].rstrip(b"\0 ").decode("ascii", "replace")


def _open_colour(values: NDArray[Any], kind: str) -> Image.Image:
    """Colours, which pydicom gives as RGB whatever the file has, but for palettes."""
    if not kind.startswith(("RGB", "YBR")) or values.dtype != np.uint8 or values.ndim != _COLOUR:
        raise ValueError(f"{kind} of {values.dtype} is not supported")
    return Image.fromarray(values)


def _find_window(header: Any) -> str | None:
    """The header's first linear window as LOW:HIGH (DICOM PS3.3, C.11.2.1.2)."""
    linear = str(header.get("VOILUTFunction") or "LINEAR") == "LINEAR"
    if not linear or header.get("WindowCenter") is None or header.get("WindowWidth") is None:
        return None
    centre, width = (
        float(value if isinstance(value, int | float | str) else value[0])
        for value in (header.WindowCenter, header.WindowWidth)
    )
    half = (width - 1) / 2
    return f"{centre - 0.5 - half}:{centre - 0.5 + half}" if half > 0 else None
