"""Ciphertext-only attack on fixed permutations of the pixels: neighbours look alike, wherever they went.

The correlation of two places over many ciphertexts tells how far apart they were. The nearest relations of all
places draw a map of rows and columns (lattice.py), which needs no other pictures. Where public images are given,
relations with near places and their likelihood put the last pixels right (near_fit.py). Few ciphertexts draw no
regular map: then a coarse one, of all distances, is laid on that of the public images (embedding.py), and rows of
the two correlation matrices are matched. No key, pair or label is used. A mirror image of the whole is told apart
only where pictures and their mirror images differ in their statistics.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.attacks.base import Images, View
from cipherlens.attacks.covariance.prior import correlate_pixels
from cipherlens.attacks.positions.grid_directions import arrange_lattice
from cipherlens.attacks.positions.refinement import choose_way, fit_near, measure_misfit, swap_likely
from cipherlens.attacks.shared.embedding import assign, embed, lay_over
from cipherlens.attacks.shared.swaps import Floats
from cipherlens.ciphers.estimated_inverse import EstimatedInverse, PositionInverse, shape_of
from cipherlens.ciphers.rearrangement import Order

_HOPEFUL = 1.3
"""Starts whose objective is more than so many times the best one's are given up."""
_TRIAL_STEPS = 3
_STEPS = 30
_REGULAR = 0.7
"""Maps of the nearest relations that are less regular are not believed."""
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


def attack_correlation(view: View) -> tuple[EstimatedInverse, dict[str, Any]]:
    """Find the permutation of the view's ciphertexts."""
    source, details = find_source(view)
    return PositionInverse(shape=shape_of(view.ciphertexts), source=source), details


def find_source(view: View) -> tuple[Order, dict[str, Any]]:
    """For every place of the picture (H * W,) the place in the view's ciphertexts that belongs there."""
    height, width = view.ciphertexts.shape[2:]
    source, regularity = arrange_lattice(_draw_samples(view.ciphertexts), height, width)
    public = view.public_images
    if public is not None and public.shape[1:] != view.ciphertexts.shape[1:]:
        public = None
    if height * width > _COMPARED or (public is None and regularity >= _REGULAR):
        return source, {"regularity": regularity}
    seen = correlate(view.ciphertexts)
    prior = correlate_pixels(height, width) if public is None else correlate(public)
    if regularity < _REGULAR:
        found = arrange(seen, prior, measured=public is not None)
        return found.source, {"objective": found.objective, "starts": found.starts}
    source = fit_near(seen, prior, choose_way(seen, prior, source, height, width), height, width)
    source = swap_likely(seen, prior, source)
    return source, {"regularity": regularity, "objective": measure_misfit(seen, prior, source)}


def _draw_samples(images: Images) -> NDArray[np.float32]:
    """Channels of images (N, C, H, W), at most _SAMPLES, evenly picked, standardised."""
    channels = images.swapaxes(0, 1).reshape(-1, 1, *images.shape[2:])  # so that steps meet all colours
    evenly = np.linspace(0, len(channels), min(len(channels), _SAMPLES), endpoint=False).astype(np.int64)
    return _standardise(channels[evenly])


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
    """The arrangement of places under which ``seen`` is most like ``prior``, both (P, P), of places anywhere.

    Rows of correlations decide which start is the right one, the likelihood about single places, if the prior was
    ``measured`` on images: a parametric one is not that exact.
    """
    laid = [(source, measure_misfit(seen, prior, source)) for source in lay_over(embed(seen), embed(prior))]
    enough = _HOPEFUL * min(reached for _, reached in laid)
    starts = [_refine(seen, prior, source, _TRIAL_STEPS) for source, reached in laid if reached < enough]
    best, _ = _refine(seen, prior, min(starts, key=lambda start: start[1])[0], _STEPS)
    if measured:
        best = swap_likely(seen, prior, best)
    return Arrangement(best, measure_misfit(seen, prior, best), tuple(objective for _, objective in starts))


def _refine(seen: Floats, prior: Floats, source: Order, steps: int) -> tuple[Order, float]:
    """Reassign all places by their correlation with all others as they lie now, as long as the fit gets better."""
    best = measure_misfit(seen, prior, source)
    for _ in range(steps):
        found = assign(-(prior @ seen[source]))
        objective = measure_misfit(seen, prior, found)
        if objective >= best:
            break
        source, best = found, objective
    return source, best
