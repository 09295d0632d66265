"""Brightness of pictures as DCT coefficients of 8x8 blocks, and the steps to which JPEG rounds them."""

import numpy as np
from numpy.typing import NDArray

from cipherlens.attacks.base import Images
from cipherlens.ciphers.blockmaps import cut_blocks

Floats = NDArray[np.float64]
SIDE = 8
"""Side of JPEG's blocks."""
COUNT = SIDE**2
_LUMA = np.array([0.299, 0.587, 0.114])
_TABLE = """
16 11 10 16 24 40 51 61  12 12 14 19 26 58 60 55  14 13 16 24 40 57 69 56  14 17 22 29 51 87 80 62
18 22 37 56 68 109 103 77  24 35 55 64 81 104 113 92  49 64 78 87 103 121 120 101  72 92 95 98 112 100 103 99
"""
"""Steps of brightness at quality 50 (ITU-T T.81, table K.1), row by row."""


def list_steps(quality: int) -> Floats:
    """The steps (64,) at a quality from 1 to 100, on the scale 0 to 255, of the IJG's program."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    steps = np.floor((np.array(_TABLE.split(), np.float64) * scale + 50) / 100)
    return np.asarray(np.clip(steps, 1, 255), np.float64)


def _make_basis() -> Floats:
    place = np.arange(SIDE)
    lines = np.cos(np.pi * (2 * place + 1) * place[:, None] / (2 * SIDE)) / 2
    lines[0] /= np.sqrt(2)
    return np.asarray(np.kron(lines, lines), np.float64)


BASIS = _make_basis()
"""Row k is the picture of coefficient k, row by row; its rows are orthonormal."""


def read_coefficients(images: Images) -> NDArray[np.float32]:
    """DCT coefficients (N, H / 8, W / 8, 64) of pictures (N, C, H, W) of one or three channels in [0, 1].

    They are those of brightness on the scale 0 to 255. JPEG takes 128 away first, which moves the first by 1024.
    """
    shares = _LUMA if images.shape[1] == len(_LUMA) else np.ones(1)
    brightness = np.einsum("nchw,c->nhw", images, 255 * shares, optimize=True)[:, None]
    blocks = cut_blocks(brightness, SIDE, joint=False)[0]
    return np.asarray(blocks.astype(np.float32) @ BASIS.T.astype(np.float32), np.float32)
