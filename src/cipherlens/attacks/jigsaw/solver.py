"""Solves a puzzle: joins parts, places them in the frame, breaks weak seams and joins again."""

import numpy as np

from cipherlens.attacks.jigsaw.assembly import (
    Candidates,
    Parts,
    break_seams,
    join_surest,
    list_candidates,
    scatter_pieces,
)
from cipherlens.attacks.jigsaw.placement import choose_apart, exchange_pieces, grow_largest
from cipherlens.attacks.jigsaw.puzzle import Floats, Placement, Puzzle, weigh_placement

_PATIENCE = 30
"""Trials without progress after which the search ends. Chosen on 21 test photos."""
_EXCHANGES = 3
"""Exchanges of pieces in each trial. Chosen on 21 test photos."""
_DROPPED = 0.8
"""Maximum evidence below which a trial breaks seams, as a share of the highest. Chosen on 21 test photos."""
_LEAST_GAIN = 1e-3
"""Minimum gain in evidence that counts as progress. Set by hand."""


def solve_puzzle(puzzle: Puzzle, seed: int) -> tuple[Placement, float]:
    """The placement with the most evidence among those tried, and the mean evidence of its seams.

    An iterated local search. It ends when the evidence of every seam is positive, or after _PATIENCE trials without
    progress.
    """
    rng = np.random.default_rng(seed)
    candidates = list_candidates(puzzle)
    best = _assemble(scatter_pieces(puzzle), candidates, 0.0, rng)
    seams = weigh_placement(puzzle, best)
    value, idle = _add(seams), 0
    while idle < _PATIENCE and min(part.min(initial=np.inf) for part in seams) <= 0:
        least = rng.uniform(0, _DROPPED * float(puzzle.evidence.max()))
        broken = [part < least + rng.exponential(2, part.shape) for part in seams]
        tried = _assemble(break_seams(puzzle, best, broken), candidates, 1.0, rng)
        found = weigh_placement(puzzle, tried)
        idle = 0 if _add(found) > value + _LEAST_GAIN else idle + 1
        if _add(found) >= value:
            best, seams, value = tried, found, _add(found)
    return best, value / max(1, sum(part.size for part in seams))


def _add(seams: list[Floats]) -> float:
    return sum(float(part.sum()) for part in seams)


def _assemble(parts: Parts, candidates: Candidates, noise: float, rng: np.random.Generator) -> Placement:
    join_surest(parts, candidates, (noise * rng.standard_normal(len(candidates.evidence))).astype(np.float32))
    placement = grow_largest(parts, rng)
    for _ in range(_EXCHANGES):
        placement = exchange_pieces(parts.puzzle, placement, choose_apart(parts.puzzle.frame, rng))
    return placement
