"""Known plaintext against block-linear ciphers: solve for each channel's matrix from pairs.

One 32x32 image holds 64 blocks of 4x4, four times what the 16x16 matrix of one channel needs; 8x8 blocks
need four such images (or one of 224x224).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.attacks.base import Images, View
from cipherlens.ciphers.blocks import merge_blocks, split_blocks
from cipherlens.errors import UsageError

_BLOCKS_PER_UNKNOWN = 64
"""More blocks than this times the matrix side add time, not accuracy."""


def hill_known_plaintext(view: View) -> tuple[Images, dict[str, Any]]:
    """Recover the decryption matrices by least squares from the known pairs and decrypt everything.

    With fewer independent blocks than the matrix side the least-norm solution is used, and the details say
    that the key was not fully recovered.
    """
    if view.known_plain is None or view.known_ct is None:
        raise UsageError("hill-known-plaintext needs pairs")
    plain = _channel_blocks(view.known_plain, view.block)
    ct = _channel_blocks(view.known_ct, view.block)
    solved = [_solve(c, p) for c, p in zip(ct, plain, strict=True)]
    matrices = np.stack([matrix for matrix, _ in solved]).astype(np.float32)
    blocks = split_blocks(np, view.ciphertexts, view.block)
    channels, *grid, size = blocks.shape
    decrypted = np.matmul(blocks.reshape(channels, -1, size), matrices)
    reconstruction = merge_blocks(np, decrypted.reshape(channels, *grid, size), view.block)
    ranks = [rank for _, rank in solved]
    details = {"pairs": len(view.known_plain), "rank": min(ranks), "needed_rank": size}
    return reconstruction, details | {"key_recovered": min(ranks) == size}


def _channel_blocks(images: Images, block: int) -> list[NDArray[np.float64]]:
    blocks = split_blocks(np, images, block)
    flat = blocks.reshape(len(blocks), -1, block * block)
    keep = np.linspace(0, flat.shape[1] - 1, min(flat.shape[1], _BLOCKS_PER_UNKNOWN * block * block))
    return list(flat[:, keep.astype(np.int64)].astype(np.float64))


def _solve(ct: NDArray[np.float64], plain: NDArray[np.float64]) -> tuple[NDArray[np.float64], int]:
    """Least-squares matrix from ciphertext to plaintext blocks, and the rank it rests on."""
    matrix, _, rank, _ = np.linalg.lstsq(ct, plain, rcond=1e-7)
    return np.asarray(matrix, np.float64), int(rank)
