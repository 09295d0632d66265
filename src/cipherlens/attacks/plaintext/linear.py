"""Known plaintext against linear ciphers: matrices from pairs, over the reals or modulo 256.

One 32x32 image holds 64 blocks of 4x4, four times what the 16x16 matrix of one channel needs. Blocks of 8x8 need
four such images (or one of 224x224).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.attacks.base import Found, Images, View
from cipherlens.attacks.shared.distances import squared_distances
from cipherlens.attacks.shared.embedding import assign
from cipherlens.ciphers.base import check_multiple
from cipherlens.ciphers.blocks import split_blocks
from cipherlens.ciphers.estimated_inverse import BlockInverse, shape_of
from cipherlens.ciphers.rearrangement import move_blocks
from cipherlens.ciphers.schemes.hill import reduce_mod256
from cipherlens.ciphers.structure import Bytes, Order, Scope, Shape, index_blocks
from cipherlens.ciphers.value_inverses import ModularInverse, from_flat_blocks

Floats = NDArray[np.float64]
_SAME_LENGTH = 1e-4
"""Root mean square difference, over images, below which patches have the same lengths. Set by hand."""

_BLOCKS_PER_UNKNOWN = 64
"""Maximum blocks per row of the matrix; more add time, not accuracy. Set by hand."""
_ROWS_PER_UNKNOWN = 32
"""The same modulo 256, where n rows that are independent modulo 2 are enough. Set by hand."""


def solve_hill(view: View, plain: Images, ct: Images) -> tuple[BlockInverse, dict[str, Any]]:
    """Recover the decryption matrices by least squares from pairs and decrypt everything.

    With fewer independent blocks than the matrix side the least-norm solution is used, and the details say
    that the key was not fully recovered.
    """
    known, seen = (_channel_blocks(images, view.block, _BLOCKS_PER_UNKNOWN) for images in (plain, ct))
    solved = [_solve(c, p) for c, p in zip(seen, known, strict=True)]
    matrices = np.stack([matrix for matrix, _ in solved])
    offsets = np.zeros(matrices.shape[:2])
    inverse = BlockInverse(shape=view.plain_shape, block=view.block, matrices=matrices, offsets=offsets)
    return inverse, {"pairs": len(plain)} | _describe(min(rank for _, rank in solved), matrices.shape[1])


def solve_patches(view: View, plain: Images, ct: Images) -> Found:
    """As :func:`solve_hill` for one matrix on whole patches, all channels together, whose places may be permuted.

    An orthogonal matrix keeps the length of every patch. The lengths over all pairs tell the order of the patches.
    """
    shape: Shape = (int(plain.shape[1]), int(plain.shape[2]), int(plain.shape[3]))
    places = index_blocks(shape, view.block)
    all_images = (plain, ct, view.ciphertexts)
    known, seen, target = (images.reshape(len(images), -1)[:, places] for images in all_images)
    count, size = len(places), places.shape[1]
    sources, unsure = _match_lengths(known, seen) if view.structure.scope is Scope.IMAGE else (np.arange(count), 0)
    keep = _draw(len(plain) * count, _BLOCKS_PER_UNKNOWN * size)
    pairs = [patches.reshape(-1, size)[keep].astype(np.float64) for patches in (seen, known[:, sources])]
    matrix, rank = _solve(*pairs)
    details = {"pairs": len(plain), "unsure": unsure} | _describe(rank, size)
    if view.structure.scope is Scope.BLOCKS:
        return from_flat_blocks(view.plain_shape, view.block, matrix), details
    flat = (target.reshape(-1, size) @ matrix.astype(np.float32)).reshape(len(target), -1)
    order = move_blocks(places[sources], np.arange(places.size).reshape(places.shape))
    details["key_recovered"] = details["key_recovered"] and unsure == 0
    return flat[:, order].reshape(view.ciphertexts.shape), details


def _match_lengths(known: Images, seen: Images) -> tuple[Order, int]:
    """For every patch of the ciphertexts the place in the plain images whose patches have the same lengths.

    It also gives the number of patches that have several such places, and may be assigned wrongly.
    """
    lengths = [np.linalg.norm(patches.astype(np.float64), axis=2).T for patches in (seen, known)]
    distances = squared_distances(*lengths)
    sources = assign(distances)
    tolerance = _SAME_LENGTH**2 * lengths[0].shape[1]
    return sources, int(((distances < distances.min(axis=1)[:, None] + tolerance).sum(axis=1) > 1).sum())


def solve_modular(plain: Bytes, ct: Bytes, block: int) -> tuple[ModularInverse, dict[str, Any]]:
    """The matrices modulo 256 that pairs (N, C, H, W) show; pivots are odd."""
    known, seen = (_channel_blocks(images, block, _ROWS_PER_UNKNOWN) for images in (plain, ct))
    solved = [_eliminate(c, p) for c, p in zip(seen, known, strict=True)]
    matrices = np.stack([matrix for matrix, _ in solved])
    inverse = ModularInverse(shape=shape_of(ct), block=block, matrices=matrices)
    return inverse, _describe(min(r for _, r in solved), matrices.shape[1])


def _eliminate(ct: Bytes, plain: Bytes) -> tuple[Bytes, int]:
    """D with ``ct @ D = plain`` modulo 256, and its rank; rows of D that no pivot fixes are zero."""
    size = ct.shape[1]
    rows = np.concatenate([ct, plain], axis=1)
    pivots = reduce_mod256(rows, size)
    matrix = np.zeros((size, size), np.uint8)
    matrix[pivots] = rows[: len(pivots), size:]
    return matrix, len(pivots)


def _channel_blocks(images: NDArray[Any], block: int, per_unknown: int) -> list[NDArray[Any]]:
    """Blocks (at most ``per_unknown`` times the values of one, values) of each channel; floats as float64."""
    check_multiple((int(images.shape[1]), int(images.shape[2]), int(images.shape[3])), block)
    blocks = split_blocks(np, images, block)
    flat = blocks.reshape(len(blocks), -1, block * block)
    flat = flat[:, _draw(flat.shape[1], per_unknown * block * block)]
    return list(flat if flat.dtype == np.uint8 else flat.astype(np.float64))


def _draw(count: int, limit: int) -> Order:
    """At most ``limit`` numbers below ``count``, drawn at random: chosen blocks repeat at regular distances."""
    if count <= limit:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, limit, replace=False))


def _describe(rank: int, size: int) -> dict[str, Any]:
    return {"rank": rank, "needed_rank": size, "key_recovered": rank == size}


def _solve(ct: Floats, plain: Floats) -> tuple[Floats, int]:
    """Least-squares matrix from ciphertext to plaintext blocks, and the rank of the ciphertext blocks."""
    matrix, _, rank, _ = np.linalg.lstsq(ct, plain, rcond=1e-7)
    return np.asarray(matrix, np.float64), int(rank)
