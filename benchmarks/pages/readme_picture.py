"""The picture of the README: a photograph, what the provider gets, and what is read from this one ciphertext.

python -m pip install scikit-image     # brings the photograph: Eileen Collins, by NASA, in the public domain
python benchmarks/pages/readme_picture.py
"""

from argparse import ArgumentParser
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from cipherlens.attacks import get_attack
from cipherlens.auditing.report.figures import display_ciphertext
from cipherlens.ciphers import create_cipher
from cipherlens.data.images import Item, Preprocess
from cipherlens.evaluation.harness import evaluate
from cipherlens.evaluation.target import Target
from cipherlens.keys import Key

SIDE, BLOCK, GAP = 448, 8, 8
"""Pixels: side of the square that is sealed, side of the cipher's blocks, white between the pictures."""
KEY = Key(bytes([3]) * 32)


def find_photo() -> Path:
    """The astronaut of scikit-image; importing the package would fetch other files."""
    found = find_spec("skimage")
    if found is None or found.origin is None:
        raise SystemExit("install scikit-image, or name a photo")
    return Path(found.origin).parent / "data" / "astronaut.png"


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--photo", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/picture.jpg"))
    options = parser.parse_args()
    photo = options.photo or find_photo()
    plain = Preprocess(SIDE).apply(Item(photo.name, -1, photo))[None]
    cipher = create_cipher("hill", block=BLOCK)
    bound = cipher.bind(KEY, plain.shape[1:])
    target = Target(cipher, plain, bound.encrypt(plain), None, "parametric, no images", bound)
    found = evaluate(get_attack("covariance"), target, budget=1, runs=1)
    read = np.rint(found.reconstruction[0].clip(0, 1) * 255).astype(np.uint8)
    gap = np.full((3, SIDE, GAP), 255, np.uint8)
    shown = np.concatenate([plain[0], gap, display_ciphertext(target.ct[0]), gap, read], axis=2)
    Image.fromarray(shown.transpose(1, 2, 0)).save(options.out, quality=88)
    print(f"{options.out}: SSIM {found.ssim:.3f}, guessing {found.guess_ssim:.3f}")


if __name__ == "__main__":
    main()
