"""Ciphertext-only attack on fixed permutations of the pixels: neighbours stay correlated, wherever they move.

The correlation of two places over many ciphertexts tells how far apart they were. The nearest neighbours of all
places give a map of rows and columns (grid_directions.py), without other pictures. With public images, correlations
with near places and their likelihood correct the last pixels (refinement.py). Few ciphertexts give no regular map.
Then a coarse map of all distances is matched with that of the public images (shared/embedding.py), and so are rows
of the two correlation matrices. No key, pair or label is used. The mirror image of the whole is recognised only
where pictures and their mirror images differ in their statistics.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.attacks.base import DeclaredAttack, Found, Images, Requirements, View
from cipherlens.attacks.covariance.prior import correlate_pixels
from cipherlens.attacks.positions.grid_directions import arrange_lattice
from cipherlens.attacks.positions.refinement import choose_way, fit_near, measure_misfit, swap_likely
from cipherlens.attacks.shared.embedding import assign, embed, lay_over
from cipherlens.attacks.shared.swaps import Floats
from cipherlens.ciphers.estimated_inverse import EstimatedInverse, PositionInverse, shape_of
from cipherlens.ciphers.structure import KeyStructure, Kind, Order, Scope
from cipherlens.ciphers.threat_models import CIPHERTEXT_ONLY

_HOPEFUL = 1.3
"""Starts whose objective exceeds the best one by more than this factor are dropped. Set by hand."""
_TRIAL_STEPS = 3
"""Maximum reassignments from each start. Set by hand."""
_STEPS = 30
"""Maximum further reassignments from the best start. Set by hand."""
_REGULAR = 0.7
"""Minimum regularity of a map of nearest neighbours; below it the coarse map is used. Set by hand."""
_COMPARED = 4096
"""Maximum places for correlations of all pairs: they fit into memory, an assignment takes seconds."""
MOST_PIXELS = 65536
"""Maximum pixels: so many places can be compared with one another in minutes, a part at a time."""
_SAMPLES = 2000
"""Maximum channels of pictures for nearest neighbours: more add little and cost time. Set by hand."""


@dataclass(frozen=True)
class Arrangement:
    """``source`` (H * W,): for every place of the picture the place in the ciphertext that belongs there.

    ``objective`` is the mean square difference of the two correlation matrices, ``starts`` that of each start.
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
    channels = images.swapaxes(0, 1).reshape(-1, 1, *images.shape[2:])  # so that even steps reach all colours
    evenly = np.linspace(0, len(channels), min(len(channels), _SAMPLES), endpoint=False).astype(np.int64)
    return _standardise(channels[evenly])


def correlate(images: Images) -> Floats:
    """Correlation (H * W, H * W) of the places of images (N, C, H, W), channels as further images."""
    flat = _standardise(images)
    correlation: Floats = flat.T @ flat
    return correlation


def _standardise(images: Images) -> NDArray[np.float32]:
    """Images (N, C, H, W) -> (N * C, H * W), so that places correlate by their products.

    Each channel is first brought to the same brightness and contrast, which no permutation changes. The remaining
    correlation is that of near places.
    """
    flat = images.reshape(images.shape[0] * images.shape[1], -1).astype(np.float32)
    flat = flat - flat.mean(axis=1, keepdims=True)
    flat = flat / np.maximum(flat.std(axis=1, keepdims=True), 1e-3)
    flat -= flat.mean(axis=0)
    scaled: NDArray[np.float32] = flat / np.maximum(np.linalg.norm(flat, axis=0), 1e-6)
    return scaled


def arrange(seen: Floats, prior: Floats, measured: bool = True) -> Arrangement:
    """The arrangement of places under which ``seen`` is most like ``prior``, both (P, P), for any set of places.

    Rows of correlations choose the start. The likelihood then corrects single places, if the prior was ``measured``
    on images; a parametric one is not exact enough.
    """
    laid = [(source, measure_misfit(seen, prior, source)) for source in lay_over(embed(seen), embed(prior))]
    enough = _HOPEFUL * min(reached for _, reached in laid)
    starts = [_refine(seen, prior, source, _TRIAL_STEPS) for source, reached in laid if reached < enough]
    best, _ = _refine(seen, prior, min(starts, key=lambda start: start[1])[0], _STEPS)
    if measured:
        best = swap_likely(seen, prior, best)
    return Arrangement(best, measure_misfit(seen, prior, best), tuple(objective for _, objective in starts))


def _refine(seen: Floats, prior: Floats, source: Order, steps: int) -> tuple[Order, float]:
    """Reassign all places by their correlations with all others, as long as the objective falls."""
    best = measure_misfit(seen, prior, source)
    for _ in range(steps):
        found = assign(-(prior @ seen[source]))
        objective = measure_misfit(seen, prior, found)
        if objective >= best:
            break
        source, best = found, objective
    return source, best


class CorrelationAttack(DeclaredAttack):
    """The places of pixels that moved, the same in all channels. It cannot tell a picture from its mirror image.

    If it finds nothing, there were too few ciphertexts. It does not mean that the scheme holds.
    """

    name = "correlation"
    threat_model = CIPHERTEXT_ONLY
    uses_prior = True
    summary = "finds from many encrypted images which pixels look alike, and so which were neighbours"
    requirements = Requirements(min_images=50, max_pixels=MOST_PIXELS)
    alignment = "symmetries"
    finds_inverse = True

    @classmethod
    def fits(cls, structure: KeyStructure) -> bool:
        """One permutation of the places of a channel, or plain images."""
        return structure.scope is Scope.CHANNELS or structure.kind is Kind.NOTHING

    def run(self, view: View) -> Found:
        """See :func:`attack_correlation`."""
        return attack_correlation(view)
