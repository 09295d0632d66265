"""Follow JPEG's grid: from a map that is nearly right to one whose pictures are whole numbers of JPEG's steps.

Photos that were stored as JPEG at the size that is sealed keep JPEG's blocks. Their coefficients are whole numbers
of steps, but for the rounding of pixels. No photos, and no statistics of any, take part.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cipherlens.attacks.base import Images
from cipherlens.attacks.covariance.jpeg.coefficients import BASIS, COUNT, SIDE, list_steps, read_coefficients
from cipherlens.attacks.covariance.jpeg.edges import arrange, smooth
from cipherlens.attacks.covariance.jpeg.flat_regions import find_scale, grow
from cipherlens.attacks.covariance.jpeg.separation import combine, renew, sparsify
from cipherlens.attacks.covariance.jpeg.sources import Sources
from cipherlens.attacks.covariance.search import Recovery
from cipherlens.attacks.covariance.sparsity import measure_sparsity
from cipherlens.ciphers.blockmaps import apply_maps

Floats = NDArray[np.float64]
_USUAL = 75
"""Quality that is tried first: what most programs take."""
_QUALITIES = range(25, 100, 5)
"""Qualities whose steps are compared with those found."""
_SEEN, _ENOUGH, _ENOUGH_LOW = 20, 45, 6
"""Whole sources without which there is no grid; of all, and of low ones, without which the map stays as it is.

Chosen by hand: with steps as small as those of quality 90, low sources are never whole, and pictures got worse.
"""
_FIRST_ROUNDS, _ROUNDS, _LAST_ROUNDS = 3, 2, 2
"""Rounds without flat regions, with them, and with edges: limits on time, set by hand."""
_LOW = (0, 8, 1, 16, 2, 9, 24, 3, 32, 4)
"""Low coefficients, which reach across edges; the first two are often not whole."""
_FEWEST_BLOCKS, _MOST_BLOCKS = 2_000, 80_000
"""Fewer blocks are left as they are, and at most so many are looked at: a limit on time. Set by hand."""


def follow_grid(found: Recovery, seed: int) -> Recovery:
    """The result whose pictures are whole numbers of JPEG's steps; ``found`` itself where those are not sparser.

    It is for maps of 8x8 blocks in one or three channels, with one error for all channels.
    """
    pictures = found.reconstruction
    blocks = len(pictures) * pictures.shape[2] * pictures.shape[3] // COUNT
    correction = _find_correction(pictures, seed) if blocks >= _FEWEST_BLOCKS else None
    if correction is None:
        return found
    matrices, offsets = (part @ correction for part in (found.matrices, found.offsets))
    corrections, nothing = np.stack([correction] * pictures.shape[1]), np.zeros((pictures.shape[1], COUNT))
    better = apply_maps(pictures, SIDE, corrections, nothing)
    moved = replace(found, matrices=matrices, offsets=offsets, reconstruction=better)
    sparser = measure_sparsity(better, SIDE) < measure_sparsity(pictures, SIDE)
    return moved if sparser else found


def _find_correction(pictures: Images, seed: int) -> Floats | None:
    """Matrix (64, 64) that makes blocks of pictures, as rows, right; None where no grid is seen."""
    per_picture = pictures.shape[2] * pictures.shape[3] // COUNT
    coefficients = read_coefficients(pictures[:: -(-len(pictures) * per_picture // _MOST_BLOCKS)])
    sources = _find_sources(coefficients, seed)
    if sources is None:
        return None
    for turn in range(_LAST_ROUNDS):
        arrange(sources)
        for number in _LOW if turn else _LOW[:2]:
            smooth(sources, number)
        sources.round(6)
        combine(sources)
    steps = np.where(sources.whole, _measure_scale(sources), 1) * sources.steps
    return np.asarray(BASIS.T / sources.steps @ sources.maps * steps @ BASIS, np.float64)


def _find_sources(coefficients: NDArray[np.float32], seed: int) -> Sources | None:
    """The sources in steps of the quality that makes most of them whole; None where too few are."""
    first = _begin(coefficients, _USUAL, seed)
    if first is None:
        return None
    begun = (first if quality == _USUAL else _begin(coefficients, quality, seed) for quality in _guess(first))
    tried = [_go_on(sources) for sources in begun if sources is not None]
    best = max(tried, key=lambda sources: float(sources.score.sum()), default=first)
    low = np.count_nonzero(best.whole[list(_LOW)])
    return best if np.count_nonzero(best.whole) >= _ENOUGH and low >= _ENOUGH_LOW else None


def _begin(coefficients: NDArray[np.float32], quality: int, seed: int) -> Sources | None:
    """The sources that are whole by themselves, in steps of a quality; None where there are few."""
    sources = Sources(coefficients, list_steps(quality), seed)
    for _ in range(_FIRST_ROUNDS):
        sources.rescale()
        _make_whole(sources, 10)
        if np.count_nonzero(sources.whole) < _SEEN:
            return None
        sparsify(sources)
    return sources


def _go_on(sources: Sources) -> Sources:
    """Make low sources whole too, from flat regions on."""
    for _ in range(_ROUNDS):
        sparsify(sources)
        sources.rescale()
        grow(sources)
        _make_whole(sources, 6)
    return sources


def _measure_scale(sources: Sources) -> float:
    """The scale of low whole sources in the start, whose scale is kept: qualities tell relations of steps only."""
    low = [number for number in _LOW if sources.whole[number]]
    values, start = (part[sources.some][:, low] for part in (sources.values, sources.start))
    values = values - values.mean(axis=0)
    slopes = np.einsum("bk,bk->k", values, start) / np.einsum("bk,bk->k", values, values)
    return float(np.median(slopes))


def _make_whole(sources: Sources, times: int) -> None:
    sources.round(times)
    combine(sources)
    renew(sources)


def _guess(sources: Sources) -> list[int]:
    """Qualities whose steps of low coefficients fit those found in flat regions: the next multiples of five."""
    low = list(_LOW)
    wanted = np.log(sources.steps[low] * find_scale(sources))
    misses = {quality: abs(np.median(np.log(list_steps(quality)[low]) - wanted)) for quality in _QUALITIES}
    return sorted(misses, key=lambda quality: misses[quality])[:2]
