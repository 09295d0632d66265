"""Divergence between two neighbourhood covariances under a block map, and its minimisation.

Both are covariances of zero-mean Gaussian neighbourhoods. The divergence therefore weights every displacement,
channel pair and direction by its own sampling noise (maximum likelihood under that model).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cipherlens.attacks.covariance.statistics import SPAN, transform

Floats = NDArray[np.float64]
_PLACES = SPAN * SPAN
_MEMORY = 10
"""Pairs of steps and gradient changes that L-BFGS keeps. A conventional value."""
_MAX_STEP = 0.5
"""Maximum absolute entry of a relative step. Set by hand."""
_SUFFICIENT_DECREASE = 1e-4
"""Armijo's constant in the line search. Conventional: 1e-4 (Nocedal and Wright)."""
_MIN_STEP = 1e-7
"""Share of the direction below which the line search gives up. Set by hand."""
_LARGE = 2048
"""Rows of a neighbourhood covariance above which products are taken in float32, in half the time."""


class Divergence:
    """F(M) = tr(L T^T S T) / places - 2 sum_c log|det M_c| - C n, L the inverse of the prior's covariance.

    ``prior`` and ``target`` are (k, k) neighbourhood covariances in coordinates where every channel's block
    covariance is the identity. M (C, n, n) maps target blocks to prior blocks. ``floor`` is added to both
    diagonals. Under a nearly orthogonal map it is the same noise on both sides. It keeps directions that the prior
    estimates badly from dominating.
    """

    def __init__(self, prior: Floats, target: Floats, channels: int, floor: float) -> None:
        k = len(prior)
        self.channels, self.size = channels, k // (_PLACES * channels)
        self.prior = prior + floor * np.eye(k)
        self.target = target + floor * np.eye(k)
        self.precision = np.linalg.inv(self.prior)
        self._dtype = np.float32 if k > _LARGE else np.float64
        self._target_columns = np.ascontiguousarray(
            self.target.reshape(k, _PLACES, channels, self.size).transpose(2, 0, 1, 3), self._dtype
        ).reshape(channels, k * _PLACES, self.size)
        self._precision_columns = np.ascontiguousarray(
            self.precision.reshape(k, _PLACES * channels, self.size).transpose(1, 0, 2), self._dtype
        )
        self.curvature = self._curvature()

    def __call__(self, maps: Floats) -> tuple[float, Floats]:
        """Value, and gradient (C, n, n) with respect to the maps."""
        c, n = self.channels, self.size
        mapped = np.matmul(self._target_columns, maps.astype(self._dtype))
        rows = mapped.reshape(c, -1, _PLACES, n).transpose(1, 2, 0, 3).reshape(_PLACES * c, n, -1)
        parts = np.matmul(rows, self._precision_columns).reshape(_PLACES, c, n, n)
        half = parts.sum(0, np.float64) / _PLACES
        value = np.sum(half * maps) - 2 * np.sum(np.linalg.slogdet(maps)[1]) - c * n
        return float(value), 2 * (half - np.linalg.inv(maps).transpose(0, 2, 1))

    def mapped(self, maps: Floats) -> Floats:
        """The target's covariance under the maps."""
        return transform(self.target, maps)

    def sum_channels(self) -> "Divergence":
        """Divergence of the sum of all channels, for a map that they share: C * C times less work."""
        c, n = self.channels, self.size
        prior, target = (
            matrix.reshape(_PLACES, c, n, _PLACES, c, n).sum(axis=(1, 4)).reshape(_PLACES * n, -1) / c
            for matrix in (self.prior, self.target)
        )
        return Divergence(prior, target, channels=1, floor=0.0)

    def _curvature(self) -> Floats:
        """(n, n, C, C): second derivative along E_c[i, j] and E_d[i, j] of M(1 + E) at the prior, halved."""
        c, n = self.channels, self.size
        shape = (_PLACES, c, n, _PLACES, c, n)
        of_precision = np.einsum("pcipdi->pcdi", self.precision.reshape(shape))
        of_prior = np.einsum("pcipdi->pcdi", self.prior.reshape(shape))
        return np.asarray(np.einsum("pcdj,pcdi->ijcd", of_precision, of_prior) / _PLACES)


class Objective(Protocol):
    """What ``fit_maps`` makes small: a divergence, or one with something added."""

    channels: int
    size: int
    curvature: Floats

    def __call__(self, maps: Floats, /) -> tuple[float, Floats]:
        """Value, and gradient (C, n, n) with respect to the maps."""


@dataclass(frozen=True)
class Geometry:
    """How a minimiser moves: relative gradient at a point, the point reached by a step, and a preconditioner."""

    evaluate: Callable[[Floats], tuple[float, Floats]]
    move: Callable[[Floats, Floats], Floats]
    precondition: Callable[[Floats], Floats]


def fit_rotation(
    divergence: Divergence, rotation: Floats, iterations: int, tolerance: float
) -> tuple[Floats, float]:
    """Nearest local minimum over one rotation (n, n) shared by all channels."""
    channels, size = divergence.channels, divergence.size
    a = divergence.curvature.sum(axis=(2, 3))
    curvature = a + a.T - 2 * channels
    curvature = np.maximum(curvature, 0.05 * np.median(curvature) + 1e-3 * curvature.max())

    def evaluate(point: Floats) -> tuple[float, Floats]:
        value, gradient = divergence(np.repeat(point[None], channels, axis=0))
        relative = point.T @ gradient.sum(axis=0)
        return value, (relative - relative.T) / 2

    def move(point: Floats, step: Floats) -> Floats:
        identity = np.eye(size)  # Cayley transform: stays exactly orthogonal
        return np.asarray(point @ np.linalg.solve(identity - step / 2, identity + step / 2))

    return _descend(Geometry(evaluate, move, lambda g: g / curvature), rotation, iterations, tolerance)


def fit_maps(divergence: Objective, maps: Floats, iterations: int, tolerance: float) -> tuple[Floats, float]:
    """Nearest local minimum over a free map (n, n) for every channel."""
    channels, size = divergence.channels, divergence.size
    # E[i, j] and E[j, i] of all channels are coupled strongly, other pairs weakly.
    blocks = np.zeros((size, size, 2 * channels, 2 * channels))
    blocks[:, :, :channels, :channels] = divergence.curvature
    blocks[:, :, channels:, channels:] = divergence.curvature.transpose(1, 0, 2, 3)
    index = np.arange(channels)
    blocks[:, :, index, channels + index] += 1
    blocks[:, :, channels + index, index] += 1
    trace = np.trace(blocks, axis1=2, axis2=3)[:, :, None, None]
    inverse = np.linalg.inv(2 * (blocks + 1e-3 * trace / (2 * channels) * np.eye(2 * channels)))

    def evaluate(point: Floats) -> tuple[float, Floats]:
        value, gradient = divergence(point)
        return value, np.matmul(point.transpose(0, 2, 1), gradient)

    def precondition(gradient: Floats) -> Floats:
        pairs = np.concatenate([gradient, gradient.transpose(0, 2, 1)]).transpose(1, 2, 0)
        return np.asarray(np.matmul(inverse, pairs[..., None])[..., 0].transpose(2, 0, 1)[:channels])

    def move(point: Floats, step: Floats) -> Floats:
        return np.asarray(point + np.matmul(point, step))

    return _descend(Geometry(evaluate, move, precondition), maps, iterations, tolerance)


def _descend(geometry: Geometry, point: Floats, iterations: int, tolerance: float) -> tuple[Floats, float]:
    """Preconditioned L-BFGS in relative coordinates (Nocedal and Wright, Numerical Optimization, algorithm 7.5).

    Steps are relative to the current point, and the memory is carried along unchanged.
    """
    value, gradient = geometry.evaluate(point)
    memory: list[tuple[Floats, Floats]] = []
    scale = 0.3
    for _ in range(iterations):
        direction = -_two_loops(geometry, memory, scale, gradient)
        if np.sum(direction * gradient) >= 0:
            memory, direction = [], -scale * geometry.precondition(gradient)
        found = _search(geometry, point, value, gradient, direction)
        if found is None:
            if not memory:
                break
            memory = []
            continue
        step, new_point, new_value, new_gradient = found
        change = new_gradient - gradient
        if np.sum(step * change) > 1e-10 * np.linalg.norm(step) * np.linalg.norm(change):
            memory = [*memory, (step, change)][-_MEMORY:]
            scale = float(np.sum(step * change) / np.sum(change * geometry.precondition(change)))
        decrease = value - new_value
        point, value, gradient = new_point, new_value, new_gradient
        if decrease < tolerance:
            break
    return point, value


def _two_loops(geometry: Geometry, memory: list[tuple[Floats, Floats]], scale: float, gradient: Floats) -> Floats:
    """Product of the approximate inverse Hessian with the gradient."""
    result, weights = gradient.copy(), []
    for step, change in reversed(memory):
        weights.append(np.sum(step * result) / np.sum(step * change))
        result -= weights[-1] * change
    result = scale * geometry.precondition(result)
    for (step, change), weight in zip(memory, reversed(weights), strict=True):
        result += (weight - np.sum(change * result) / np.sum(step * change)) * step
    return result


def _search(
    geometry: Geometry, point: Floats, value: float, gradient: Floats, direction: Floats
) -> tuple[Floats, Floats, float, Floats] | None:
    """Backtrack with quadratic interpolation until the value falls enough; None where it never does."""
    slope = float(np.sum(gradient * direction))
    length = min(1.0, _MAX_STEP / (float(np.abs(direction).max()) + 1e-300))
    while length > _MIN_STEP:
        step = length * direction
        new_point = geometry.move(point, step)
        new_value, new_gradient = geometry.evaluate(new_point)
        if new_value <= value + _SUFFICIENT_DECREASE * length * slope:
            return step, new_point, new_value, new_gradient
        best = -slope * length**2 / (2 * (new_value - value - slope * length))
        length = float(np.clip(best, 0.1 * length, 0.5 * length)) if np.isfinite(best) else 0.1 * length
    return None
