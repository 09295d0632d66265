"""The likeliest pose of a whole picture: which side is up, negative or not, order of the channels."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.attacks.base import Images
from cipherlens.attacks.jigsaw.pieces import Poses, lay_pieces

Floats = NDArray[np.float64]

_HALVES = 2
"""Parts of each side of a picture, which make quarters."""
_LIGHT_FROM_ABOVE, _RED_OVER_BLUE, _DARKER_THAN_GREY = 0.05, 0.02, 0.04
"""Offsets of mean colours in photos, in units of [0, 1]. Chosen by hand (docs/attacks/jigsaw.md)."""
_RIDGE = 1e-4
"""Added to the variances of public quarters, so that their covariance can be inverted. Set by hand."""


def choose_pose(images: Images, public: Images | None, poses: Poses) -> int:
    """The most natural pose, one for all images (M, C, H, W), which are in [0, 1].

    The mean colours of their quarters are compared with those of public images (M', C, H', W') under a Gaussian.
    Without public images, light comes from above, and photos are a little darker than the middle grey, more red
    than blue.
    """
    square = images.shape[2] == images.shape[3]
    possible = np.flatnonzero(square | (np.abs(poses.moves[:, 0, 0]) == 1))
    quarters = _average_quarters(images)[:, None].repeat(len(possible), axis=1)
    laid = lay_pieces(quarters, poses, possible) * poses.signs[possible][:, None, None, None]
    features = laid.reshape(*laid.shape[:2], -1)
    precision: NDArray[Any] = np.eye(features.shape[-1])
    if public is None:
        mean = _expect_light(images.shape[1])
    else:
        known = _average_quarters(public).reshape(len(public), -1)
        spread = np.cov(known.T) if len(known) > 1 else np.zeros((known.shape[1],) * 2)
        mean, precision = known.mean(axis=0), np.linalg.inv(spread + _RIDGE * np.eye(len(spread)))
    away = features - mean
    strange = np.einsum("nsf,fg,nsg->s", away, precision, away)
    return int(possible[strange.argmin()])


def _average_quarters(images: Images) -> Floats:
    """Images (M, C, H, W) -> mean of each quarter, less the middle grey: (M, 2, 2, C)."""
    count, channels, height, width = images.shape
    rows, columns = height // _HALVES, width // _HALVES
    even = images[:, :, : rows * _HALVES, : columns * _HALVES].astype(np.float64)
    mean: Floats = even.reshape(count, channels, _HALVES, rows, _HALVES, columns).mean(axis=(3, 5))
    return mean.transpose(0, 2, 3, 1) - 0.5


def _expect_light(channels: int) -> Floats:
    above = np.array([1.0, -1.0])[:, None, None] * _LIGHT_FROM_ABOVE
    colours = np.linspace(1, -1, channels) * _RED_OVER_BLUE * (channels > 1)
    light = np.broadcast_to(above + colours - _DARKER_THAN_GREY, (_HALVES, _HALVES, channels))
    return np.asarray(light.reshape(-1))
