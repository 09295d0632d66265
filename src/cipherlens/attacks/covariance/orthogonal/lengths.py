"""Maps of schemes whose matrices are orthogonal: an encrypted block is as long as the plain one.

Whitening forgets that, and with it how much of a picture is brightness and how much is colour. A wrong prior then
exchanges them. The lengths say it again: of all orthogonal maps the nearest is taken, and colours get the axes that
photos have.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cipherlens.attacks.base import Images
from cipherlens.attacks.covariance.orthogonal.colours import find_turn, take_some
from cipherlens.attacks.covariance.search import Recovery
from cipherlens.ciphers.blockmaps import apply_maps, cut_blocks

Floats = NDArray[np.float64]


def measure_lengths(ct: Images, block: int, joint: bool, centre: float) -> Floats:
    """Second moments (G, n, n) about ``centre`` of the blocks of ciphertexts (N, C, H, W)."""
    blocks = cut_blocks(ct - np.float32(centre), block, joint)
    flat = blocks.reshape(len(blocks), -1, blocks.shape[-1]).astype(np.float64)
    return np.asarray(flat.transpose(0, 2, 1) @ flat / flat.shape[1], np.float64)


def keep_lengths(found: Recovery, ct: Images, moments: Floats, settle_colours: bool, centre: float) -> Recovery:
    """The result with the nearest orthogonal maps about ``centre``, for ciphertexts with these ``moments``.

    ``settle_colours``: one map of three channels gives them the axes that photos have, whatever the prior said.
    """
    matrices = found.matrices
    if settle_colours:
        matrices = _weigh_colours(matrices[0])[None]
    nearest = _find_nearest(matrices, moments)
    if settle_colours:
        nearest = _turn_colours(nearest, ct - np.float32(centre), found.block)
    moved = replace(found, matrices=nearest, offsets=centre * (1 - nearest.sum(axis=1)))
    return replace(moved, reconstruction=moved.decrypt(ct))


def _find_nearest(matrices: Floats, moments: Floats) -> Floats:
    """Orthogonal maps whose pictures differ least from those of ``matrices`` (G, n, n): Procrustes."""
    left, _, right = np.linalg.svd(moments @ matrices)
    return np.asarray(left @ right, np.float64)


def _weigh_colours(matrix: Floats) -> Floats:
    """The map (n, n) after a mix of channels by which it keeps the lengths of blocks of one colour.

    Such blocks are the surest part of a map, because most of a picture is in them.
    """
    back = np.linalg.pinv(matrix)
    size = len(matrix) // 3
    lengths = (back @ back.T).reshape(3, size, 3, size).mean(axis=(1, 3)) * size
    values, vectors = np.linalg.eigh(lengths)
    return np.asarray(matrix @ np.kron((vectors * np.sqrt(values)) @ vectors.T, np.eye(size)), np.float64)


def _turn_colours(matrices: Floats, ct: Images, block: int) -> Floats:
    """The maps (1, n, n) with channels turned so that colours vary as in photos."""
    nothing = np.zeros(matrices.shape[:2])
    turn = find_turn(apply_maps(take_some(ct), block, matrices, nothing))
    return np.asarray(matrices @ np.kron(turn, np.eye(len(matrices[0]) // 3)), np.float64)
