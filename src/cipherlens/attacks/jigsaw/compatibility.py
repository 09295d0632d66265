"""How well pieces fit together, as evidence for or against their being neighbours.

Mahalanobis gradient compatibility (Gallagher, CVPR 2012) compares the step across a seam with the one expected from
the steps just before it in either piece. Its logarithm is summed over pictures, as under a Student distribution, so
that no picture dominates. Evidence compares the sum with those of all alternatives for the same side.

The tuned constants were chosen on 15 + 6 test photos (docs/attacks/jigsaw.md).
"""

import numpy as np

from cipherlens.attacks.jigsaw.pieces import Poses, flip_sides
from cipherlens.attacks.jigsaw.puzzle import Floats
from cipherlens.ciphers.schemes.etc import TURNS, list_turns
from cipherlens.ciphers.structure import Order

_NOISE = 1 / 255
"""Standard deviation of the noise of a value: one level of a byte. Chosen on 21 test photos."""
_OWN_STEP, _MEAN_STEP = 0.4, 0.6
"""Weights of the line's last step and the side's mean change in the expected value. Chosen on 21 test photos."""
_COMMON = 0.3
"""Share of the covariance that all sides of a piece have in common. Chosen on 21 test photos."""
_STEEPNESS = 2.5
"""Factor from the summed log distances of a seam to its negative log-likelihood. Chosen on 21 test photos."""
_DOUBT = 0.1
"""Share of seams that compatibility cannot explain, such as outlines of objects. Chosen on 21 test photos."""


def weigh_seams(pieces: Floats, poses: Poses) -> Floats:
    """Evidence (R, N, N): log of the likelihood that pieces i and j meet in seam r, relative to chance.

    ``pieces`` (M, N, B, B, C), relative to the middle grey, are those of M pictures in which the same pieces meet.
    """
    count = pieces.shape[1]
    table = np.zeros((len(poses.first), count, count), np.float32)
    for picture in pieces:  # a matrix product each
        _add_strangeness(table, picture, poses)
    if count > 1:
        table[:, np.arange(count), np.arange(count)] = np.inf
        _weigh_alternatives(table, poses)
    return table


def _add_strangeness(table: Floats, pieces: Floats, poses: Poses) -> None:
    """Add to ``table`` the log distance of each seam in one picture."""
    edge, expected, precision = _expect(pieces)
    signs = poses.signs[poses.second]
    for side in np.unique(poses.sides[:, 0]):
        which = np.flatnonzero(poses.sides[:, 0] == side)
        other, order = poses.sides[which, 1], poses.colours[poses.second[which]]
        their_edge, their_expected = (
            np.take_along_axis(part[:, other], order[None, :, None], axis=3) * signs[which, None, None]
            for part in (edge, expected)
        )
        their_precision = precision[:, other[:, None, None], order[:, :, None], order[:, None]]
        ahead, met = _list_features(edge[:, side], expected[:, side], precision[:, side])
        their_ahead, their_met = _list_features(their_edge, their_expected, their_precision)
        for left, right in ((ahead, their_met), (met, their_ahead)):
            distance = np.matmul(left, right.transpose(1, 2, 0))
            table[which] += np.log1p(np.maximum(distance, 0) / pieces.shape[1])


def _expect(pieces: Floats) -> tuple[Floats, Floats, Floats]:
    """Last values of every side (N, 8, B, C), the values expected beyond it, and their precision (N, 8, C, C).

    The expected values continue each line by a part of its own last step and of the side's mean change.
    """
    count, block, _, channels = pieces.shape
    columns = list_turns(block).reshape(TURNS, block, block)
    values = pieces.reshape(count, block * block, channels)
    edge, inner, third = (values[:, columns[:, :, -min(depth, block)]] for depth in (1, 2, 3))
    step = edge - inner
    change = step - _OWN_STEP * (inner - third)
    mean = change.mean(axis=2, keepdims=True)
    centred = change - mean
    spread = centred.swapaxes(2, 3) @ centred / block
    spread = (1 - _COMMON) * spread + _COMMON * spread.mean(axis=1, keepdims=True)
    precision = np.linalg.inv(spread + _NOISE**2 * np.eye(channels, dtype=np.float32))
    return edge, edge + _OWN_STEP * step + _MEAN_STEP * mean, precision


def _list_features(edge: Floats, expected: Floats, precision: Floats) -> tuple[Floats, Floats]:
    """Features (..., F) of expecting and of met sides; their inner products are squared distances."""
    lead = edge.shape[:-2]
    weighted = expected @ precision
    length = (weighted * expected).sum(axis=(-1, -2))[..., None]
    squares = edge.swapaxes(-1, -2) @ edge
    ahead = [precision.reshape(*lead, -1), -2 * weighted.reshape(*lead, -1), length]
    met = [squares.reshape(*lead, -1), edge.reshape(*lead, -1), np.ones_like(length)]
    return np.concatenate(ahead, axis=-1), np.concatenate(met, axis=-1)


def _weigh_alternatives(table: Floats, poses: Poses) -> None:
    """Turn summed log distances into evidence, in place: the mean of the evidence from either piece."""
    table *= -_STEEPNESS
    own, facing = poses.sides[:, 0], np.minimum(poses.sides[:, 1], flip_sides(poses.sides[:, 1]))
    lost = [_sum_alternatives(table, sides, axis) for sides, axis in ((own, 2), (facing, 1))]
    for seam, part in enumerate(table):  # in place, because the table is large
        shares = part - lost[0][own[seam]][:, None], part - lost[1][facing[seam]]
        first, second = (np.log((1 - _DOUBT) * np.exp(share) + _DOUBT) for share in shares)
        part[...] = (first + second) / 2


def _sum_alternatives(table: Floats, sides: Order, axis: int) -> dict[int, Floats]:
    """For each side the log of the mean likelihood (N,) of all alternatives."""
    found: dict[int, Floats] = {}
    for side in np.unique(sides):
        part = table[sides == side]
        best = part.max(axis=(0, axis), keepdims=True)
        mean = np.exp(part - best).mean(axis=(0, axis))
        found[int(side)] = np.log(mean) + best[0].squeeze(axis - 1)
    return found
