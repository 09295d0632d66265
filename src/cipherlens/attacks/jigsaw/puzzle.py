"""A puzzle, as the evidence that any two pieces are neighbours, and a placement of its pieces."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cipherlens.attacks.jigsaw.pieces import Poses
from cipherlens.ciphers.schemes.etc import TURNS
from cipherlens.ciphers.structure import Order

Floats = NDArray[np.float32]

SIDES = np.array([[0, 1], [1, 0], [0, -1], [-1, 0]])
"""Steps (row, column) to the neighbours to the right, below, to the left, above."""
EMPTY = -1
"""Marks a cell without a piece."""


@dataclass(frozen=True)
class Puzzle:
    """``evidence`` (R, N, N) for pieces i and j meeting in seam r of ``poses``; ``frame`` (rows, columns)."""

    evidence: Floats
    poses: Poses
    frame: tuple[int, int]

    @property
    def turnable(self) -> bool:
        """Whether pieces may have been turned."""
        return len(self.poses.turn) > 1

    def weigh(self, side: Order | int, piece: Order, pose: Order, other: Order, other_pose: Order) -> Floats:
        """Evidence that ``other`` lies on a side (number of ``SIDES``) of ``piece``; arguments are broadcast."""
        before = side >= len(SIDES) // 2
        if isinstance(side, np.ndarray):
            piece, other = np.where(before, other, piece), np.where(before, piece, other)
            pose, other_pose = np.where(before, other_pose, pose), np.where(before, pose, other_pose)
        elif before:
            piece, pose, other, other_pose = other, other_pose, piece, pose
        found: Floats = self.evidence[self.poses.seam[side % 2, pose, other_pose], piece, other]
        return found


@dataclass(frozen=True)
class Placement:
    """Which piece lies in each cell of the frame, and in which pose: (rows, columns) each."""

    piece: Order
    pose: Order


def weigh_placement(puzzle: Puzzle, placement: Placement) -> list[Floats]:
    """Evidence of all seams that run down, (rows, columns - 1), and of all that run across, (rows - 1, columns)."""
    return [
        puzzle.weigh(side, *(grid[part] for part in parts for grid in (placement.piece, placement.pose)))
        for side, parts in enumerate(list_neighbours())
    ]


def list_neighbours() -> tuple[tuple[tuple[slice, slice], tuple[slice, slice]], ...]:
    """Slices of the cells with a right neighbour and of these neighbours; then the same for neighbours below."""
    every, first, second = slice(None), slice(None, -1), slice(1, None)
    return ((every, first), (every, second)), ((first, every), (second, every))


def turn_placement(placement: Placement, poses: Poses, way: int) -> Placement:
    """The placement of the whole picture in another pose."""
    quarters, mirrored = poses.turn[way] % (TURNS // 2), poses.turn[way] >= TURNS // 2
    grids = [np.rot90(grid, quarters) for grid in (placement.piece, poses.then[placement.pose, way])]
    return Placement(*(grid[:, ::-1] if mirrored else grid for grid in grids))
