"""Scores of a solved jigsaw puzzle: direct comparison, neighbours, largest component.

They are those of Gallagher (CVPR 2012) and Chuman, Kurihara and Kiya (IEICE Trans. E101-D, 2018). They need the
key, so attacks do not use them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cipherlens.attacks.jigsaw.pieces import Poses, cut_pieces, lay_pieces, make_poses
from cipherlens.attacks.jigsaw.puzzle import SIDES, Placement, list_neighbours, turn_placement
from cipherlens.attacks.shared.graph import link
from cipherlens.ciphers.rearrangement import BoundRearrangement
from cipherlens.ciphers.schemes.etc import list_turns
from cipherlens.ciphers.structure import Kind, Order, Scope
from cipherlens.errors import UsageError


@dataclass(frozen=True)
class JigsawScores:
    """Shares in [0, 1]; 1 is a complete solution.

    ``direct`` (Dc): share of the blocks in their place and pose, for the best pose of the whole picture.
    ``neighbours`` (Nc): share of the original pairs of neighbours that are joined as in the original. ``largest``
    (Lc): share of the blocks in the largest component that such pairs connect.
    """

    direct: float
    neighbours: float
    largest: float


def score_placement(bound: BoundRearrangement, placed: dict[str, Sequence[int]]) -> JigsawScores:
    """Compare a placement from the details of the attack ``jigsaw`` with the cipher's.

    ``placed`` holds ``piece`` and ``pose``, for each cell of the frame, row by row. Raises UsageError for a cipher
    that does not move whole blocks.
    """
    structure = bound.cipher.structure(bound.shape)
    pieces = structure.kind is Kind.REARRANGEMENT and structure.scope is Scope.PIECES
    if not pieces or bound.order is None:
        raise UsageError(f"{bound.cipher.name} moves no whole blocks", hint="score block-scrambling or etc")
    channels, height, width = bound.ct_shape
    block = bound.cipher.block
    frame = height // block, width // block
    poses = make_poses(structure.turns, channels)
    placement = Placement(*(np.array(placed[name]).reshape(frame) for name in ("piece", "pose")))
    shown = _trace(bound, bound.order, placement, poses, block)
    right, joined = _compare_places(shown, poses), _compare_neighbours(shown, poses)
    pairs = np.concatenate([part.ravel() for part in joined])
    return JigsawScores(right, float(pairs.mean()) if pairs.size else 1.0, _measure_largest(joined))


def _trace(bound: BoundRearrangement, order: Order, placement: Placement, poses: Poses, block: int) -> Placement:
    """The original block that each cell shows, and its pose, from the cipher's own tables."""
    channels, height, width = bound.ct_shape
    if bound.ct_shape != bound.shape:  # the order counts channels side by side
        order = np.arange(order.size).reshape(height, bound.shape[0], -1).transpose(1, 0, 2).ravel()[order]
    mask = np.zeros(order.size, np.uint8) if bound.mask is None else bound.mask
    tables = np.stack([order, mask]).reshape(2, channels, height, width)
    pose = placement.pose.ravel()
    sources, masks = lay_pieces(cut_pieces(tables, block)[:, placement.piece.ravel()], poses, pose)
    channel, row, column = np.unravel_index(sources, (channels, height, width))
    number = (row // block * (width // block) + column // block)[:, 0, 0, 0]
    inside = (row % block * block + column % block)[..., 0].reshape(len(pose), -1)
    negative = (masks[:, 0, 0, 0] > 0) ^ (poses.signs[pose] < 0)
    same = (
        (inside[:, None] == list_turns(block)[poses.turn]).all(axis=-1)
        & (channel[:, None, 0, 0] == poses.colours).all(axis=-1)
        & (negative[:, None] == (poses.signs < 0))
    )
    return Placement(number.reshape(placement.piece.shape), same.argmax(axis=1).reshape(placement.pose.shape))


def _compare_places(shown: Placement, poses: Poses) -> float:
    """Share of the cells with the right block and pose, for the best pose of the whole picture."""
    frame = shown.piece.shape
    original = Placement(np.arange(shown.piece.size).reshape(frame), np.zeros(frame, np.int64))
    shares = []
    for way in range(len(poses.turn)):
        wanted = turn_placement(original, poses, way)
        if wanted.piece.shape == frame:
            shares.append(((wanted.piece == shown.piece) & (wanted.pose == shown.pose)).mean())
    return float(max(shares))


def _compare_neighbours(shown: Placement, poses: Poses) -> list[Any]:
    """Which seams, between columns and between rows, join two blocks as they were in the original."""
    place = np.stack(np.divmod(shown.piece, shown.piece.shape[1]), axis=-1)
    joined = []
    for step, (first, second) in zip(SIDES, list_neighbours(), strict=False):
        wanted = poses.moves[poses.back[shown.pose[first]]] @ step
        alike = shown.pose[first] == shown.pose[second]
        joined.append(alike & (place[second] - place[first] == wanted).all(axis=-1))
    return joined


def _measure_largest(joined: list[Any]) -> float:
    """Share of the cells in the largest component that correct seams connect."""
    from scipy.sparse.csgraph import connected_components

    cells = np.arange(joined[0].shape[0] * joined[1].shape[1]).reshape(joined[0].shape[0], -1)
    links = [
        np.array([cells[first][seams], cells[second][seams]])
        for (first, second), seams in zip(list_neighbours(), joined, strict=True)
    ]
    pairs = np.concatenate(links, axis=1)
    graph = link(np.ones(pairs.shape[1]), pairs[0], pairs[1], cells.size)
    part = connected_components(graph, directed=False)[1]
    return float(np.bincount(part).max() / cells.size)
