"""One affine map for all blocks of an image: ciphers that treat every block alike are such maps."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.ciphers.blocks import merge_blocks, split_blocks

Images = NDArray[np.float32]
Floats = NDArray[np.float64]


def cut_blocks(images: NDArray[Any], block: int, joint: bool) -> NDArray[Any]:
    """Images (N, C, H, W) -> (C, N, H/b, W/b, b*b), or with ``joint`` (1, N, H/b, W/b, C*b*b)."""
    blocks = np.asarray(split_blocks(np, np.asarray(images), block))
    if not joint:
        return blocks
    return blocks.transpose(1, 2, 3, 0, 4).reshape(1, *blocks.shape[1:4], -1)


def apply_maps(images: NDArray[Any], block: int, matrices: Floats, offsets: Floats) -> NDArray[np.float32]:
    """Every block y of images (N, C, H, W) replaced by y @ matrices[c] + offsets[c]; float32.

    One matrix of C * b * b rows maps all channels of a block together.
    """
    size = matrices.shape[1]
    blocks = cut_blocks(images, block, joint=size != block * block)
    flat = blocks.reshape(len(blocks), -1, size).astype(np.float32)
    mapped = np.matmul(flat, matrices.astype(np.float32)) + offsets[:, None].astype(np.float32)
    apart = mapped.reshape(*blocks.shape[1:4], -1, block * block) if len(blocks) == 1 else None
    parts = mapped.reshape(blocks.shape) if apart is None else np.moveaxis(apart, 3, 0)
    merged: NDArray[np.float32] = merge_blocks(np, parts, block)
    return merged


def split_halves(images: Images) -> Images:
    """Images (N, C, H, W) in [0, 1] -> (N, 2 C, H, W) in [0, 1]: the lower half bytes, then the upper ones."""
    levels = np.rint(255 * images).astype(np.uint8)
    return np.concatenate([levels & 15, levels >> 4], axis=1).astype(np.float32) / np.float32(15)


def merge_halves(halves: Images) -> Images:
    """The inverse of :func:`split_halves`."""
    low, high = np.split(np.rint(15 * halves), 2, axis=1)
    return np.asarray((low + 16 * high) / 255, np.float32)
