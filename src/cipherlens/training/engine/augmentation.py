"""Flipped and shifted pictures: in training, and as several views of a test picture (Jordan, arXiv:2404.00498).

They are for pictures: plain images, or what a front end reads. A flipped ciphertext is the ciphertext of nothing.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from cipherlens.training.config import TrainConfig
from cipherlens.training.engine.metrics import Position

Change = Callable[[Tensor], Tensor]
_VIEWS = {2: ((1.0, 0),), 6: ((0.5, 0), (0.25, -1), (0.25, 1))}
"""Weights of views, and by how many pixels they are shifted both ways; each is seen mirrored too. The paper's."""


class Augmentation:
    """Flips and shifts of all training images in one epoch, a pure function of seed, round and epoch.

    Each image is flipped in every second epoch, half of them in the first. Shifts are new in each epoch.
    """

    def __init__(self, config: TrainConfig, position: Position, count: int) -> None:
        first = np.random.default_rng((config.seed, position.round)).integers(2, size=count)
        self._flipped = (first + position.epoch) % 2 == 1 if config.flip else None
        most, rng = config.shift, np.random.default_rng((config.seed, position.round, position.epoch, 1))
        self._shifts = rng.integers(-most, most + 1, (count, 2)) if most else None

    def choose(self, indices: NDArray[np.int64]) -> Change | None:
        """The change of the pictures (n, C, H, W) at ``indices`` (n,); None where there is none."""
        if self._flipped is None and self._shifts is None:
            return None
        return partial(self._apply, indices)

    def _apply(self, indices: NDArray[np.int64], pictures: Tensor) -> Tensor:
        if self._flipped is not None:
            flipped = torch.from_numpy(self._flipped[indices]).to(pictures.device)
            pictures = torch.where(flipped.view(-1, 1, 1, 1), pictures.flip(-1), pictures)
        if self._shifts is not None:
            pictures = shift(pictures, torch.from_numpy(self._shifts[indices]).to(pictures.device))
        return pictures


def shift(pictures: Tensor, by: Tensor) -> Tensor:
    """Pictures (N, C, H, W), each moved ``by`` (N, 2) int64 pixels up and to the left; edges are mirrored."""
    most = int(by.abs().max())
    padded = pad(pictures, (most,) * 4, "reflect")
    rows = (by[:, :1] + most + torch.arange(pictures.shape[2], device=by.device))[:, :, None]
    columns = (by[:, 1:] + most + torch.arange(pictures.shape[3], device=by.device))[:, None, :]
    chosen = torch.arange(len(pictures), device=by.device)[:, None, None]
    return padded[chosen, :, rows, columns].permute(0, 3, 1, 2)


def average_views(classify: Change, pictures: Tensor, views: int) -> Tensor:
    """Logits of ``classify``, averaged over ``views`` of the pictures (1: as they are; see ``_VIEWS``)."""
    if views == 1:
        return classify(pictures)
    total = torch.zeros(())
    for weight, by in _VIEWS[views]:
        seen = shift(pictures, pictures.new_full((len(pictures), 2), by, dtype=torch.int64)) if by else pictures
        total = total.to(pictures.device) + weight / 2 * (classify(seen) + classify(seen.flip(-1))).float()
    return total
