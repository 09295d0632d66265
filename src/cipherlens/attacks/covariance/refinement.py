"""Of the maps that explain the second-order statistics almost equally well, the one with the sparsest pictures.

A prior of other photos, or none, is wrong in detail, and the map that fits it best is, too. Sparsity
(``sparsity.py``) knows nothing of the prior. It decides within a small rise of the divergence.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cipherlens.attacks.base import Images
from cipherlens.attacks.covariance.divergence import Divergence, fit_maps
from cipherlens.attacks.covariance.search import FLOOR, Frame, Recovery, set_level
from cipherlens.attacks.covariance.sparsity import DecryptedSparsity, measure_sparsity
from cipherlens.attacks.covariance.statistics import BlockStatistics

Floats = NDArray[np.float64]
_WEIGHTS = (30, 100, 300)
"""Nats of divergence that a unit of sparsity is worth, tried one after the other. Chosen by hand."""
_RISE = 0.01
"""Most that the divergence may rise by, in nats for each value of a block.

Chosen by hand on imagenette, CamVid and CIFAR-10: pictures mostly got better up to 0.005, and worse from 0.02.
"""
_FOLLOWS = 0.5
"""Least share of the parts' gain in sparsity that whole, clipped pictures must gain too.

Chosen by hand on imagenette and CamVid: 0.5 or more wherever pictures got better. Below 0.45 they got worse: they
turn into a few loud blocks, most of all where JPEG's grid lies on the cipher's.
"""
_WATCHED = 20
"""At most so many whole pictures are looked at after each weight: a limit on time, set by hand."""
_STEPS, _TOLERANCE = 25, 1e-3
"""Maximum L-BFGS iterations at each weight, and the decrease below which they stop. Chosen by hand."""


class _Weighted:
    """Divergence plus a weight times sparsity, for ``fit_maps``."""

    def __init__(self, divergence: Divergence, sparsity: DecryptedSparsity, weight: float) -> None:
        self.channels, self.size = divergence.channels, divergence.size
        self.curvature = divergence.curvature
        self._parts = divergence, sparsity, weight

    def __call__(self, maps: Floats) -> tuple[float, Floats]:
        divergence, sparsity, weight = self._parts
        (value, gradient), (more, other) = divergence(maps), sparsity(maps)
        return value + weight * more, gradient + weight * other


def refine(
    found: Recovery, ct: Images, target: BlockStatistics, prior: BlockStatistics, offset: bool, seed: int
) -> Recovery:
    """The result with sparser pictures, if the divergence allows any.

    ``found`` is a result of ``search`` for these ciphertexts (N, C, H, W), whose statistics are ``target``, with
    this prior and ``offset``. The objective stays that of the search.
    """
    plain_frame, ct_frame = Frame(prior), Frame(target)
    divergence = Divergence(plain_frame.covariance, ct_frame.covariance, target.channels, FLOOR)
    mean = target.mean if offset else np.zeros_like(target.mean)
    sparsity = DecryptedSparsity(ct, prior.block, mean, ct_frame.into, plain_frame.out_of, seed)

    def decrypt(maps: Floats, images: Images) -> Recovery:
        matrices = ct_frame.into @ maps @ plain_frame.out_of
        moved = replace(found, matrices=matrices, offsets=np.zeros_like(mean))
        return set_level(moved, images, prior, target, offset)

    watched = ct[:: -(-len(ct) // _WATCHED)]

    def look(maps: Floats) -> Floats:
        """Sparsity of the parts, and of some whole pictures."""
        whole = measure_sparsity(decrypt(maps, watched).reconstruction, prior.block)
        return np.array([sparsity(maps)[0], whole])

    start = np.linalg.pinv(ct_frame.into) @ found.matrices @ np.linalg.pinv(plain_frame.out_of)
    maps, least = fit_maps(divergence, start, _STEPS, _TOLERANCE)
    best, seen = None, look(maps)
    for weight in _WEIGHTS:
        maps, _ = fit_maps(_Weighted(divergence, sparsity, weight), maps, _STEPS, _TOLERANCE)
        parts, whole = seen - (seen := look(maps))
        risen = divergence(maps)[0] - least
        if not (risen <= _RISE * target.mean.size and whole >= _FOLLOWS * parts):
            break
        best = maps
    return found if best is None else decrypt(best, ct)
