"""Writes the priors of the covariance attack that are measured on photos.

python benchmarks/measure/measured_priors.py --imagenette IMAGENETTE --camvid CAMVID

Training images only, as they are, reduced to three quarters and to half, and the same as JPEG of quality 80.
"""

import argparse
import io
from pathlib import Path

import numpy as np
from PIL import Image

import cipherlens.attacks.covariance
from cipherlens.attacks.covariance.forms import reduce_images
from cipherlens.attacks.covariance.measured import BLOCKS, ORIGINS, STORED, TO_COLOURS, pack
from cipherlens.attacks.covariance.statistics import SPAN, block_statistics
from cipherlens.data.sources.base import pick_evenly
from cipherlens.data.sources.registry import open_source

COUNT = 200
SCALES = (1.0, 0.75, 0.5)
QUALITY = 80


def read_photos(source: str, count: int) -> np.ndarray:
    opened = open_source(source)
    chosen = pick_evenly(opened.splits["train"], count).tolist()
    return np.stack([item.decode() for item in opened.read("train", chosen)]).astype(np.float32) / 255


def store(images: np.ndarray) -> np.ndarray:
    """As JPEG, and read again."""
    found = []
    for image in np.rint(255 * images).astype(np.uint8):
        file = io.BytesIO()
        Image.fromarray(image.transpose(1, 2, 0)).save(file, "JPEG", quality=QUALITY)
        found.append(np.asarray(Image.open(file), np.float32).transpose(2, 0, 1) / 255)
    return np.stack(found)


def measure(photos: list[np.ndarray], block: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean of the forms' covariances, each divided by its trace; brightness and colour differences apart."""
    total = 0.0
    for images in photos:
        height, width = (side // block * block for side in images.shape[2:])
        covariance = block_statistics(images[..., :height, :width], block).covariance
        total = total + covariance / np.trace(covariance)
    side = SPAN * block
    grid = np.reshape(total, (SPAN, SPAN, 3, block, block) * 2).transpose(2, 0, 3, 1, 4, 7, 5, 8, 6, 9)
    pixels = grid.reshape(3, side**2, 3, side**2)
    apart = np.einsum("cpdq,ec,ed->epq", pixels, TO_COLOURS, TO_COLOURS, optimize=True)
    lying = apart.reshape(3, side, side, side, side).transpose(0, 2, 1, 4, 3).reshape(apart.shape)
    packed = [pack(covariance, block) for covariance in (apart + lying) / 2]  # no scene's horizon
    return np.stack([deviations for deviations, _ in packed]), np.stack([pairs for _, pairs in packed])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ORIGINS:
        parser.add_argument(f"--{name}", required=True)
    options = vars(parser.parse_args())
    stored = {}
    for name in ORIGINS:
        photos = read_photos(options[name], COUNT)
        reduced = [photos, *(np.clip(reduce_images(photos, scale), 0, 1) for scale in SCALES[1:])]
        for form, given in zip(STORED, (reduced, [store(images) for images in reduced]), strict=True):
            for block in BLOCKS:
                fitting = [images for images in given if min(images.shape[2:]) >= SPAN * block]
                stored[f"{name}/{form}/{block}/std"], stored[f"{name}/{form}/{block}/corr"] = measure(
                    fitting, block
                )
        print(name, flush=True)
    np.savez_compressed(Path(cipherlens.attacks.covariance.__path__[0]) / "measured_priors.npz", **stored)


if __name__ == "__main__":
    main()
