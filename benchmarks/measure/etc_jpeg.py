"""EtC images stored as JPEG: python benchmarks/measure/etc_jpeg.py IMAGENETTE --out results/etc-jpeg.json

Photos are encrypted, stored as JPEG (colour resolution halved), read and decrypted; PSNR to the photo and bytes per
pixel, beside the plain photo stored at the same quality. "grey": channels are converted to YCbCr first, put side by
side and stored as one grey JPEG. Mean over photos of PSNR; another cipher (shf) shows what happens otherwise. The
photos come as JPEG files, so they are cropped off its grid first: else storing them again would cost nothing.
"""

import argparse
import io
from pathlib import Path

import numpy as np
from photos import read_photos
from PIL import Image

from cipherlens.ciphers import create_cipher
from cipherlens.keys import Key
from cipherlens.records import write_record

QUALITIES = (50, 75, 90, 95)
SIDE, TOP, LEFT = 208, 5, 3


def store(images: np.ndarray, quality: int) -> tuple[np.ndarray, float]:
    """Images (N, C, H, W) through JPEG, and bytes per pixel of a plain image."""
    found, size = [], 0
    for image in images:
        picture = Image.fromarray(image.transpose(1, 2, 0).squeeze())
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=quality, subsampling=2)
        size += buffer.tell()
        decoded = np.asarray(Image.open(buffer))
        found.append(decoded[None] if decoded.ndim == 2 else decoded.transpose(2, 0, 1))
    return np.stack(found), size / (len(images) * SIDE**2)


def convert(images: np.ndarray, source: str, target: str) -> np.ndarray:
    pictures = [Image.fromarray(image.transpose(1, 2, 0), source).convert(target) for image in images]
    return np.stack([np.asarray(picture).transpose(2, 0, 1) for picture in pictures])


def psnr(plain: np.ndarray, found: np.ndarray) -> float:
    errors = np.square(plain.astype(float) - found).mean((1, 2, 3))
    return float((10 * np.log10(255**2 / np.maximum(errors, 1e-12))).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("imagenette")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    photos = read_photos(options.imagenette, options.images)[:, :, TOP : TOP + SIDE, LEFT : LEFT + SIDE]
    key, shape = Key(bytes(range(32))), photos.shape[1:]
    ciphers = {
        "plain": create_cipher("identity"),
        "etc, 16x16": create_cipher("etc", block=16),
        "etc, 8x8": create_cipher("etc", block=8),
        "etc grey, 8x8, YCbCr": create_cipher("etc", block=8, grey=True),
        "shf, 8x8": create_cipher("shf", block=8),
    }
    rows = []
    for name, cipher in ciphers.items():
        bound = cipher.bind(key, shape)
        grey = "grey" in name
        given = convert(photos, "RGB", "YCbCr") if grey else photos
        for quality in QUALITIES:
            stored, size = store(bound.encrypt(given), quality)
            back = bound.decrypt(stored)
            back = convert(back, "YCbCr", "RGB") if grey else back
            rows.append({"name": name, "quality": quality, "psnr": psnr(photos, back), "bytes_per_pixel": size})
            print(f"{name:22} quality {quality}: {rows[-1]['psnr']:.2f} dB, {size:.3f} bytes per pixel", flush=True)
    if options.out:
        write_record(
            options.out, "python benchmarks/measure/etc_jpeg.py IMAGENETTE", {"n": len(photos), "rows": rows}
        )


if __name__ == "__main__":
    main()
