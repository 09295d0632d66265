"""What an eavesdropper reads of one photograph, from one to 1,000 ciphertexts under the same key.

    python -m pip install scikit-image     # brings the photograph: Eileen Collins, by NASA, in the public domain
    CIPHERLENS_DATA=DATA python benchmarks/measure/slider.py

The photograph is sealed with other photos, and the covariance attack reads them all, without public photos. It
writes results/eavesdropper-slider.json and the pictures of this photograph alone, docs/pictures/slider/.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cipherlens.attacks.base import View, to_unit
from cipherlens.attacks.covariance.attack import CovarianceAttack
from cipherlens.auditing.report.figures import display_ciphertext
from cipherlens.ciphers import create_cipher
from cipherlens.data.images import Item, Preprocess
from cipherlens.data.sources.registry import open_source
from cipherlens.evaluation.metrics import structural_similarity
from cipherlens.experiments.settings import resolve
from cipherlens.experiments.trials import read_images
from cipherlens.keys import Key
from cipherlens.records import write_record

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "benchmarks" / "pages"))
from readme_picture import find_photo  # noqa: E402 (the same photograph)

SIDE, BLOCK, SEED = 224, 8, 0
COUNTS = (1, 3, 10, 30, 100, 300, 1000)
KEY = Key(bytes([3]) * 32)
SOURCE = "imagenette-224"
QUALITY = 85
PART = 50
"""Images scored at a time: a limit on memory."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photo", type=Path, help="the photograph, by default that of scikit-image")
    parser.add_argument("--most", type=int, default=COUNTS[-1], help="largest number of ciphertexts")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "eavesdropper-slider.json")
    parser.add_argument("--pictures", type=Path, default=ROOT / "docs" / "pictures" / "slider")
    options = parser.parse_args()
    counts = [count for count in COUNTS if count <= options.most]
    plain, ct = seal(options.photo or find_photo(), max(counts))
    options.pictures.mkdir(parents=True, exist_ok=True)
    save(plain[0], options.pictures / "photo.jpg")
    save(display_ciphertext(ct[0]), options.pictures / "sealed.jpg")
    rows = [measure(plain[:count], ct[:count], options.pictures) for count in counts]
    write_record(options.out, "python benchmarks/measure/slider.py", describe(rows, plain))


def seal(photo: Path, count: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The photograph and count - 1 others, plain and sealed."""
    first = Preprocess(SIDE).apply(Item(photo.name, -1, photo))[None]
    others = read_images(open_source(resolve(f"data:{SOURCE}")), "train", count)[: count - 1]
    plain = np.concatenate([first, others])
    return plain, np.asarray(create_cipher("hill", block=BLOCK).bind(KEY, plain.shape[1:]).encrypt(plain))


def measure(plain: NDArray[np.uint8], ct: NDArray[np.float32], pictures: Path) -> dict[str, Any]:
    """Read all these ciphertexts together, and keep the picture of the first."""
    attack = CovarianceAttack().leave_out(SOURCE)
    found = attack.execute(View(create_cipher("hill", block=BLOCK), ct, seed=SEED))
    save(np.rint(found.reconstruction[0].clip(0, 1) * 255).astype(np.uint8), pictures / f"{len(ct):04}.jpg")
    ssim = compare(found.reconstruction, plain)
    row = {
        "ciphertexts": len(ct),
        "ssim": float(ssim[0]),
        "ssim_all": {"mean": float(ssim.mean()), "min": float(ssim.min()), "max": float(ssim.max())},
        "n": len(ct),
        "seconds": found.seconds,
        "searches": found.details["searches"],
        "prior": found.details["prior"],
    }
    print(row, flush=True)
    return row


def compare(read: NDArray[np.float32], plain: NDArray[np.uint8]) -> NDArray[np.float64]:
    """SSIM of every picture."""
    parts = [slice(start, start + PART) for start in range(0, len(plain), PART)]
    return np.concatenate(
        [structural_similarity(read[part].clip(0, 1).astype(np.float32), to_unit(plain[part])) for part in parts]
    )


def describe(rows: list[dict[str, Any]], plain: NDArray[np.uint8]) -> dict[str, Any]:
    """What was measured, with what a picture of middle grey scores."""
    grey = np.full((1, *plain.shape[1:]), 0.5, np.float32)
    return {
        "photograph": "Eileen Collins, by NASA, public domain",
        "source": SOURCE,
        "shape": list(plain.shape[1:]),
        "cipher": {"name": "hill", "block": BLOCK},
        "attack": "covariance",
        "threat_model": "coa",
        "keys": 1,
        "seeds": [SEED],
        "guess_ssim": float(compare(grey, plain[:1])[0]),
        "rows": rows,
    }


def save(picture: NDArray[np.uint8], path: Path) -> None:
    """Write a picture (C, H, W) of the photograph."""
    Image.fromarray(picture.transpose(1, 2, 0)).save(path, quality=QUALITY, optimize=True)


if __name__ == "__main__":
    main()
