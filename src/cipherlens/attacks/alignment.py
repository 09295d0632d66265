"""What an attack cannot know, and is therefore scored without: colours of its own, mirror images."""

from collections.abc import Callable
from itertools import permutations

import numpy as np

from cipherlens.attacks.base import Images
from cipherlens.audit.metrics import mean_similarity

_COMPARED = 20
"""Images by which the best way for all is chosen."""


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


def lay(found: Images, plain: Images) -> Images:
    """``found`` turned and mirrored, all images alike, so that it is most like ``plain``."""
    ways = [np.rot90(images, turns, axes=(2, 3)) for images in (found, found[..., ::-1]) for turns in range(4)]
    fitting = [way for way in ways if way.shape == plain.shape]
    few = slice(None, _COMPARED)
    return max(fitting, key=lambda way: mean_similarity(way[few], plain[few]))


def name_colours(found: Images, plain: Images) -> Images:
    """``found`` with its colours in another order, or as negatives, all images alike, so that it fits best."""
    few = slice(None, _COMPARED)
    ways = [
        (images[few][:, order], order, negative)
        for negative, images in ((False, found), (True, 1 - found))
        for order in map(list, permutations(range(found.shape[1])))
    ]
    _, order, negative = max(ways, key=lambda way: mean_similarity(way[0], plain[few]))
    best: Images = (1 - found if negative else found)[:, order]
    return best


ALIGNMENTS: dict[str, Callable[[Images, Images], Images]] = {
    "affine": fit_channels,
    "affine each": fit_images,
    "symmetries": lay,
    "colours": name_colours,
}
