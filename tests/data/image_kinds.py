"""Kinds of images that users bring, and what becomes of each: one list for the tests and for docs/images.md."""

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageCms

from cipherlens.data.conversion import Rules

RNG = np.random.default_rng(5)
RGB = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (6, 9), dtype=np.uint8)
ALPHA = RNG.integers(1, 255, (6, 9), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, (6, 9), dtype=np.uint16)
FLOAT = RNG.normal(size=(6, 9)).astype(np.float32)
SPOT = (2, 3)
"""A place whose colour is made transparent."""
EXACT, MAPPED, REFUSED = "exact", "mapped", "refused"


@dataclass(frozen=True)
class Kind:
    """One kind: how to make it, and what it becomes: pixels (H, W) or (H, W, 3), or the words of a refusal."""

    name: str
    make: Callable[[], bytes]
    expected: np.ndarray | str
    how: str = EXACT
    rules: Rules = field(default_factory=Rules)
    remarks: tuple[str, ...] = ()
    needs: str | None = None


def save(image: Image.Image, container: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, container, **options)
    return file.getvalue()


def over_white(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    part = alpha.astype(np.float64)[..., None] / 255
    return np.rint(colours * part + 255 * (1 - part))


def without(colours: np.ndarray) -> np.ndarray:
    """White where the colour is that of SPOT."""
    chosen = (colours == colours[SPOT]).all(-1) if colours.ndim == 3 else colours == colours[SPOT]
    return np.where(chosen[..., None] if colours.ndim == 3 else chosen, 255, colours)


def luminance(colours: np.ndarray) -> np.ndarray:
    """ITU-R 601-2, in the integers that Pillow documents."""
    red, green, blue = (colours[..., channel].astype(np.int64) for channel in range(3))
    return (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16


def window(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.rint(np.clip((values.astype(np.float64) - low) / (high - low), 0, 1) * 255)


def two_frames() -> dict:
    """Options of Pillow that add a second frame; it keeps something of each container in the image."""
    return {"save_all": True, "append_images": [Image.fromarray(255 - RGB)]}


def write_png(values: np.ndarray, depth: int, colour: int, transparent: int | None = None) -> bytes:
    """A PNG as its standard says, of kinds that Pillow does not write; ``values`` (H, W, samples)."""
    height, width, _ = values.shape
    if depth == 16:
        rows = [values[y].astype(">u2").tobytes() for y in range(height)]
    else:
        bits = np.unpackbits(values.reshape(height, -1, 1).astype(np.uint8), axis=2)[:, :, 8 - depth :]
        rows = [np.packbits(bits[y].ravel()).tobytes() for y in range(height)]

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    key = b"" if transparent is None else chunk(b"tRNS", struct.pack(">H", transparent))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + key + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def write_tiff(values: np.ndarray, photometric: int = 2, planar: bool = False) -> bytes:
    """A TIFF of 16 bits per sample, uncompressed; ``planar``: all samples of one colour, then the next."""
    height, width, samples = values.shape
    data = (values.transpose(2, 0, 1) if planar else values).astype("<u2").tobytes()
    start = 16 + len(data)
    plane = len(data) // samples
    offsets = struct.pack("<6I", *(16 + plane * n for n in range(3)), *[plane] * 3)
    strips = [(273, 4, 3, start), (279, 4, 3, start + 12)] if planar else [(273, 4, 1, 16), (279, 4, 1, len(data))]
    depth = (258, 3, samples, 8) if samples > 1 else (258, 3, 1, 16)
    entries = [
        (256, 3, 1, width),
        (257, 3, 1, height),
        depth,
        (259, 3, 1, 1),
        (262, 3, 1, photometric),
        strips[0],
        (277, 3, 1, samples),
        (278, 3, 1, height),
        strips[1],
        (284, 3, 1, 2 if planar else 1),
    ]
    table = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    depths = struct.pack("<HHHH", 16, 16, 16, 0)
    head = b"II*\0" + struct.pack("<I", start + len(offsets)) + depths + data + offsets
    return head + struct.pack("<H", len(entries)) + table + bytes(4)


def write_dicom(values: np.ndarray, kind: str = "MONOCHROME2", **fields) -> bytes:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    header.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    header.SOPClassUID, header.PatientName = SecondaryCaptureImageStorage, "Nobody^At All"
    header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID
    frames = values.ndim == 3 and kind.startswith("MONO")
    header.Rows, header.Columns = values.shape[1:3] if frames else values.shape[:2]
    if frames:
        header.NumberOfFrames = len(values)
    header.SamplesPerPixel = 1 if kind.startswith(("MONO", "PALETTE")) else 3
    if header.SamplesPerPixel == 3:
        header.PlanarConfiguration = 0
    header.PhotometricInterpretation = kind
    header.BitsAllocated = header.BitsStored = 8 * values.dtype.itemsize
    header.HighBit, header.PixelRepresentation = header.BitsStored - 1, int(values.dtype.kind == "i")
    header.BurnedInAnnotation = "NO"
    for name, value in fields.items():
        setattr(header, name, value)
    header.PixelData = values.tobytes()
    file = io.BytesIO()
    header.save_as(file, enforce_file_format=True)
    return file.getvalue()


def compress_dicom(plain: bytes, syntax: str, *frames: bytes) -> bytes:
    """The same image in another transfer syntax: ``frames`` as they are stored there, or run-length coded."""
    from pydicom import dcmread
    from pydicom.encaps import encapsulate
    from pydicom.uid import UID

    header = dcmread(io.BytesIO(plain))
    if frames:
        header.PixelData = encapsulate(list(frames))
        header["PixelData"].VR = "OB"
        header.file_meta.TransferSyntaxUID = UID(syntax)
    else:
        header.compress(UID(syntax))
    file = io.BytesIO()
    header.save_as(file, enforce_file_format=True)
    return file.getvalue()


def write_palette_dicom() -> bytes:
    table = RNG.integers(0, 65536, (3, 256), dtype=np.uint16)
    names = ("Red", "Green", "Blue")
    facts = {f"{name}PaletteColorLookupTableDescriptor": [256, 0, 16] for name in names}
    facts |= {f"{name}PaletteColorLookupTableData": row.tobytes() for name, row in zip(names, table, strict=True)}
    return write_dicom(GREY, "PALETTE COLOR", **facts)


def write_heic(pictures: list[np.ndarray], **options) -> bytes:
    import pillow_heif

    found = pillow_heif.from_pillow(Image.fromarray(pictures[0]))
    for more in pictures[1:]:
        found.add_from_pillow(Image.fromarray(more))
    file = io.BytesIO()
    found.save(file, quality=-1, matrix_coefficients=0, chroma=444, **options)
    return file.getvalue()


def exif_of(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def with_exif(pixels: np.ndarray, orientation: int, container: str = "PNG", **options) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return save(Image.fromarray(pixels), container, exif=exif, **options)


UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: p.swapaxes(0, 1)[:, ::-1],
    7: lambda p: p[::-1, ::-1].swapaxes(0, 1),
    8: lambda p: p.swapaxes(0, 1)[::-1],
}
"""EXIF 2.3, table 6: what must be done with the stored rows and columns."""

PALETTE = Image.fromarray(RGB // 64 * 64).quantize(64)
GREY_PALETTE = Image.fromarray(np.stack([GREY // 64] * 3, -1) * 64).quantize(16)
CMYK = np.concatenate([RGB, GREY[..., None]], -1)
FROM_CMYK = np.rint((255 - RGB.astype(np.float64)) * (255 - GREY[..., None].astype(np.float64)) / 255)
WINDOW = Rules(window="0:65535")
YBR = np.asarray(Image.fromarray(RGB).convert("YCbCr"))
FROM_YBR = np.asarray(Image.fromarray(YBR, "YCbCr").convert("RGB"))
SIGNED = (DEEP.astype(np.int64) - 32768).astype(np.int16)


def decode_with_pillow(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


PHOTO = save(Image.fromarray(RGB), "JPEG", quality=95)
GREY_PHOTO = save(Image.fromarray(GREY), "JPEG", quality=95)
CMYK_PHOTO = save(Image.fromarray(CMYK, "CMYK"), "JPEG", quality=100)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LAB_PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()

_COLOUR = [
    Kind("PNG, RGB, 8 bits", lambda: save(Image.fromarray(RGB)), RGB),
    Kind(
        "PNG, RGB, `--channels 1`",
        lambda: save(Image.fromarray(RGB)),
        luminance(RGB),
        MAPPED,
        Rules(1),
        ("luminance",),
    ),
    Kind(
        "PNG, grey stored as RGB, `--channels 1`",
        lambda: save(Image.fromarray(np.stack([GREY] * 3, -1))),
        GREY,
        EXACT,
        Rules(1),
    ),
    Kind("PNG, palette", lambda: save(PALETTE), np.asarray(PALETTE.convert("RGB"))),
    Kind(
        "PNG, grey palette, `--channels 1`",
        lambda: save(GREY_PALETTE),
        np.asarray(GREY_PALETTE.convert("RGB"))[..., 0],
        EXACT,
        Rules(1),
    ),
    Kind(
        "PNG, palette with transparency",
        lambda: save(PALETTE, transparency=PALETTE.getpixel(SPOT[::-1])),
        without(np.asarray(PALETTE.convert("RGB"))),
        MAPPED,
        remarks=("transparent",),
    ),
    Kind("PNG, RGBA, opaque", lambda: save(Image.fromarray(np.dstack([RGB, np.full_like(GREY, 255)]))), RGB),
    Kind(
        "PNG, RGBA, transparent",
        lambda: save(Image.fromarray(np.dstack([RGB, ALPHA]))),
        over_white(RGB, ALPHA),
        MAPPED,
        remarks=("transparent",),
    ),
    Kind(
        "PNG, RGB with a transparent colour",
        lambda: save(Image.fromarray(RGB), transparency=tuple(map(int, RGB[SPOT]))),
        without(RGB),
        MAPPED,
        remarks=("transparent",),
    ),
    Kind("PNG, RGB, 16 bits", lambda: write_png(np.dstack([DEEP] * 3), 16, 2), "16 bits per colour", REFUSED),
    Kind(
        "PNG, RGB, 16 bits, `--window`",
        lambda: write_png(np.dstack([DEEP] * 3), 16, 2),
        "16 bits per colour",
        REFUSED,
        WINDOW,
    ),
    Kind("PNG, RGBA, 16 bits", lambda: write_png(np.dstack([DEEP] * 4), 16, 6), "16 bits per colour", REFUSED),
    Kind("PNG, sRGB profile", lambda: save(Image.fromarray(RGB), icc_profile=SRGB), RGB),
    Kind(
        "PNG, another colour profile",
        lambda: save(Image.fromarray(RGB), icc_profile=LAB_PROFILE),
        RGB,
        EXACT,
        remarks=("profile",),
    ),
    Kind("PNG, animated", lambda: save(Image.fromarray(RGB), **two_frames()), RGB, MAPPED, remarks=("frames",)),
    *(
        Kind(f"PNG, EXIF orientation {number}", lambda number=number: with_exif(RGB, number), turn(RGB))
        for number, turn in UPRIGHT.items()
    ),
]
_GREY = [
    Kind("PNG, grey, 8 bits", lambda: save(Image.fromarray(GREY)), GREY),
    Kind("PNG, grey, 8 bits, `--channels 1`", lambda: save(Image.fromarray(GREY)), GREY, EXACT, Rules(1)),
    Kind("PNG, grey, 1 bit", lambda: save(Image.fromarray(GREY > 127)), np.where(GREY > 127, 255, 0)),
    Kind("PNG, grey, 2 bits", lambda: write_png(GREY[..., None] // 64, 2, 0), GREY // 64 * 85),
    Kind("PNG, grey, 4 bits", lambda: write_png(GREY[..., None] // 16, 4, 0), GREY // 16 * 17),
    Kind(
        "PNG, grey and alpha",
        lambda: save(Image.fromarray(np.dstack([GREY, ALPHA]), "LA")),
        over_white(GREY[..., None], ALPHA)[..., 0],
        MAPPED,
        remarks=("transparent",),
    ),
    Kind(
        "PNG, grey with a transparent value",
        lambda: save(Image.fromarray(GREY), transparency=int(GREY[SPOT])),
        without(GREY),
        MAPPED,
        remarks=("transparent",),
    ),
    Kind(
        "PNG, grey and alpha, 16 bits",
        lambda: write_png(np.dstack([DEEP] * 2), 16, 4),
        "16 bits per colour",
        REFUSED,
    ),
    Kind("PNG, grey, 16 bits", lambda: save(Image.fromarray(DEEP)), "more than 8 bits", REFUSED),
    Kind(
        "PNG, grey, 16 bits, `--window 0:65535`",
        lambda: save(Image.fromarray(DEEP)),
        window(DEEP, 0, 65535),
        MAPPED,
        WINDOW,
        ("window",),
    ),
    Kind(
        "PNG, grey, 16 bits, `--window 1000:9000`",
        lambda: save(Image.fromarray(DEEP)),
        window(DEEP, 1000, 9000),
        MAPPED,
        Rules(window="1000:9000"),
        ("window",),
    ),
    Kind(
        "PNG, grey, 16 bits, `--window minmax`",
        lambda: save(Image.fromarray(DEEP)),
        window(DEEP, DEEP.min(), DEEP.max()),
        MAPPED,
        Rules(1, "minmax"),
        ("window",),
    ),
    Kind(
        "PNG, grey, 16 bits, `--window percentile`",
        lambda: save(Image.fromarray(DEEP)),
        window(DEEP, *np.percentile(DEEP, [1, 99])),
        MAPPED,
        Rules(window="percentile"),
        ("window",),
    ),
    Kind(
        "PNG, grey, 2 bits, with a transparent value",
        lambda: write_png(GREY[..., None] // 64, 2, 0, transparent=1),
        "transparent grey",
        REFUSED,
    ),
    Kind("PNG, grey, 8 bits, `--window 0:65535`", lambda: save(Image.fromarray(GREY)), GREY, EXACT, WINDOW),
]
_PHOTOS = [
    Kind("JPEG, colour", lambda: PHOTO, decode_with_pillow(PHOTO)),
    Kind("JPEG, grey", lambda: GREY_PHOTO, decode_with_pillow(GREY_PHOTO)),
    Kind("JPEG, grey, `--channels 1`", lambda: GREY_PHOTO, decode_with_pillow(GREY_PHOTO), EXACT, Rules(1)),
    Kind(
        "JPEG, progressive",
        lambda: save(Image.fromarray(RGB), "JPEG", quality=95, progressive=True),
        decode_with_pillow(PHOTO),
    ),
    Kind(
        "JPEG, EXIF orientation 6",
        lambda: with_exif(RGB, 6, "JPEG", quality=95),
        UPRIGHT[6](decode_with_pillow(PHOTO)),
    ),
    Kind(
        "JPEG, CMYK",
        lambda: CMYK_PHOTO,
        np.asarray(Image.open(io.BytesIO(CMYK_PHOTO)).convert("RGB")),
        MAPPED,
        remarks=("cmyk",),
    ),
    Kind(
        "JPEG with more pictures (MPO)",
        lambda: save(Image.fromarray(RGB), "MPO", quality=95, **two_frames()),
        decode_with_pillow(PHOTO),
    ),
    Kind("HEIC", lambda: write_heic([RGB]), RGB, EXACT, needs="pillow_heif"),
    Kind(
        "HEIC, turned by its EXIF orientation (6)",
        lambda: write_heic([RGB], exif=exif_of(6)),
        np.rot90(RGB, -1),
        EXACT,
        needs="pillow_heif",
    ),
    Kind(
        "HEIC, several pictures",
        lambda: write_heic([RGB, 255 - RGB]),
        RGB,
        MAPPED,
        remarks=("frames",),
        needs="pillow_heif",
    ),
]
_OTHERS = [
    Kind("BMP, RGB", lambda: save(Image.fromarray(RGB), "BMP"), RGB),
    Kind("BMP, palette", lambda: save(PALETTE, "BMP"), np.asarray(PALETTE.convert("RGB"))),
    Kind("GIF", lambda: save(PALETTE, "GIF"), np.asarray(PALETTE.convert("RGB"))),
    Kind(
        "GIF with transparency",
        lambda: save(PALETTE, "GIF", transparency=PALETTE.getpixel(SPOT[::-1])),
        without(np.asarray(PALETTE.convert("RGB"))),
        MAPPED,
        remarks=("transparent",),
    ),
    Kind(
        "GIF, animated",
        lambda: save(PALETTE, "GIF", **two_frames()),
        np.asarray(PALETTE.convert("RGB")),
        MAPPED,
        remarks=("frames",),
    ),
    Kind("WebP, lossless", lambda: save(Image.fromarray(RGB), "WEBP", lossless=True), RGB),
    Kind(
        "WebP, lossless, transparent",
        lambda: save(Image.fromarray(np.dstack([RGB, ALPHA])), "WEBP", lossless=True, exact=True),
        over_white(RGB, ALPHA),
        MAPPED,
        remarks=("transparent",),
    ),
    Kind(
        "WebP, animated",
        lambda: save(Image.fromarray(RGB), "WEBP", lossless=True, **two_frames()),
        RGB,
        MAPPED,
        remarks=("frames",),
    ),
    Kind("TIFF, RGB", lambda: save(Image.fromarray(RGB), "TIFF"), RGB),
    Kind("TIFF, RGB, LZW", lambda: save(Image.fromarray(RGB), "TIFF", compression="tiff_lzw"), RGB),
    Kind("TIFF, grey", lambda: save(Image.fromarray(GREY), "TIFF"), GREY),
    Kind("TIFF, 1 bit", lambda: save(Image.fromarray(GREY > 127), "TIFF"), np.where(GREY > 127, 255, 0)),
    Kind("TIFF, orientation 8", lambda: save(Image.fromarray(RGB), "TIFF", tiffinfo={274: 8}), UPRIGHT[8](RGB)),
    Kind(
        "TIFF, several pages",
        lambda: save(Image.fromarray(RGB), "TIFF", **two_frames()),
        RGB,
        MAPPED,
        remarks=("frames",),
    ),
    Kind("TIFF, CMYK", lambda: save(Image.fromarray(CMYK, "CMYK"), "TIFF"), FROM_CMYK, MAPPED, remarks=("cmyk",)),
    Kind("TIFF, Lab", lambda: save(Image.fromarray(RGB, "LAB"), "TIFF"), "mode LAB", REFUSED),
    Kind("TIFF, RGB, 16 bits", lambda: write_tiff(np.dstack([DEEP] * 3)), "16 bits per colour", REFUSED),
    Kind(
        "TIFF, RGB, 16 bits, planar",
        lambda: write_tiff(np.dstack([DEEP] * 3), planar=True),
        "16 bits per colour",
        REFUSED,
    ),
    Kind(
        "TIFF, grey, 16 bits, white is zero, `--window 0:65535`",
        lambda: write_tiff(DEEP[..., None], photometric=0),
        255 - window(DEEP, 0, 65535),
        MAPPED,
        WINDOW,
        ("window",),
    ),
    Kind("TIFF, grey, 16 bits", lambda: save(Image.fromarray(DEEP), "TIFF"), "more than 8 bits", REFUSED),
    Kind(
        "TIFF, grey, 16 bits, `--window 0:65535`",
        lambda: save(Image.fromarray(DEEP), "TIFF"),
        window(DEEP, 0, 65535),
        MAPPED,
        WINDOW,
        ("window",),
    ),
    Kind(
        "TIFF, grey, 32 bits",
        lambda: save(Image.fromarray(DEEP.astype(np.int32)), "TIFF"),
        "more than 8 bits",
        REFUSED,
    ),
    Kind("TIFF, floats", lambda: save(Image.fromarray(FLOAT), "TIFF"), "more than 8 bits", REFUSED),
    Kind(
        "TIFF, floats, `--window -1:1`",
        lambda: save(Image.fromarray(FLOAT), "TIFF"),
        window(FLOAT, -1, 1),
        MAPPED,
        Rules(window="-1:1"),
        ("window",),
    ),
    Kind(
        "TIFF, floats, not finite",
        lambda: save(Image.fromarray(np.where(GREY > 250, np.nan, FLOAT).astype(np.float32)), "TIFF"),
        "not finite",
        REFUSED,
        Rules(window="minmax"),
    ),
    Kind("PPM", lambda: save(Image.fromarray(RGB), "PPM"), "not an image", REFUSED),
    Kind("JPEG 2000", lambda: save(Image.fromarray(RGB), "JPEG2000"), "not an image", REFUSED),
    Kind("ICO", lambda: save(Image.fromarray(RGB), "ICO", sizes=[(9, 6)]), "not an image", REFUSED),
    Kind("SVG", lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image", REFUSED),
    Kind("cut off JPEG", lambda: PHOTO[:-200], "cannot be decoded", REFUSED),
]
GREY_JPEG = save(Image.fromarray(GREY), "JPEG", quality=90)
DEEP_CODED = save(Image.fromarray(DEEP), "JPEG2000", no_jp2=True, irreversible=False)
_DICOM = [
    Kind("DICOM, MONOCHROME2, 8 bits", lambda: write_dicom(GREY), GREY),
    Kind("DICOM, MONOCHROME1, 8 bits", lambda: write_dicom(GREY, "MONOCHROME1"), 255 - GREY),
    Kind("DICOM, MONOCHROME2, 16 bits, no window", lambda: write_dicom(DEEP), "more than 8 bits", REFUSED),
    Kind(
        "DICOM, 16 bits, the header's window",
        lambda: write_dicom(DEEP, WindowCenter=20000, WindowWidth=8001),
        window(DEEP, 15999.5, 23999.5),
        MAPPED,
        remarks=("window",),
    ),
    Kind(
        "DICOM, MONOCHROME1, 16 bits, the header's window",
        lambda: write_dicom(DEEP, "MONOCHROME1", WindowCenter=20000, WindowWidth=8001),
        255 - window(DEEP, 15999.5, 23999.5),
        MAPPED,
        remarks=("window",),
    ),
    Kind(
        "DICOM, 16 bits, `--window 0:65535`",
        lambda: write_dicom(DEEP, WindowCenter=20000, WindowWidth=8001),
        window(DEEP, 0, 65535),
        MAPPED,
        WINDOW,
        ("window",),
    ),
    Kind(
        "DICOM, signed, with slope and intercept, `--window -1024:3071`",
        lambda: write_dicom(SIGNED, RescaleSlope=0.25, RescaleIntercept=100),
        window(SIGNED * 0.25 + 100, -1024, 3071),
        MAPPED,
        Rules(window="-1024:3071"),
        ("window",),
    ),
    Kind(
        "DICOM, 8 bits, with a window in its header and `--window`",
        lambda: write_dicom(GREY, WindowCenter=128, WindowWidth=100),
        GREY,
        EXACT,
        WINDOW,
    ),
    Kind(
        "DICOM, 8 bits, with slope 1 and intercept 0",
        lambda: write_dicom(GREY, RescaleSlope=1, RescaleIntercept=0),
        GREY,
    ),
    Kind(
        "DICOM, 16 bits, a window that is not linear",
        lambda: write_dicom(DEEP, WindowCenter=9000, WindowWidth=900, VOILUTFunction="SIGMOID"),
        "more than 8 bits",
        REFUSED,
    ),
    Kind("DICOM, YBR_FULL", lambda: write_dicom(YBR, "YBR_FULL"), FROM_YBR, MAPPED),
    Kind("DICOM, RGB", lambda: write_dicom(RGB, "RGB"), RGB),
    Kind("DICOM, PALETTE COLOR", write_palette_dicom, "PALETTE COLOR of uint8 is not supported", REFUSED),
    Kind(
        "DICOM, run-length coded",
        lambda: compress_dicom(write_dicom(GREY), "1.2.840.10008.1.2.5"),
        "transfer syntax 1.2.840.10008.1.2.5 is not supported",
        REFUSED,
    ),
    Kind(
        "DICOM, JPEG baseline, 8 bits",
        lambda: compress_dicom(write_dicom(GREY), "1.2.840.10008.1.2.4.50", GREY_JPEG),
        np.asarray(Image.open(io.BytesIO(GREY_JPEG))),
    ),
    Kind(
        "DICOM, JPEG 2000, 16 bits, the header's window",
        lambda: compress_dicom(
            write_dicom(DEEP, WindowCenter=20000, WindowWidth=8001), "1.2.840.10008.1.2.4.90", DEEP_CODED
        ),
        window(DEEP, 15999.5, 23999.5),
        MAPPED,
        remarks=("window",),
    ),
    Kind(
        "DICOM, several frames",
        lambda: write_dicom(np.stack([GREY, 255 - GREY])),
        GREY,
        MAPPED,
        remarks=("frames",),
    ),
    Kind(
        "DICOM, perhaps with text burnt in",
        lambda: write_dicom(GREY, BurnedInAnnotation="YES"),
        GREY,
        EXACT,
        remarks=("burnt-in",),
    ),
]
KINDS = [*_COLOUR, *_GREY, *_PHOTOS, *_OTHERS, *(Kind(**{**k.__dict__, "needs": "pydicom"}) for k in _DICOM)]
