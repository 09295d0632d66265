"""Generated images under every cipher, in docs/pictures/: python benchmarks/pages/cipher_pictures.py"""

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from cipherlens.auditing.report.figures import display_ciphertext
from cipherlens.ciphers import CIPHERS, create_cipher
from cipherlens.data.synthetic.dataset import generate
from cipherlens.keys import Key

OUT = Path(__file__).parents[2] / "docs" / "pictures" / "ciphers.png"
SIDE, IMAGES, COLUMNS = 64, (3, 21), 6
ZOOM, GAP = 3, 4
"""Of a strip for one cipher: pixels for one of an image, and the white between, in pixels of an image."""


def main() -> None:
    plain = generate(list(IMAGES), size=SIDE).images
    key = Key(bytes(range(32)))
    shown = [("plain", plain.transpose(0, 2, 3, 1))]
    for name in CIPHERS:
        if name == "identity":
            continue
        params = {"block": 8} if "block" in create_cipher(name).params else {}
        ct = np.asarray(create_cipher(name, **params).bind(key, plain.shape[1:]).encrypt(plain))
        pictures = np.stack([display_ciphertext(image)[:, :SIDE] for image in ct]).transpose(0, 2, 3, 1)
        shown.append((f"{name}, 8x8" if params else name, pictures))
        write_strip(name, [*shown[0][1], *pictures])
    rows = -(-len(shown) // COLUMNS)
    figure = Figure(figsize=(2.1 * COLUMNS, 2.4 * rows * len(IMAGES) / 1.15), layout="constrained", dpi=72)
    plots = figure.subplots(rows * len(IMAGES), COLUMNS)
    for axes in plots.flat:
        axes.axis("off")
    for number, (name, pictures) in enumerate(shown):
        row, column = divmod(number, COLUMNS)
        for line, picture in enumerate(pictures):
            axes = plots[row * len(IMAGES) + line, column]
            axes.imshow(picture)
            if line == 0:
                axes.set_title(name, fontsize=11)
    OUT.parent.mkdir(exist_ok=True)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    drawn = Image.fromarray(np.asarray(canvas.buffer_rgba())[:, :, :3])
    drawn.quantize(96).save(OUT, optimize=True)  # noise hardly compresses, and nobody looks at its colours


def write_strip(name: str, pictures: list[np.ndarray]) -> None:
    """The plain images and their ciphertexts side by side."""
    gap = np.full((SIDE, GAP, 3), 255, np.uint8)
    parts = [part for picture in pictures for part in (gap, np.broadcast_to(picture, (SIDE, SIDE, 3)))][1:]
    strip = Image.fromarray(np.concatenate([np.asarray(part, np.uint8) for part in parts], axis=1))
    path = OUT.parent / "ciphers" / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    strip.resize((ZOOM * strip.width, ZOOM * strip.height), Image.Resampling.NEAREST).quantize(96).save(
        path, optimize=True
    )


if __name__ == "__main__":
    main()
