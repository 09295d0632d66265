"""Alignment before scoring: removes what an attack cannot know, such as gains, mirroring and channel order."""

from collections.abc import Callable
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from cipherlens.attacks.base import Images
from cipherlens.evaluation.metrics import mean_similarity

_COMPARED = 20
"""Images on which one alignment for all is chosen. Set by hand."""
_WAYS = 8
"""Symmetries of the square: four rotations, each with and without mirroring."""


def fit_channels(found: Images, plain: Images) -> Images:
    """``found`` (N, C, H, W) after the affine map per channel, one for all images, that fits ``plain`` best."""
    return _fit(found, plain, (0, 2, 3))


def fit_images(found: Images, plain: Images) -> Images:
    """``found`` (N, C, H, W) after the affine map, another for each image and channel, that fits ``plain`` best."""
    return _fit(found, plain, (2, 3))


def _fit(found: Images, plain: Images, axes: tuple[int, ...]) -> Images:
    found = np.nan_to_num(found).astype(np.float32)
    means = [images.mean(axis=axes, keepdims=True, dtype=np.float64) for images in (found, plain)]
    centred = found - means[0]
    variance = (centred**2).mean(axis=axes, keepdims=True, dtype=np.float64)
    slope = (centred * (plain - means[1])).mean(axis=axes, keepdims=True, dtype=np.float64)
    return np.asarray(slope / np.maximum(variance, 1e-12) * centred + means[1], np.float32)


def align_symmetry(found: Images, plain: Images) -> Images:
    """``found`` under the symmetry of the square, one for all images, with the highest SSIM to ``plain``."""
    ways = [np.rot90(images, turns, axes=(2, 3)) for images in (found, found[..., ::-1]) for turns in range(4)]
    fitting = [way for way in ways if way.shape == plain.shape]
    few = slice(None, _COMPARED)
    return max(fitting, key=lambda way: mean_similarity(way[few], plain[few]))


def align_channels(found: Images, plain: Images) -> Images:
    """``found`` in the channel order, as negatives or not, one for all images, with the highest SSIM."""
    few = slice(None, _COMPARED)
    ways = [
        (images[few][:, order], order, negative)
        for negative, images in ((False, found), (True, 1 - found))
        for order in map(list, permutations(range(found.shape[1])))
    ]
    _, order, negative = max(ways, key=lambda way: mean_similarity(way[0], plain[few]))
    best: Images = (1 - found if negative else found)[:, order]
    return best


def lay_poses(found: Images, plain: Images) -> Images:
    """``found`` in the pose, one for all images, that is nearest to ``plain``.

    A pose is a symmetry of the square, negative or not, and an order of the channels.
    """
    errors = _compare_poses(found, plain)
    way = np.unravel_index(errors.sum(axis=-1).argmin(), errors.shape[:-1])
    return _lay(found, tuple(map(int, way)))


def lay_poses_each(found: Images, plain: Images) -> Images:
    """As :func:`lay_poses`, with the nearest pose of each image."""
    errors = _compare_poses(found, plain)
    best = errors.reshape(-1, len(found)).argmin(axis=0)
    aligned = np.empty_like(plain)
    for number in np.unique(best):
        way = np.unravel_index(number, errors.shape[:-1])
        aligned[best == number] = _lay(found[best == number], tuple(map(int, way)))
    return aligned


def _compare_poses(found: Images, plain: Images) -> NDArray[np.float64]:
    """Squared distances (symmetries, negative or not, channel orders, images); infinite where sides differ."""
    orders = np.array(list(permutations(range(found.shape[1]))))
    errors = np.full((_WAYS, 2, len(orders), len(found)), np.inf)
    clean = np.clip(np.nan_to_num(found), 0, 1)
    known = (plain**2).sum(axis=(1, 2, 3), dtype=np.float64)
    for way in range(_WAYS):
        if (laid := _lay(clean, (way, 0, 0))).shape != plain.shape:
            continue
        for negative, images in enumerate((laid, 1 - laid)):
            products = np.einsum("ncyx,ndyx->ncd", images, plain, optimize=True)
            alike = products[:, orders, np.arange(found.shape[1])].sum(axis=-1).T
            errors[way, negative] = (images**2).sum(axis=(1, 2, 3), dtype=np.float64) - 2 * alike + known
    return errors


def _lay(images: Images, way: tuple[int, ...]) -> Images:
    """Images under one of the eight symmetries, as negatives or not, in one of the channel orders."""
    number, negative, colours = way
    order = list(permutations(range(images.shape[1])))[colours]
    laid = np.rot90(images[..., ::-1] if number >= _WAYS // 2 else images, number, axes=(2, 3))[:, list(order)]
    return np.ascontiguousarray(1 - laid if negative else laid)


ALIGNMENTS: dict[str, Callable[[Images, Images], Images]] = {
    "affine": fit_channels,
    "affine each": fit_images,
    "symmetries": align_symmetry,
    "colours": align_channels,
    "poses": lay_poses,
    "poses each": lay_poses_each,
}
