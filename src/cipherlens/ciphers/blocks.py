"""Cutting images into blocks and putting them back, without loops."""

from typing import Any

Array = Any


def split_blocks(xp: Any, images: Array, block: int) -> Array:
    """(N, C, H, W) -> (C, N, H/b, W/b, b*b): each block flattened row-major.

    The channel comes first because block ciphers have one matrix per channel, and one large product per
    channel is many times faster than one small product per image.
    """
    n, c, h, w = images.shape
    grid = xp.reshape(images, (n, c, h // block, block, w // block, block))
    return xp.reshape(xp.permute_dims(grid, (1, 0, 2, 4, 3, 5)), (c, n, h // block, w // block, block * block))


def merge_blocks(xp: Any, blocks: Array, block: int) -> Array:
    """(C, N, H/b, W/b, b*b) -> (N, C, H, W): the inverse of :func:`split_blocks`."""
    c, n, rows, columns, _ = blocks.shape
    grid = xp.reshape(blocks, (c, n, rows, columns, block, block))
    return xp.reshape(xp.permute_dims(grid, (1, 0, 2, 4, 3, 5)), (n, c, rows * block, columns * block))
