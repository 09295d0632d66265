"""Split images into blocks and merge them again, without loops."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import is_numpy_array

from cipherlens.ciphers.base import Array, Cipher
from cipherlens.errors import UsageError

CACHE_VALUES = 300_000
"""This many values pass through all steps at a time, because they fit into a core's cache."""

MAX_BLOCK = 32
"""Largest side of a block; it limits the size of key matrices. Chosen by hand."""


@dataclass(frozen=True)
class BlockCipher(Cipher):
    """A cipher on blocks of ``block`` x ``block`` pixels. Raises UsageError for a block outside 2 to MAX_BLOCK."""

    block: int = 4

    def __post_init__(self) -> None:
        if not isinstance(self.block, int) or not 2 <= self.block <= MAX_BLOCK:
            raise UsageError(
                f"block must be between 2 and {MAX_BLOCK}, not {self.block!r}", hint="4, 8 and 16 are usual"
            )


def split_blocks(xp: Any, images: Array, block: int) -> Array:
    """(N, C, H, W) -> (C, N, H/b, W/b, b*b): each block flattened row-major.

    The channel comes first because block ciphers have one matrix per channel. One large product per channel is
    many times faster than one small product per image.
    """
    n, c, h, w = images.shape
    grid = xp.reshape(images, (n, c, h // block, block, w // block, block))
    return xp.reshape(xp.permute_dims(grid, (1, 0, 2, 4, 3, 5)), (c, n, h // block, w // block, block * block))


def merge_blocks(xp: Any, blocks: Array, block: int) -> Array:
    """(C, N, H/b, W/b, b*b) -> (N, C, H, W): the inverse of :func:`split_blocks`."""
    c, n, rows, columns, _ = blocks.shape
    grid = xp.reshape(blocks, (c, n, rows, columns, block, block))
    return xp.reshape(xp.permute_dims(grid, (1, 0, 2, 4, 3, 5)), (n, c, rows * block, columns * block))


def map_images(images: Array, function: Callable[[Array], Array]) -> Array:
    """Apply ``function`` to a batch of images. NumPy arrays are processed a few images at a time, in the cache."""
    step = max(1, CACHE_VALUES // max(1, int(np.prod(images.shape[1:]))))
    if not is_numpy_array(images) or len(images) <= step:
        return function(images)
    first = function(images[:step])
    out = np.empty((len(images), *first.shape[1:]), first.dtype)
    out[:step] = first
    for start in range(step, len(images), step):
        out[start : start + step] = function(images[start : start + step])
    return out


def map_blocks(xp: Any, images: Array, block: int, function: Callable[[Array], Array], dtype: str) -> Array:
    """Apply ``function`` to the blocks (C, N, H/b, W/b, b*b) of images; merge the results, of ``dtype``.

    NumPy arrays are processed a few images at a time, in the cache. Other libraries get the whole batch, which is
    faster on accelerators.
    """
    if not is_numpy_array(images):
        return merge_blocks(xp, function(split_blocks(xp, images, block)), block)
    out = np.empty(images.shape, dtype)
    step = max(1, CACHE_VALUES // int(np.prod(images.shape[1:])))
    for start in range(0, len(images), step):
        blocks = function(split_blocks(xp, images[start : start + step], block))
        part = out[start : start + step]
        n, c, h, w = part.shape
        grid = part.reshape(n, c, h // block, block, w // block, block).transpose(1, 0, 2, 4, 3, 5)
        grid[...] = blocks.reshape(grid.shape)
    return out
