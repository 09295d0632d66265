"""The scene of a synthetic image: all its random choices, drawn from (seed, index) only.

Lengths are in half image widths: the image spans [-1, 1] along x (right) and y (down).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cipherlens.data.synthetic.shapes import SHAPES, Floats
from cipherlens.data.synthetic.textures import Layers, conic

Indices = NDArray[np.int64]

_SCENE, _NOISE, _LABELS = range(3)  # the independent random streams of one index
_FRONT = 4  # leaves in front of the object: two near its outline, the others anywhere
_UNIFORMS = 64  # uniform numbers drawn for an image: at least as many as are used
_UNIFORMS_PER_LEAF = 40  # uniform numbers drawn for a leaf: at least as many as are used
NOISE_FIELDS = 3  # two of brightness (isotropic, grained), one of colour


@dataclass(frozen=True)
class Pose:
    """Pose of the object: ``center`` (N, 2), the others (N,); ``stretch`` is the aspect ratio."""

    center: Floats
    radius: Floats
    angle: Floats
    stretch: Floats


@dataclass(frozen=True)
class Scene:
    """All random choices for N images except labels and noise."""

    pose: Pose
    paint: Floats  # (N, 8), the object's
    sharpness: Floats  # (N,), number of the object's edge widths in one unit of length
    front: Layers
    back: Layers
    backdrop: Floats  # (N, 8), the paint behind all leaves
    light: Floats  # (N, 3): gradient along x, along y, darkening towards the corners
    exposure: Floats  # (N, 2): contrast, brightness
    grain: tuple[Floats, ...]  # slopes, angles and stretch of the noise fields, each (N, 3)


def _generator(seed: int, index: int, stream: int) -> np.random.Generator:
    key = np.array([seed, index], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, stream]))


def draw_labels(seed: int, indices: Indices) -> Indices:
    """Class of each index; ten indices from a multiple of ten on hold each class once."""
    blocks, inverse = np.unique(indices // len(SHAPES), return_inverse=True)
    orders = np.empty((len(blocks), len(SHAPES)), np.int64)
    for order, block in zip(orders, blocks, strict=True):
        order[:] = _generator(seed, int(block), _LABELS).permutation(len(SHAPES))
    return orders[inverse, indices % len(SHAPES)]


def draw_white(seed: int, indices: Indices, size: int) -> Floats:
    """Standard normal numbers (N, 3, 2, size, size // 2 + 1) for the noise fields."""
    white = np.empty((len(indices), NOISE_FIELDS, 2, size, size // 2 + 1), np.float32)
    for row, index in zip(white, indices, strict=True):
        _generator(seed, int(index), _NOISE).standard_normal(dtype=np.float32, out=row)
    return white


class _Draws:
    """A table of uniform numbers with one row per image; draws consume its columns in order."""

    def __init__(self, table: Floats) -> None:
        self._table = table
        self._next = 0

    def uniform(self, low: float, high: float) -> Floats:
        column = self._table[..., self._next]
        self._next += 1
        return low + (high - low) * column

    def bell(self, spread: float) -> Floats:
        """Nearly normal with standard deviation ``spread``: the sum of three uniforms."""
        return self.uniform(-spread, spread) + self.uniform(-spread, spread) + self.uniform(-spread, spread)

    def power_law(self, low: float, high: float, exponent: float) -> Floats:
        """Density proportional to ``x ** -exponent`` between ``low`` and ``high``."""
        ends = low ** (1 - exponent), high ** (1 - exponent)
        return np.power(self.uniform(*ends), 1 / (1 - exponent))


def _mix_rgb(brightness: Floats, warm: Floats, green: Floats) -> list[Floats]:
    """Red, green, blue of a brightness and two opponent colours (natural images vary least in the last)."""
    brightness = np.clip(brightness, 0.08, 0.92)
    return [brightness + warm - green / 2, brightness + green, brightness - warm - green / 2]


def _paint(draws: _Draws, rgb: list[Floats], center: Floats, texture: Floats) -> Floats:
    """Paint (..., 8): ``rgb`` shaded linearly about ``center``, with noise of total amplitude about ``texture``."""
    along_x, along_y = draws.bell(0.08), draws.bell(0.08)
    middle = along_x * center[..., 0] + along_y * center[..., 1]
    colors = [channel - middle for channel in rgb]
    mix = draws.uniform(0, 2 * np.pi)
    fields = [texture * np.cos(mix), texture * np.sin(mix), texture * draws.uniform(-0.5, 0.5)]
    return np.stack([*colors, along_x, along_y, *fields], axis=-1)


@dataclass(frozen=True)
class _Mood:
    """Parameters that the leaves of one image share, each (N, 1)."""

    brightness: Floats
    warm: Floats
    green: Floats
    spread: Floats
    texture: Floats


def _draw_leaves(draws: _Draws, mood: _Mood, center: Floats, radius: Floats, softness: Floats) -> Layers:
    """Leaves about ``center`` (N, K, 2): ellipses and bands, each intersected with another band."""
    angle, aspect = draws.uniform(0, np.pi), draws.uniform(0.35, 1)
    banded = draws.uniform(0, 1) < 0.4
    curve, across = 1 / np.square(radius * aspect), 1 / np.square(radius)
    first = conic(center, angle, (curve, np.where(banded, 0, across)), radius * aspect / 2 / softness)
    cut_center = center + np.stack([draws.bell(0.3), draws.bell(0.3)], axis=-1) * radius[..., None]
    cut_angle = np.where(banded, angle + np.pi / 2 + draws.bell(0.25), draws.uniform(0, np.pi))
    half_width = radius * draws.uniform(0.5, 1.3)
    flat = np.zeros_like(half_width)
    second = conic(cut_center, cut_angle, (1 / np.square(half_width), flat), half_width / 2 / softness)
    rgb = _mix_rgb(
        mood.brightness + mood.spread * draws.bell(1),
        mood.warm + draws.bell(0.065),
        mood.green + draws.bell(0.03),
    )
    texture = mood.texture * draws.uniform(0, 1) * draws.uniform(0, 2)
    return Layers(np.stack([first, second], axis=2), _paint(draws, rgb, center, texture))


def _draw_pose(draws: _Draws) -> Pose:
    radius = draws.uniform(0.45, 0.85)
    reach = 1.04 - radius  # limits the centre, so that the outline hardly leaves the image
    center = np.stack([draws.uniform(-1, 1) * reach, draws.uniform(-1, 1) * reach], axis=-1)
    return Pose(center, radius, draws.uniform(-0.35, 0.35), draws.uniform(0.9, 1.1))


def _draw_front(draws: _Draws, mood: _Mood, pose: Pose, softness: Floats) -> Layers:
    """Leaves in front of the object: the first two near its outline, the others anywhere."""
    near = np.arange(_FRONT) < 2
    direction, distance = draws.uniform(0, 2 * np.pi), draws.uniform(0.75, 1.35) * pose.radius[:, None]
    outline = np.stack([np.cos(direction), np.sin(direction)], axis=-1) * distance[..., None]
    around = pose.center[:, None] + outline
    center = np.where(near[:, None], around, _anywhere(draws))
    return _draw_leaves(draws, mood, center, draws.uniform(0.15, 0.4) * pose.radius[:, None], softness)


def _anywhere(draws: _Draws) -> Floats:
    return np.stack([draws.uniform(-1.15, 1.15), draws.uniform(-1.15, 1.15)], axis=-1)


def _draw_back(draws: _Draws, mood: _Mood, softness: Floats, smallest: float) -> Layers:
    return _draw_leaves(draws, mood, _anywhere(draws), draws.power_law(smallest, 1.2, 2.2), softness)


def count_leaves(size: int) -> int:
    """Number of leaves in the background; it grows with the image size, because smaller ones become visible."""
    return 16 * round(3 * math.pow(size / 32, 0.7))


def _draw_tables(seed: int, indices: Indices, leaves: int) -> tuple[_Draws, _Draws, _Draws]:
    """Uniform draws for whole images (N,), for leaves in front (N, _FRONT) and behind (N, leaves)."""
    table = np.empty((len(indices), _UNIFORMS + (_FRONT + leaves) * _UNIFORMS_PER_LEAF), np.float32)
    for row, index in zip(table, indices, strict=True):
        _generator(seed, int(index), _SCENE).random(dtype=np.float32, out=row)
    by_leaf = table[:, _UNIFORMS:].reshape(len(indices), -1, _UNIFORMS_PER_LEAF)
    return _Draws(table[:, :_UNIFORMS]), _Draws(by_leaf[:, :_FRONT]), _Draws(by_leaf[:, _FRONT:])


def _draw_mood(draws: _Draws) -> _Mood:
    columns = (
        draws.uniform(0.28, 0.72),
        draws.bell(0.055),
        draws.bell(0.025),
        draws.uniform(0.08, 0.26),
        draws.power_law(0.04, 0.15, 1.9),
    )
    return _Mood(*(column[:, None] for column in columns))


def _draw_object_paint(draws: _Draws, mood: _Mood, center: Floats) -> Floats:
    # Three objects in four are brighter than their surroundings, so that a linear model learns a little.
    sign = np.sign(draws.uniform(-1, 3))
    brightness = mood.brightness[:, 0] + sign * draws.uniform(0.17, 0.42)
    rgb = _mix_rgb(brightness, mood.warm[:, 0] + draws.bell(0.13), mood.green[:, 0] + draws.bell(0.07))
    return _paint(draws, rgb, center, mood.texture[:, 0] * draws.uniform(0.2, 1.5))


def draw_scene(seed: int, indices: Indices, size: int) -> Scene:
    """Draw all choices for the images ``indices`` (N,) except labels and noise."""
    draws, front, back = _draw_tables(seed, indices, count_leaves(size))
    pixel = 2 / size * (size / 32) ** 0.15  # an edge's width grows with the image, but more slowly
    pose, mood = _draw_pose(draws), _draw_mood(draws)
    zeros, ones = np.zeros_like(pose.radius), np.ones_like(pose.radius)
    backdrop = _mix_rgb(mood.brightness[:, 0] + draws.bell(0.1), mood.warm[:, 0], mood.green[:, 0])
    grain = (
        [draws.uniform(0.7, 1.3), draws.uniform(0.7, 1.3), draws.uniform(0.9, 1.3)],
        [zeros, draws.uniform(0, np.pi), zeros],
        [ones, draws.uniform(1.3, 2.5), ones],
    )
    return Scene(
        pose=pose,
        paint=_draw_object_paint(draws, mood, pose.center),
        sharpness=1 / (draws.uniform(1.0, 1.7) * pixel),
        front=_draw_front(front, mood, pose, (draws.uniform(0.9, 2.0) * pixel)[:, None]),
        back=_draw_back(back, mood, (draws.uniform(0.9, 2.0) * pixel)[:, None], 0.1 * (32 / size) ** 0.7),
        backdrop=_paint(draws, backdrop, pose.center, mood.texture[:, 0]),
        light=np.stack([draws.bell(0.08), draws.bell(0.08), draws.uniform(0, 0.12)], axis=-1),
        exposure=np.stack([draws.uniform(0.75, 1.3), draws.bell(0.06)], axis=-1),
        grain=tuple(np.stack(columns, axis=-1) for columns in grain),
    )
