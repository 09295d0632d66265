"""How natural pictures look, by moments of small filters: a judge of maps that needs no original.

Likelihoods under different priors cannot be compared. What can be is how strongly, and how sparsely, filters answer
to the pictures that each map gives.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cipherlens.attacks.base import Images

Moments = NDArray[np.float64]
_SCALES = 3
"""Sizes at which filters are applied, each half of the last. Chosen by hand."""
_TINY = 1e-4
"""Added to the strength of answers, so that its logarithm is finite. Set by hand."""
_LEAST_SPREAD, _MOST = 0.05, 25.0
"""Added to the spread of a moment over photos, and the most that one moment counts. Chosen by hand."""
_DCT = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3.0], [2.0], [6.0]])
_FILTERS = np.array([np.outer(_DCT[i], _DCT[j]) for i in range(3) for j in range(3) if i + j], np.float32)
"""The eight 3x3 DCT filters without a mean."""


def measure(images: Images) -> Moments:
    """Moments (N, M): log standard deviation, and log of the mean size against it, of each filter's answers.

    They are taken of brightness and two colour differences (of brightness alone for other than three channels),
    at three sizes.
    """
    found = [_describe(answers) for signal in _list_signals(images) for answers in _answer(signal)]
    return np.concatenate(found, axis=1)


def unlikeness(images: Images, photos: Sequence[Moments]) -> float:
    """Mean squared distance of the images' mean moments from those of several sets of photos, by their spread.

    The sizes that all of them have are compared.
    """
    measured = measure(images)
    width = min(one.shape[1] for one in (measured, *photos))
    every = np.concatenate([one[:, :width] for one in photos])
    distance = (measured[:, :width].mean(axis=0) - every.mean(axis=0)) / (every.std(axis=0) + _LEAST_SPREAD)
    return float(np.minimum(distance**2, _MOST).mean())


def _list_signals(images: Images) -> list[NDArray[np.float32]]:
    """Brightness and colour differences (N, H, W), at each size; the sizes that are too small are left out."""
    clean = np.clip(np.nan_to_num(images), 0, 1)
    channels = [clean.mean(axis=1)]
    if clean.shape[1] == 3:
        channels += [clean[:, 0] - clean[:, 2], clean[:, 1] - (clean[:, 0] + clean[:, 2]) / 2]
    signals = []
    for _ in range(_SCALES):
        signals += channels
        channels = [_halve(channel) for channel in channels]
        if min(channels[0].shape[1:]) < 2 * len(_DCT):
            break
    return signals


def _halve(channel: NDArray[np.float32]) -> NDArray[np.float32]:
    count, height, width = channel.shape
    even = channel[:, : height // 2 * 2, : width // 2 * 2]
    halved: NDArray[np.float32] = even.reshape(count, height // 2, 2, width // 2, 2).mean(axis=(2, 4))
    return halved


def _answer(signal: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """The answers (N, H - 2, W - 2) of the filters."""
    windows = np.lib.stride_tricks.sliding_window_view(signal, (3, 3), axis=(1, 2))
    return list(np.einsum("nyxab,fab->fnyx", windows, _FILTERS, optimize=True))


def _describe(answers: NDArray[np.float32]) -> Moments:
    """(N, 2): log standard deviation, and log of the mean size against it."""
    deviation = np.sqrt((answers**2).mean(axis=(1, 2))) + _TINY
    size = np.abs(answers).mean(axis=(1, 2)) / deviation + 1e-3
    return np.asarray(np.log(np.stack([deviation, size], axis=-1)), np.float64)
