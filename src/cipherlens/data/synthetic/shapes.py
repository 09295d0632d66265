"""The ten foreground shapes of the synthetic images, as signed edge functions.

Each function takes coordinates ``u`` (right) and ``v`` (down), float32 arrays of one shape. In them the figure's
circumscribed circle has a radius of about 1. It returns the distance to the outline: positive inside, negative
outside, and near the outline exact enough for anti-aliasing.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]  # float32 throughout
EdgeFunction = Callable[[Floats, Floats], Floats]


def _box(u: Floats, v: Floats, half_width: float, half_height: float) -> Floats:
    return np.minimum(half_width - np.abs(u), half_height - np.abs(v))


def _circle(u: Floats, v: Floats, radius: float) -> Floats:
    return radius - np.hypot(u, v)


def _wedge(u: Floats, v: Floats, apex: float, base: float, half_width: float) -> Floats:
    """An isosceles triangle that points up; ``apex`` < ``base`` are its vertical coordinates (v)."""
    height = base - apex
    sides = ((v - apex) * half_width - np.abs(u) * height) / math.hypot(height, half_width)
    edge: Floats = np.minimum(sides, base - v)
    return edge


def disc(u: Floats, v: Floats) -> Floats:
    """A filled circle."""
    return _circle(u, v, 0.86)


def square(u: Floats, v: Floats) -> Floats:
    """A filled square."""
    return _box(u, v, 0.76, 0.76)


def triangle(u: Floats, v: Floats) -> Floats:
    """An equilateral triangle."""
    return _wedge(u, v, -1.1, 0.6, 0.98)


def star(u: Floats, v: Floats) -> Floats:
    """A five-pointed star: the points inside at least four of the pentagram's five half-planes."""
    lowest = second = np.full_like(u, np.inf)
    for angle in (2 * math.pi * corner / 5 for corner in range(5)):
        plane = 0.36 - (math.sin(angle) * u + math.cos(angle) * v)
        second = np.minimum(second, np.maximum(lowest, plane))
        lowest = np.minimum(lowest, plane)
    return second


def cross(u: Floats, v: Floats) -> Floats:
    """A plus sign."""
    return np.maximum(_box(u, v, 1.0, 0.34), _box(u, v, 0.34, 1.0))


def ring(u: Floats, v: Floats) -> Floats:
    """A circle with a round hole."""
    return 0.23 - np.abs(np.hypot(u, v) - 0.75)


def crescent(u: Floats, v: Floats) -> Floats:
    """A disc without its intersection with a second disc of nearly the same size."""
    edge: Floats = np.minimum(_circle(u + 0.15, v, 1.0), -_circle(u - 0.40, v, 0.82))
    return edge


def hexagon(u: Floats, v: Floats) -> Floats:
    """A regular hexagon."""
    u, v = np.abs(u), np.abs(v)
    edge: Floats = 0.84 - np.maximum(u, 0.5 * u + math.sqrt(0.75) * v)
    return edge


def arrow(u: Floats, v: Floats) -> Floats:
    """A broad arrow that points up."""
    return np.maximum(_wedge(u, v, -1.05, 0.05, 0.95), _box(u, v - 0.5, 0.30, 0.55))


def heart(u: Floats, v: Floats) -> Floats:
    """A heart: a square on its tip and half-discs over its two upper edges."""
    side = 0.62
    down = v - 0.05
    diamond = side - (np.abs(u) + np.abs(down)) / math.sqrt(2)
    lobe = side / math.sqrt(2)
    edge: Floats = np.maximum(diamond, _circle(np.abs(u) - lobe, down + lobe, side))
    return edge


SHAPES: dict[str, EdgeFunction] = {
    "disc": disc,
    "square": square,
    "triangle": triangle,
    "star": star,
    "cross": cross,
    "ring": ring,
    "crescent": crescent,
    "hexagon": hexagon,
    "arrow": arrow,
    "heart": heart,
}


def cover(labels: NDArray[np.int64], u: Floats, v: Floats, sharpness: Floats) -> Floats:
    """Coverage in [0, 1], (N, P), of the shape that each label names.

    ``u`` and ``v`` (N, P) are coordinates of the shape. ``sharpness`` (N, 1) is the number of edge widths in one
    unit of them; coverage rises from 0 to 1 over one edge width.
    """
    edge = np.empty_like(u)
    for label, function in enumerate(SHAPES.values()):
        members = np.flatnonzero(labels == label)
        if members.size:
            edge[members] = function(u[members], v[members])
    coverage: Floats = np.clip(edge * sharpness + 0.5, 0, 1)
    return coverage
