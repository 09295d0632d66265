"""Small images in every format that Pillow writes, and some that it only reads."""

import io
import struct
import zlib
from functools import lru_cache
from warnings import catch_warnings

import numpy as np
from PIL import Image

USUAL = ("JPEG", "PNG", "BMP", "WEBP", "GIF", "TIFF")
MODES = ("RGB", "L", "P", "RGBA", "1", "LA", "CMYK", "I;16", "F", "YCbCr")
_FITS = (b"SIMPLE  = T", b"BITPIX  = 8", b"NAXIS   = 2", b"NAXIS1  = 16", b"NAXIS2  = 16", b"END")
_EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n"
_XPM = b'/* XPM */\nstatic char *x[] = {\n"4 2 2 1",\n"  c #FF0000",\n". c None",\n"    ",\n" .. "};\n'
READ_ONLY = {
    "XPM": _XPM,
    "FITS": b"".join(card.ljust(80) for card in _FITS) + b" " * 2400 + bytes(2880),
    "SUN": struct.pack(">8I", 0x59A66A95, 16, 16, 24, 768, 1, 0, 0) + bytes(range(256)) * 3,
    "PSD": b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 16, 16, 8, 3) + bytes(14) + bytes(768),
    "GBR": struct.pack(">5I", 22, 1, 16, 16, 1) + b"x\0" + bytes(256),
    "XBM": b"#define x_width 8\n#define x_height 8\nstatic char x_bits[] = {\n0xff,1,2,3,4,5,6,7};\n",
    "PCD": bytes(2048) + b"PCD_" + bytes(100_000),
    "EPS binary": struct.pack("<IIII", 0xC6D3D0C5, 32, 200, 0) + bytes(16) + _EPS,
    "FLI": struct.pack("<IHHHHHHI", 128, 0xAF11, 1, 16, 16, 8, 3, 5) + bytes(108),
}


@lru_cache(1)
def make_images() -> dict[str, bytes]:
    """Every seed by a name that begins with its format."""
    Image.init()
    gradient = np.add.outer(np.arange(20) * 9, np.arange(24) * 4).astype(np.uint8)
    base = Image.fromarray(np.stack([gradient, gradient[::-1], 255 - gradient], -1))
    seeds = dict(READ_ONLY)
    for kind in sorted(set(Image.SAVE) - {"PDF", "BUFR", "GRIB", "HDF5", "WMF"}):
        for mode in MODES:
            content = _save(base, kind, mode)
            if content:
                seeds[f"{kind} {mode}"] = content
    for kind in ("GIF", "TIFF", "PNG", "WEBP"):  # not AVIF, which stores the time
        content = _save(base, kind, "RGB", save_all=True, append_images=[base.rotate(90), base.rotate(180)])
        seeds |= {f"{kind} frames": content} if content else {}
    for compression in ("tiff_lzw", "jpeg", "packbits", "tiff_deflate", "group4", "zstd", "webp"):
        content = _save(base, "TIFF", "1" if compression == "group4" else "RGB", compression=compression)
        seeds |= {f"TIFF {compression}": content} if content else {}
    seeds["JPEG progressive"] = _save(base, "JPEG", "RGB", progressive=True, exif=_exif(), icc_profile=b"x" * 200)
    return seeds


def _save(base: Image.Image, kind: str, mode: str, **options: object) -> bytes:
    file = io.BytesIO()
    try:
        image = (base.convert("I") if mode == "I;16" else base).convert(mode)
        with catch_warnings(action="ignore"):  # of formats that Pillow will give up
            image.save(file, kind, **options)
    except (OSError, ValueError, KeyError, struct.error, TypeError, RuntimeError):
        return b""
    return file.getvalue()


def _exif() -> bytes:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description"
    return exif.tobytes()


def make_bomb(width: int, height: int, channels: int) -> bytes:
    """A small PNG that is a large image."""
    kind = {1: 0, 3: 2, 4: 6}[channels]
    packer, row = zlib.compressobj(1), bytes(1 + width * channels)
    body = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + make_chunk(b"IHDR", header) + make_chunk(b"IDAT", body) + make_chunk(b"IEND", b"")


def make_chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG with its checksum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
