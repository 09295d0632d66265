"""Render scenes: composite clutter, object and background for many images at once."""

import numpy as np
from numpy.typing import NDArray

from cipherlens.data.synthetic.scene import Pose, Scene
from cipherlens.data.synthetic.shapes import Floats, cover
from cipherlens.data.synthetic.textures import composite, noise_fields, pixel_grid


def render(
    scene: Scene, labels: NDArray[np.int64], white: Floats, size: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Images (N, 3, size, size) and masks (N, size, size), both uint8.

    ``labels`` (N,) int64; ``white``: see ``noise_fields``.
    """
    x, y = pixel_grid(size)
    coverage = cover(labels, *_shape_coordinates(scene.pose, x, y), (scene.sharpness * scene.pose.radius)[:, None])
    passed = np.ones_like(coverage)
    paint = composite(scene.front, x, y, passed)
    visible = coverage * passed
    passed -= visible
    paint += scene.paint[:, :, None] * visible[:, None]
    paint += composite(scene.back, x, y, passed)
    paint += scene.backdrop[:, :, None] * passed[:, None]
    colors = _colorize(paint, noise_fields(white, size, *scene.grain), x, y)
    images = _expose(colors, scene, x, y).reshape(len(labels), 3, size, size)
    masks = np.where(visible > 0.5, labels[:, None] + 1, 0).astype(np.uint8)
    return images, masks.reshape(len(labels), size, size)


def _shape_coordinates(pose: Pose, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Pixel centres in the object's coordinates (rotated, stretched, scaled), each (N, P)."""
    dx, dy = x - pose.center[:, :1], y - pose.center[:, 1:]
    cos, sin = np.cos(pose.angle)[:, None], np.sin(pose.angle)[:, None]
    width = (pose.radius * np.sqrt(pose.stretch))[:, None]
    height = (pose.radius / np.sqrt(pose.stretch))[:, None]
    return (cos * dx + sin * dy) / width, (cos * dy - sin * dx) / height


def _colorize(paint: Floats, fields: Floats, x: Floats, y: Floats) -> Floats:
    """Red, green, blue (N, 3, P) of paint (N, 8, P) under noise ``fields`` (N, 3, P)."""
    shading = paint[:, 3] * x + paint[:, 4] * y
    shading += paint[:, 5] * fields[:, 0] + paint[:, 6] * fields[:, 1]
    colors = paint[:, :3] + shading[:, None]
    hue = paint[:, 7] * fields[:, 2]
    colors[:, 0] += hue
    colors[:, 2] -= hue
    return colors


def _expose(colors: Floats, scene: Scene, x: Floats, y: Floats) -> NDArray[np.uint8]:
    """Apply uneven lighting, contrast and brightness, and round to uint8."""
    along_x, along_y, corners = (column[:, None] for column in scene.light.T)
    light = 1 + along_x * x + along_y * y - corners * (x * x + y * y)
    colors *= light[:, None]
    contrast, brightness = (column[:, None, None] for column in scene.exposure.T)
    colors -= 0.5
    colors *= contrast
    colors += 0.5 + brightness
    levels: NDArray[np.uint8] = np.rint(np.clip(colors, 0, 1) * 255).astype(np.uint8)
    return levels
