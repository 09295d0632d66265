"""Ciphertext-only attack on fixed permutations of the pixels: neighbours look alike, wherever they went.

The correlation of two places over many ciphertexts tells how far apart they were. A map of the places drawn from
these distances is laid on that of public images (embedding.py); matching whole rows of the two correlation matrices
then puts the pixels in their places, and swaps of pairs (swaps.py) the last ones. No key, pair or label is used. A
mirror image of the whole is told apart only where pictures and their mirror images differ in their statistics. Of
images too large for that only the nearest relations of every place are looked at (lattice.py).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.attacks.base import Images, View
from cipherlens.attacks.embedding import assign, embed, lay_over
from cipherlens.attacks.lattice import arrange_lattice
from cipherlens.attacks.prior import correlate_pixels
from cipherlens.attacks.swaps import Floats, swap_pairs
from cipherlens.ciphers.rearrangement import Order

_HOPEFUL = 1.3
"""Starts whose objective is more than so many times the best one's are given up."""
_TRIAL_STEPS = 3
_STEPS = 30
_NOISE = 0.3
"""Added to the prior's diagonal before it is inverted: what a pixel's neighbours say nothing about."""
_COMPARED = 4096
"""Correlations of all pairs of so many places fit into memory, and an assignment of them takes seconds."""
MOST_PIXELS = 65536
"""So many places can be compared with one another in minutes, a part of them at a time."""
_SAMPLES = 2000
"""More pictures, or channels of them, add little to the nearest relations, and each costs time."""


@dataclass(frozen=True)
class Arrangement:
    """``source`` (H * W,): for every place of the picture the place in the ciphertext that belongs there.

    ``objective`` is the mean square difference of the two correlation matrices, ``starts`` what each start reached.
    """

    source: Order
    objective: float
    starts: tuple[float, ...]


def attack_correlation(view: View) -> tuple[Images, dict[str, Any]]:
    """Find the permutation of the view's ciphertexts and undo it."""
    source, details = find_source(view)
    flat = view.ciphertexts.reshape(*view.ciphertexts.shape[:2], -1)
    return flat[:, :, source].reshape(view.ciphertexts.shape), details


def find_source(view: View) -> tuple[Order, dict[str, Any]]:
    """For every place of the picture (H * W,) the place in the view's ciphertexts that belongs there."""
    height, width = view.ciphertexts.shape[2:]
    if height * width > _COMPARED:
        channels = view.ciphertexts.reshape(-1, 1, height, width)
        evenly = np.linspace(0, len(channels), min(len(channels), _SAMPLES), endpoint=False).astype(np.int64)
        samples = _standardise(channels[evenly])
        source, regularity = arrange_lattice(samples, height, width)
        return source, {"regularity": regularity}
    public = view.public_images
    fits = public is not None and public.shape[1:] == view.ciphertexts.shape[1:]
    prior = correlate(public) if public is not None and fits else correlate_pixels(height, width)
    found = arrange(correlate(view.ciphertexts), prior, measured=fits)
    return found.source, {"objective": found.objective, "starts": found.starts}


def correlate(images: Images) -> Floats:
    """Correlation (H * W, H * W) of the places of images (N, C, H, W), channels as further images."""
    flat = _standardise(images)
    correlation: Floats = flat.T @ flat
    return correlation


def _standardise(images: Images) -> NDArray[np.float32]:
    """Images (N, C, H, W) -> (N * C, H * W), so that places correlate by their products.

    Each channel is first brought to the same brightness and contrast, which no permutation changes: what is left of
    the correlation is that of near places.
    """
    flat = images.reshape(images.shape[0] * images.shape[1], -1).astype(np.float32)
    flat = flat - flat.mean(axis=1, keepdims=True)
    flat = flat / np.maximum(flat.std(axis=1, keepdims=True), 1e-3)
    flat -= flat.mean(axis=0)
    scaled: NDArray[np.float32] = flat / np.maximum(np.linalg.norm(flat, axis=0), 1e-6)
    return scaled


def arrange(seen: Floats, prior: Floats, measured: bool = True) -> Arrangement:
    """The arrangement of places under which ``seen`` is most like ``prior``, both (H * W, H * W).

    Rows of correlations decide which start is the right one. The likelihood of the prior's Gaussian model, which is
    all about the nearest neighbours, decides about single pixels, if the prior was ``measured`` on images: a
    parametric one is not that exact.
    """
    laid = [(source, _measure(seen, prior, source)) for source in lay_over(embed(seen), embed(prior))]
    enough = _HOPEFUL * min(reached for _, reached in laid)
    starts = [_refine(seen, prior, source, _TRIAL_STEPS) for source, reached in laid if reached < enough]
    best, _ = _refine(seen, prior, min(starts, key=lambda start: start[1])[0], _STEPS)
    if measured:
        precision = np.linalg.inv(prior + _NOISE * np.eye(len(prior))).astype(np.float32)
        best = swap_pairs(precision, seen, best)
    return Arrangement(best, _measure(seen, prior, best), tuple(objective for _, objective in starts))


def _refine(seen: Floats, prior: Floats, source: Order, steps: int) -> tuple[Order, float]:
    """Reassign all places by their correlation with all others as they lie now, as long as the fit gets better."""
    best = _measure(seen, prior, source)
    for _ in range(steps):
        found = assign(-(prior @ seen[source]))
        objective = _measure(seen, prior, found)
        if objective >= best:
            break
        source, best = found, objective
    return source, best


def _measure(seen: Floats, prior: Floats, source: Order) -> float:
    return float(np.mean((seen[np.ix_(source, source)] - prior) ** 2))
