"""Places pieces in the frame: growth around the largest part, then exchanges by linear assignment."""

import numpy as np
from numpy.typing import NDArray

from cipherlens.attacks.jigsaw.assembly import Parts
from cipherlens.attacks.jigsaw.puzzle import EMPTY, SIDES, Floats, Placement, Puzzle
from cipherlens.attacks.shared.embedding import assign
from cipherlens.ciphers.structure import Order

Cell = tuple[int, int]


class _Growth:
    """A growing placement whose frame is not fixed yet; ``promise``: evidence (S, N) for open cells."""

    def __init__(self, puzzle: Puzzle, cells: Order, pieces: Order, poses: Order) -> None:
        self.puzzle = puzzle
        self.free = np.ones(puzzle.evidence.shape[1], bool)
        self.grid = np.full(3 * np.array(puzzle.frame), EMPTY)
        self.pose = np.zeros(self.grid.shape, np.int64)
        self.promise: dict[Cell, Floats] = {}
        self.best: dict[Cell, tuple[float, int]] = {}
        cells = cells - cells.min(axis=0) + puzzle.frame
        self.low, self.high = cells.min(axis=0), cells.max(axis=0)
        self.grid[tuple(cells.T)], self.pose[tuple(cells.T)], self.free[pieces] = pieces, poses, False
        for row, column in cells.tolist():
            self._look_around((row, column))

    def _lay(self, cell: Cell, piece: int, pose: int) -> None:
        self.grid[cell], self.pose[cell], self.free[piece] = piece, pose, False
        del self.promise[cell]
        self.low, self.high = np.minimum(self.low, cell), np.maximum(self.high, cell)
        self._look_around(cell)

    def _look_around(self, cell: Cell) -> None:
        """Add the evidence of the piece in a cell to the open cells around it."""
        pieces, poses = np.arange(len(self.free)), np.arange(len(self.puzzle.poses.turn))[:, None]
        for side, (down, right) in enumerate(SIDES.tolist()):
            near = cell[0] + down, cell[1] + right
            if self.grid[near] == EMPTY:
                seen = self.puzzle.weigh(side, self.grid[cell], self.pose[cell], pieces, poses)
                self.promise[near] = self.promise.get(near, 0) + seen
                self.best.pop(near, None)

    def _rate(self, cell: Cell) -> float:
        """Evidence for the piece and pose that fit an open cell best."""
        known = self.best.get(cell)
        if known is None or not self.free[known[1] % len(self.free)]:
            left = np.where(self.free, self.promise[cell], -np.inf)
            number = int(left.argmax())
            known = self.best[cell] = float(left.flat[number]), number
        return known[0]

    def fill(self) -> Placement:
        """Place one piece after another, where it has the most evidence, until the frame is full."""
        frame = np.array(self.puzzle.frame)
        while self.free.any():
            low, high = (self.high - frame).tolist(), (self.low + frame).tolist()
            fitting = [c for c in self.promise if low[0] < c[0] < high[0] and low[1] < c[1] < high[1]]
            cell = max(fitting, key=self._rate)
            pose, piece = divmod(self.best[cell][1], len(self.free))
            self._lay(cell, piece, pose)
        box = tuple(slice(start, start + size) for start, size in zip(self.low, frame, strict=True))
        return Placement(self.grid[box], self.pose[box])


def grow_largest(parts: Parts, rng: np.random.Generator) -> Placement:
    """A full placement: the largest part, with all other pieces placed around it one by one."""
    puzzle = parts.puzzle
    pieces = max(parts.members.values(), key=len)
    cells, pose = parts.cell[pieces], parts.pose[pieces]
    size = cells.max(axis=0) - cells.min(axis=0) + 1
    rows, columns = puzzle.frame
    if puzzle.turnable and rows != columns:
        fits, fits_turned = (size <= puzzle.frame).all(), (size[::-1] <= puzzle.frame).all()
        if fits_turned and (not fits or rng.random() < 0.5):
            quarter = int(np.flatnonzero(puzzle.poses.turn == 1)[0])
            cells, pose = cells @ puzzle.poses.moves[quarter].T, puzzle.poses.then[pose, quarter]
    return _Growth(puzzle, cells, pieces, pose).fill()


def exchange_pieces(puzzle: Puzzle, placement: Placement, chosen: NDArray[np.bool_]) -> Placement:
    """The placement with the best pieces and poses in ``chosen`` cells (rows, columns), none of them neighbours."""
    cells = np.argwhere(chosen)
    pieces = placement.piece[chosen]
    padded = np.pad(placement.piece, 1, constant_values=EMPTY)
    padded_pose = np.pad(placement.pose, 1)
    poses = np.arange(len(puzzle.poses.turn))[:, None]
    evidence = np.zeros((len(cells), len(poses), len(cells)), np.float32)
    for side, step in enumerate(SIDES):
        near = tuple((cells - step + 1).T)
        there = np.flatnonzero(padded[near] != EMPTY)
        other, other_pose = (grid[near][there, None, None] for grid in (padded, padded_pose))
        evidence[there] += puzzle.weigh(side, other, other_pose, pieces, poses)
    order = assign(-evidence.max(axis=1))
    laid = Placement(placement.piece.copy(), placement.pose.copy())
    laid.piece[chosen] = pieces[order]
    laid.pose[chosen] = evidence[np.arange(len(cells)), :, order].argmax(axis=1)
    return laid


def choose_apart(frame: tuple[int, int], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Cells (rows, columns) of which no two are neighbours: those with a larger random number than all around."""
    numbers = np.pad(rng.random(frame), 1, constant_values=-1.0)
    inner = numbers[1:-1, 1:-1]
    around = [numbers[1:-1, :-2], numbers[1:-1, 2:], numbers[:-2, 1:-1], numbers[2:, 1:-1]]
    return np.asarray(inner > np.max(around, axis=0))
