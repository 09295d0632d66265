"""Large moves of the covariance attack: starts, turns in coordinate planes, and reflections.

The divergence has many local minima that differ by the sign or the order of a few weakly coupled directions.
Descent cannot leave them; these moves can, because along them the divergence has a closed form.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.attacks.covariance.divergence import Divergence
from cipherlens.attacks.covariance.statistics import SPAN

Floats = NDArray[np.float64]
_PLACES = SPAN * SPAN
_ANGLES = 64
"""Angles compared for a plane turn, with and without mirroring. Chosen by hand (see search.py)."""
_PROCRUSTES_ITERATIONS = 100
"""Maximum Procrustes iterations of a start. Chosen by hand (see search.py)."""
_REFLECTION_STEPS = 15
"""Gradient steps in the search for reflection directions. Chosen by hand (see search.py)."""
_RANDOM_REFLECTIONS = 16
"""Random starts of that search, besides the coordinates. Chosen by hand (see search.py)."""


def nearest_rotation(matrix: Floats) -> Floats:
    """Orthogonal polar factor."""
    left, _, right = np.linalg.svd(matrix)
    return np.asarray(left @ right)


def start_rotations(
    prior: Floats, target: Floats, prior_mean: Floats, target_mean: Floats, draws: int, seed: int
) -> list[Floats]:
    """Rotations (n, n) that turn ``target`` into ``prior``, the best of ``draws`` first.

    ``prior`` and ``target`` (L, n, n) are whitened covariances at the same L displacements; the means are unit
    vectors (n,). Eigenvectors of random symmetric combinations are matched in order. Their signs are those of the
    leading eigenvector of the agreement matrix.
    """
    rng = np.random.default_rng(seed)
    sums = [stack + stack.transpose(0, 2, 1) for stack in (prior, target)]
    found: list[tuple[float, Floats]] = []
    for weights in rng.normal(size=(draws, len(prior))):
        u, v = (np.linalg.eigh(np.tensordot(weights, stack, 1))[1] for stack in sums)
        agreement = np.sum((u.T @ prior @ u) * (v.T @ target @ v), axis=0)
        signs = np.where(np.linalg.eigh(agreement + agreement.T)[1][:, -1] >= 0, 1.0, -1.0)
        rotation = (v * signs) @ u.T
        if target_mean @ rotation @ prior_mean < 0:
            rotation = -rotation
        found.append((float(signs @ agreement @ signs), rotation))
    found.sort(key=lambda pair: -pair[0])
    return [rotation for _, rotation in found]


def align(rotation: Floats, prior: Floats, target: Floats, prior_mean: Floats, target_mean: Floats) -> Floats:
    """Fixed point of orthogonal Procrustes between the displaced covariances and the means."""
    both_prior = np.concatenate([prior, prior.transpose(0, 2, 1)])
    both_target = np.concatenate([target, target.transpose(0, 2, 1)])
    mean_term = np.outer(target_mean, prior_mean)
    for _ in range(_PROCRUSTES_ITERATIONS):
        matched = np.sum(both_target @ rotation @ both_prior.transpose(0, 2, 1), axis=0) + mean_term
        previous, rotation = rotation, nearest_rotation(matched)
        if np.abs(rotation - previous).max() < 1e-4:
            break
    return rotation


def turn_planes(divergence: Divergence, rotation: Floats, sweeps: int, gain: float) -> tuple[Floats, int]:
    """Rotate or mirror pairs of coordinates by the best of many angles while that gains; rotation, sweeps used.

    In the plane of coordinates i and j the divergence is a quadratic polynomial in the entries of the 2 x 2 matrix.
    All pairs and angles are therefore compared at once. A sweep applies disjoint pairs, best first. It drops the
    worse half of them while together they do not lower the divergence.
    """
    n, candidates = divergence.size, _plane_candidates()
    precision = _pairwise(divergence.precision, n)
    target = _mapped(divergence, rotation)
    value = np.sum(target * divergence.precision)
    for sweep in range(sweeps):
        values = _plane_values(_pairwise(target, n), precision, candidates)
        best = values.argmin(axis=1)
        gains = (values[:, 0] - values[np.arange(len(values)), best]) / _PLACES
        pairs = _disjoint_pairs(np.argsort(-gains)[: np.count_nonzero(gains > gain)], n)
        while pairs:
            turned = rotation @ _joint_turn(pairs, candidates[best], n)
            target = _mapped(divergence, turned)
            new_value = np.sum(target * divergence.precision)
            if new_value < value:
                break
            pairs = pairs[: len(pairs) // 2]
        if not pairs:
            return rotation, sweep
        rotation, value = turned, new_value
    return rotation, sweeps


def _mapped(divergence: Divergence, rotation: Floats) -> Floats:
    return divergence.mapped(np.repeat(rotation[None], divergence.channels, axis=0))


def _disjoint_pairs(ranked: NDArray[np.intp], n: int) -> list[int]:
    """Pairs of the n coordinates, best first, that share no coordinate with one before."""
    first, second = np.triu_indices(n, 1)
    taken: set[int] = set()
    pairs = []
    for pair in ranked:
        coordinates = {int(first[pair]), int(second[pair])}
        if not coordinates & taken:
            taken |= coordinates
            pairs.append(int(pair))
    return pairs


def _joint_turn(pairs: list[int], turns: Floats, n: int) -> Floats:
    """The (n, n) matrix that applies turns[pair] (2, 2) in the plane of each of the disjoint pairs."""
    first, second = np.triu_indices(n, 1)
    turn = np.eye(n)
    for pair in pairs:
        plane = [first[pair], second[pair]]
        turn[np.ix_(plane, plane)] = turns[pair]
    return turn


def reflection_directions(divergence: Divergence, rotation: Floats, seed: int) -> tuple[Floats, Floats]:
    """Unit vectors u (m, n) whose reflection 1 - 2 u u^T raises the divergence least, and its changes, sorted.

    Projected gradient descent starts from every coordinate and some random directions at once.
    """
    n, rng = divergence.size, np.random.default_rng(seed)
    target = _mapped(divergence, rotation)
    stacks = [_pairwise(s, n).transpose(2, 0, 1).reshape(-1, n) for s in (target, divergence.precision)]
    first, second = (stack.reshape(-1, n, n) for stack in stacks)
    product = np.tensordot(first, second, axes=([0, 2], [0, 2]))
    mixed = (product + product.T) / (2 * _PLACES)
    units = np.concatenate([np.eye(n), rng.normal(size=(_RANDOM_REFLECTIONS, n))])
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    step = np.full(len(units), 0.05)
    change, gradient = _reflection_change(stacks, mixed, units)
    for _ in range(_REFLECTION_STEPS):
        along = gradient - np.sum(gradient * units, axis=1, keepdims=True) * units
        moved = units - step[:, None] * along / (np.linalg.norm(along, axis=1, keepdims=True) + 1e-12)
        moved /= np.linalg.norm(moved, axis=1, keepdims=True)
        new_change, new_gradient = _reflection_change(stacks, mixed, moved)
        better = new_change < change
        units = np.where(better[:, None], moved, units)
        gradient = np.where(better[:, None], new_gradient, gradient)
        change = np.where(better, new_change, change)
        step *= np.where(better, 1.5, 0.4)
    order = change.argsort()
    return units[order], change[order]


def _pairwise(matrix: NDArray[np.floating[Any]], n: int) -> Floats:
    """(k, k) -> (n, n, (k/n)**2): for two coordinates, the entries of every pair of blocks and channels."""
    a = len(matrix) // n
    return np.ascontiguousarray(matrix.reshape(a, n, a, n).transpose(1, 3, 0, 2), np.float64).reshape(n, n, a * a)


def _plane_candidates() -> Floats:
    """Matrices (2 * angles, 2, 2): rotations, the identity first, then the same with mirroring."""
    angles = np.arange(_ANGLES) * 2 * np.pi / _ANGLES
    c, s = np.cos(angles), np.sin(angles)
    turns = np.array([[c, s], [-s, c]]).transpose(2, 0, 1)
    return np.concatenate([turns, turns @ np.diag([1.0, -1.0])])


def _plane_values(target: Floats, precision: Floats, candidates: Floats) -> Floats:
    """tr(L R^T S R), up to a constant, for every pair of coordinates (rows) and every 2 x 2 matrix R (columns)."""
    n = len(target)
    i, j = np.triu_indices(n, 1)
    corners = [(i, i), (i, j), (j, i), (j, j)]
    s_corners, l_corners = (np.stack([m[c] for c in corners], axis=1) for m in (target, precision))
    inner = np.matmul(s_corners, l_corners.transpose(0, 2, 1)).reshape(-1, 2, 2, 2, 2)
    product = target.reshape(n, -1) @ precision.reshape(n, -1).T
    outer = np.stack([product[c] for c in corners], axis=1).reshape(-1, 2, 2)
    # The part with one coordinate in the plane and one outside: all, less the two inside.
    outer = outer - inner[:, :, 0, :, 0] - inner[:, :, 1, :, 1]
    squares = np.einsum("tmk,tql->tmqkl", candidates, candidates).reshape(len(candidates), 16)
    linear = candidates.reshape(len(candidates), 4)
    return np.asarray(inner.reshape(-1, 16) @ squares.T + 2 * outer.reshape(-1, 4) @ linear.T)


def _reflection_change(stacks: list[Floats], mixed: Floats, units: Floats) -> tuple[Floats, Floats]:
    """Change of the divergence under the mirrors of unit vectors (m, n), and its gradient (m, n)."""
    columns, n = units.T, units.shape[1]
    products = [(stack @ columns).reshape(-1, n, len(units)) for stack in stacks]
    forms = [np.sum(product * columns, axis=1) for product in products]
    linear = mixed @ columns
    change = 4 * (np.sum(forms[0] * forms[1], axis=0) / _PLACES - np.sum(linear * columns, axis=0))
    crossed = products[0] * forms[1][:, None] + products[1] * forms[0][:, None]
    return change, (8 * (crossed.sum(axis=0) / _PLACES - linear)).T
