"""Blocks of a picture as pieces of a puzzle: the poses of a piece, and the seams in which two pieces meet."""

from dataclasses import dataclass
from itertools import permutations, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.ciphers.schemes.etc import TURNS, list_turns
from cipherlens.ciphers.structure import Order

_QUARTER, _MIRRORED, _UPSIDE_DOWN = 1, 4, 6
"""Turns: by a quarter, left and right exchanged, top and bottom exchanged (see ``list_turns``)."""


@dataclass(frozen=True)
class Poses:
    """All S poses of a piece: turn (S,), sign (S,), -1 for negatives, order of the colours (S, C).

    Values are relative to the middle grey. Pose 0 changes nothing.

    ``then`` (S, S) is the composition of two poses, the first one applied first. ``back`` (S,) is the inverse pose.
    ``moves`` (S, 2, 2) maps a step (row, column).

    ``seam`` (2, S, S) numbers the R ways in which two pieces can meet, the second to the right (0) or below (1). A
    seam stays the same if both pieces are moved together. ``first`` and ``second`` (R,) are two poses that meet in
    a seam, the first with its own colours, and ``down`` (R,) is their direction. ``sides`` (R, 2) are the sides
    that meet, as turns that bring each to the right edge.
    """

    turn: Order
    signs: NDArray[np.float32]
    colours: Order
    then: Order
    back: Order
    moves: Order
    seam: Order
    first: Order
    second: Order
    down: Order
    sides: Order


def make_poses(turned: bool, channels: int) -> Poses:
    """All poses, for pieces that may be ``turned``, inverted and recoloured; otherwise only pose 0."""
    after = _follow_turns()
    orders = np.array(list(permutations(range(channels))) if turned else [range(channels)])
    ways = product(range(TURNS if turned else 1), range(2 if turned else 1), range(len(orders)))
    turn, negative, colour = np.array(list(ways)).T
    number = {tuple(order): k for k, order in enumerate(orders.tolist())}
    joined = np.array([[number[tuple(one[other].tolist())] for other in orders] for one in orders])
    inks = (int(negative.max()) + 1) * len(orders)
    flips = negative[:, None] ^ negative
    then = (after[turn[:, None], turn] * inks) + flips * len(orders) + joined[colour[:, None], colour]
    back = then.argmin(axis=1)
    # Both are turned together until the sides that meet are upright, and the second is mirrored, so that both sides
    # are right edges. Put upside down together they meet in the same way.
    spins = np.stack([turn, after[turn, _QUARTER]])
    one = np.broadcast_to(spins[:, :, None], (2, *then.shape))
    two = np.broadcast_to(after[spins, _MIRRORED][:, None], (2, *then.shape))
    one, two = np.where(one >= TURNS // 2, flip_sides(one), one), np.where(one >= TURNS // 2, flip_sides(two), two)
    recoloured = joined[colour, colour[back][:, None]]
    code = (one * TURNS + two) * inks + flips * len(orders) + recoloured
    known, example, seam = np.unique(code, return_index=True, return_inverse=True)
    down, first, second = np.unravel_index(example, code.shape)
    sides = np.stack([known // inks // TURNS, known // inks % TURNS], axis=1)
    moves = _move_steps()[turn]
    signs = (1 - 2 * negative).astype(np.float32)
    return Poses(
        turn, signs, orders[colour], then, back, moves, seam.reshape(code.shape), first, second, down, sides
    )


def _follow_turns() -> Order:
    """Composition (8, 8) of turns: first one, then the other."""
    turns = list_turns(2)
    return np.asarray((turns[:, turns][:, :, None] == turns).all(axis=-1).argmax(axis=-1))


def flip_sides(side: Order) -> Order:
    """Sides (as turns that bring them to the right edge) read from the other end."""
    return np.asarray(_follow_turns()[side, _UPSIDE_DOWN])


def _move_steps() -> Order:
    """Matrices (8, 2, 2) of the turns for a step (row, column)."""
    quarter, mirror = np.array([[0, -1], [1, 0]]), np.diag([1, -1])
    quarters = np.stack([np.linalg.matrix_power(quarter, number) for number in range(TURNS // 2)])
    return np.concatenate([quarters, mirror @ quarters])


def lay_pieces(pieces: NDArray[Any], poses: Poses, pose: Order) -> NDArray[Any]:
    """Pieces (M, N, B, B, C), each turned and recoloured as ``pose`` (N,) says, but not inverted."""
    images, count, block = pieces.shape[:3]
    values = pieces.reshape(images, count, block * block, -1)
    turned, number = list_turns(block)[poses.turn[pose]][:, :, None], np.arange(count)[:, None, None]
    return np.asarray(values[:, number, turned, poses.colours[pose][:, None]].reshape(pieces.shape))


def cut_pieces(images: NDArray[Any], block: int) -> NDArray[Any]:
    """Images (M, C, H, W) -> pieces (M, N, B, B, C), row by row."""
    count, channels, height, width = images.shape
    grid = images.reshape(count, channels, height // block, block, width // block, block)
    return np.ascontiguousarray(grid.transpose(0, 2, 4, 3, 5, 1)).reshape(count, -1, block, block, channels)


def join_pieces(pieces: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """Pieces (M, N, B, B, C), row by row -> images (M, C, H, W): the inverse of :func:`cut_pieces`."""
    count, _, block, _, channels = pieces.shape
    grid = pieces.reshape(count, height // block, width // block, block, block, channels)
    return np.ascontiguousarray(grid.transpose(0, 5, 1, 3, 2, 4)).reshape(count, channels, height, width)
