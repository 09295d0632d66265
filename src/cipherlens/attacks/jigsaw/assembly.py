"""Joins pieces into larger and larger parts, the surest seams first (tree-based reassembly, Gallagher, CVPR 2012).

Unlike there, two parts are joined only if the evidence of all seams between them is positive in sum. A wrong edge
that looks right is then outvoted by the other seams (the idea of the loops of Son et al., ECCV 2014).
"""

import heapq
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cipherlens.attacks.jigsaw.puzzle import EMPTY, SIDES, Floats, Placement, Puzzle, list_neighbours
from cipherlens.attacks.shared.graph import link
from cipherlens.ciphers.schemes.etc import TURNS
from cipherlens.ciphers.structure import Order

_NEAREST = 6
"""Candidate seams of each side of a piece. Chosen on 21 test photos."""


@dataclass(frozen=True)
class Candidates:
    """Candidate seams (K, 3), each a seam and both pieces, with the evidence for each (K,)."""

    seams: Order
    evidence: Floats


@dataclass(frozen=True)
class _Move:
    """Pieces ``moved`` next to pieces ``staying``: to ``cells`` (n, 2), in ``poses`` (n,)."""

    staying: Order
    moved: Order
    cells: Order
    poses: Order


class Parts:
    """Parts of joined pieces.

    ``part`` (N,) numbers the parts, and ``members`` lists their pieces. ``cell`` (N, 2) and ``pose`` (N,) are
    relative to the part.
    """

    def __init__(self, puzzle: Puzzle, part: Order, cell: Order, pose: Order) -> None:
        self.puzzle, self.part, self.cell, self.pose = puzzle, part, cell, pose
        order = np.argsort(part, kind="stable")
        self.members = dict(enumerate(np.split(order, np.cumsum(np.bincount(part))[:-1])))

    def try_seam(self, seam: int, first: int, second: int) -> tuple[_Move, float] | None:
        """The move of the smaller part that lets two pieces meet in a seam, and the evidence for it.

        None if both are in one part already, or if the parts would overlap or exceed the frame.
        """
        if self.part[first] == self.part[second]:
            return None
        move = self._plan(seam, first, second)
        evidence = self._weigh(move)
        return None if evidence is None else (move, evidence)

    def _plan(self, seam: int, first: int, second: int) -> _Move:
        poses, down = self.puzzle.poses, self.puzzle.poses.down[seam]
        staying, moved = self.members[self.part[first]], self.members[self.part[second]]
        turn = poses.then[poses.back[poses.first[seam]], self.pose[first]]
        cell = self.cell[first] + poses.moves[turn] @ SIDES[down]
        way = poses.then[poses.back[self.pose[second]], poses.then[poses.second[seam], turn]]
        pivot = self.cell[second]
        if len(moved) > len(staying):
            staying, moved, way, cell, pivot = moved, staying, poses.back[way], pivot, cell
        cells = (self.cell[moved] - pivot) @ poses.moves[way].T + cell
        return _Move(staying, moved, cells, poses.then[self.pose[moved], way])

    def _weigh(self, move: _Move) -> float | None:
        """Evidence of all seams between the two parts, or None if the move is impossible."""
        stays = self.cell[move.staying]
        low = np.minimum(stays.min(axis=0), move.cells.min(axis=0))
        size = np.maximum(stays.max(axis=0), move.cells.max(axis=0)) - low + 1
        frame = self.puzzle.frame
        if (size > frame).any() and not (self.puzzle.turnable and (size[::-1] <= frame).all()):
            return None
        grid = np.full(size + 2, EMPTY)
        grid[tuple((stays - low + 1).T)] = move.staying
        cells = move.cells - low + 1
        if (grid[tuple(cells.T)] != EMPTY).any():
            return None
        near = grid[tuple((cells + SIDES[:, None]).transpose(2, 0, 1))]
        side, number = np.nonzero(near != EMPTY)
        other = near[side, number]
        evidence = self.puzzle.weigh(side, move.moved[number], move.poses[number], other, self.pose[other])
        return float(evidence.sum())

    def join(self, move: _Move) -> None:
        """Join the two parts of a move."""
        number = self.part[move.staying[0]]
        del self.members[self.part[move.moved[0]]]
        self.cell[move.moved], self.pose[move.moved], self.part[move.moved] = move.cells, move.poses, number
        self.members[number] = np.concatenate([move.staying, move.moved])


def scatter_pieces(puzzle: Puzzle) -> Parts:
    """Parts of one piece each."""
    count = puzzle.evidence.shape[1]
    return Parts(puzzle, np.arange(count), np.zeros((count, 2), np.int64), np.zeros(count, np.int64))


def break_seams(puzzle: Puzzle, placement: Placement, broken: list[NDArray[np.bool_]]) -> Parts:
    """Parts of a placement after removal of its ``broken`` seams (laid out as in ``weigh_placement``)."""
    from scipy.sparse.csgraph import connected_components

    held = [
        np.array([placement.piece[part][~gone] for part in parts])
        for parts, gone in zip(list_neighbours(), broken, strict=True)
    ]
    links = np.concatenate(held, axis=1)
    count = placement.piece.size
    graph = link(np.ones(links.shape[1]), links[0], links[1], count)
    part = connected_components(graph, directed=False)[1].astype(np.int64)
    cell, pose = np.empty((count, 2), np.int64), np.empty(count, np.int64)
    cell[placement.piece], pose[placement.piece] = np.indices(puzzle.frame).transpose(1, 2, 0), placement.pose
    return Parts(puzzle, part, cell, pose)


def list_candidates(puzzle: Puzzle) -> Candidates:
    """The seams with the most evidence for every side of every piece, where that is positive."""
    found, sides = [], puzzle.poses.sides[:, 0]
    count = puzzle.evidence.shape[1]
    for side in np.unique(sides):
        which = np.flatnonzero(sides == side)
        evidence = puzzle.evidence[which].transpose(1, 0, 2).reshape(count, -1)
        best = np.argpartition(-evidence, min(_NEAREST, evidence.shape[1] - 1), axis=1)[:, :_NEAREST]
        first = np.arange(count)[:, None].repeat(best.shape[1], axis=1)
        found.append(np.stack([which[best // count], first, best % count], axis=-1).reshape(-1, 3))
    seams = _list_once(np.concatenate(found), puzzle)
    evidence = puzzle.evidence[tuple(seams.T)]
    return Candidates(seams[evidence > 0], evidence[evidence > 0])


def _list_once(seams: Order, puzzle: Puzzle) -> Order:
    """Seams (K, 3) listed once, from the piece with the lower number; half a turn exchanges the two pieces."""
    if not puzzle.turnable:
        return seams
    poses, number = puzzle.poses, seams[:, 0]
    half = int(np.flatnonzero(poses.turn == TURNS // 4)[0])
    turned = poses.seam[
        poses.down[number], poses.then[poses.second[number], half], poses.then[poses.first[number], half]
    ]
    backward = np.stack([turned, seams[:, 2], seams[:, 1]], axis=1)
    return np.unique(np.where(seams[:, 1:2] < seams[:, 2:], seams, backward), axis=0)


def join_surest(parts: Parts, candidates: Candidates, favour: Floats) -> None:
    """Join parts along the candidates, those with the most evidence plus ``favour`` (K,) first."""
    apart = np.flatnonzero(parts.part[candidates.seams[:, 1]] != parts.part[candidates.seams[:, 2]])
    queue = list(zip((-(candidates.evidence + favour)[apart]).tolist(), apart.tolist(), strict=True))
    heapq.heapify(queue)
    while queue and len(parts.members) > 1:
        promised, number = heapq.heappop(queue)
        tried = parts.try_seam(*candidates.seams[number].tolist())
        if tried is None or tried[1] <= 0:
            continue
        move, evidence = tried
        # A candidate with less evidence than promised goes back into the queue.
        if queue and evidence < min(-promised, -queue[0][0]):
            heapq.heappush(queue, (-evidence, number))
        else:
            parts.join(move)
