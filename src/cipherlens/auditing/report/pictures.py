"""One PNG with plain, encrypted and reconstructed images side by side."""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cipherlens.auditing.report.figures import display_ciphertext
from cipherlens.evaluation.harness import Evaluation
from cipherlens.evaluation.target import Target
from cipherlens.files import write_atomic

_TRIPLES = 12
"""At most this many triples are drawn. Chosen by hand."""
_PER_ROW = 3
"""Triples in a row. Chosen by hand."""
_TARGET_SIDE = 96
"""Smaller images are enlarged by a whole factor, up to about this side in pixels. Chosen by hand."""


def write_comparison(path: Path, target: Target, evaluation: Evaluation) -> None:
    """Write a PNG: up to twelve triples plain | encrypted | reconstructed, three triples a row."""
    chosen = range(min(_TRIPLES, len(evaluation.scored)))
    triples = [_triple(target, evaluation, position) for position in chosen]
    while len(triples) % min(_PER_ROW, len(triples)):
        triples.append(np.full_like(triples[0], 255))
    width = min(_PER_ROW, len(triples))
    rows = [np.concatenate(triples[i : i + width], axis=1) for i in range(0, len(triples), width)]
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(rows)).save(buffer, "PNG")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, buffer.getvalue())


def _triple(target: Target, evaluation: Evaluation, position: int) -> NDArray[np.uint8]:
    """(H, W, 3) uint8: the three images of one position with white borders."""
    image = int(evaluation.scored[position])
    _, height, width = target.plain.shape[1:]
    found = np.rint(np.clip(evaluation.reconstruction[position], 0, 1) * 255).astype(np.uint8)
    ct = display_ciphertext(target.ct[image])[:, :height, :width]
    scale = max(1, _TARGET_SIDE // max(height, width))
    parts = [_colour(part).repeat(scale, axis=0).repeat(scale, axis=1) for part in (target.plain[image], ct, found)]
    bordered = [np.pad(part, ((3, 3), (2, 2), (0, 0)), constant_values=255) for part in parts]
    return np.pad(np.concatenate(bordered, axis=1), ((0, 0), (6, 6), (0, 0)), constant_values=255)


def _colour(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(C, H, W) -> (H, W, 3): the first three channels, or grey."""
    channels = image[:3] if len(image) >= 3 else image[:1].repeat(3, axis=0)
    return np.ascontiguousarray(channels.transpose(1, 2, 0))
