"""The covariance attack on schemes that apply one map to all blocks, with the public facts of each scheme."""

from collections.abc import Iterator, Sequence
from copy import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.attacks.base import DeclaredAttack, Found, Images, View
from cipherlens.attacks.covariance.candidates import (
    PARAMETRIC,
    PHOTOS,
    are_alike,
    choose,
    list_forms,
    list_priors,
    search_until_agreed,
)
from cipherlens.attacks.covariance.jpeg.coefficients import SIDE
from cipherlens.attacks.covariance.jpeg.grid import follow_grid
from cipherlens.attacks.covariance.measured import ORIGINS, list_other_origins
from cipherlens.attacks.covariance.orthogonal.colours import order_colours
from cipherlens.attacks.covariance.orthogonal.lengths import keep_lengths, measure_lengths
from cipherlens.attacks.covariance.permutation_fit import project_to_permutation
from cipherlens.attacks.covariance.prior import parametric_statistics
from cipherlens.attacks.covariance.refinement import refine
from cipherlens.attacks.covariance.search import Recovery, search
from cipherlens.attacks.covariance.statistics import BlockStatistics, block_statistics
from cipherlens.attacks.values.signs import is_negative
from cipherlens.ciphers.blockmaps import split_halves
from cipherlens.ciphers.estimated_inverse import BlockInverse, EstimatedInverse, shape_of
from cipherlens.ciphers.structure import KeyStructure, Kind
from cipherlens.ciphers.threat_models import CIPHERTEXT_ONLY
from cipherlens.errors import UsageError

_JOINT_TRIES = 6
"""Searches for small blocks with mixed channels: one in four ends in a local minimum (48 values, CIFAR-10)."""
_LARGE = 200
"""Values of a joint block from which only the view's ``starts`` searches run: a limit on time, set by hand."""
_STARTS, _LARGEST_BLOCK = 6, 8
"""Search starts worth their time with photos as prior; one for larger blocks takes a minute. Set by hand."""
_LEAST_BLOCKS = 1_000
"""Blocks below which the sparsity of pictures does not choose a prior: one photo's gained or lost 0.015 by it."""
_REACH = 0.65
"""What the parametric prior must reach on plain photos: less than on both origins of results/covariance-*."""
_GREY = 0.5
"""An inverted value keeps its distance from it."""
_MEASURED_STARTS = 3
"""Most search starts with a measured prior, which the first of them may miss. Set by hand."""


def attack_covariance(view: View, origins: Sequence[str] = ORIGINS) -> tuple[EstimatedInverse, dict[str, Any]]:
    """Fit a map that gives the ciphertexts the statistics of the public images.

    Without any, the statistics are parametric ones, or those of photos of ``origins``.
    """
    searches = _Searches(view)
    found, prior, name = searches.find_best(origins)
    found = searches.follow_grid(first := found)
    matrices, offsets, inverts = found.matrices, found.offsets, view.structure.inverts
    if searches.rearranges:
        matrices, offsets = _read_off(searches.maps, searches.ct, prior, inverts)
    inverse = BlockInverse(
        shape=shape_of(view.ciphertexts),
        block=prior.block,
        matrices=matrices,
        offsets=offsets,
        halves=view.structure.halves,
    )
    if searches.rearranges and inverts and is_negative(inverse.apply(view.ciphertexts), view.public_images):
        inverse = inverse.negate()
    if searches.rearranges and searches.colours_open:
        inverse = order_colours(inverse, view.ciphertexts)
    count = len(searches.done)
    details = {"objective": found.objective, "agreement": found.agreement, "searches": count, "prior": name}
    return inverse, details | {"jpeg_grid": found is not first}


class _Searches:
    """Searches for the map of a view with one prior after the other.

    ``done`` are all results, ``maps`` their matrices, with and without what lengths tell.
    """

    def __init__(self, view: View) -> None:
        structure = view.structure
        self._view, self._joint = view, not structure.per_channel
        self.rearranges = structure.kind is Kind.REARRANGEMENT
        self.ct = split_halves(view.ciphertexts) if structure.halves else view.ciphertexts
        self._prior = prior = _find_prior(view, view.block, self._joint, structure.halves)
        self._tries = _JOINT_TRIES if self._joint and prior.mean.size < _LARGE else view.starts
        self._target = block_statistics(self.ct, prior.block, self._joint)
        self._centre = _GREY if structure.inverts else 0.0
        self._lengths = None
        if structure.keeps_lengths:
            self._lengths = measure_lengths(self.ct, prior.block, self._joint, self._centre)
        self._mixed = self._joint and self.ct.shape[1] == 3
        self.colours_open = self._mixed and view.public_images is None
        self._small = prior.block <= _LARGEST_BLOCK
        self.done: list[Recovery] = []
        self.maps: list[NDArray[np.float64]] = []

    def find_best(self, origins: Sequence[str]) -> tuple[Recovery, BlockStatistics, str]:
        """The result that is believed, its prior, and the prior's name."""
        ct, prior, public = self.ct, self._prior, self._view.public_images
        blocks = len(ct) * np.prod(ct.shape[2:]) // prior.block**2
        enough = blocks >= _LEAST_BLOCKS
        if public is None and not self.rearranges and enough:
            priors = self._list_priors(origins)
            if len(priors) > 1:
                return choose(priors, self._begin_candidate, self._settle, {})
        found, name = self._find(prior), PARAMETRIC if public is None else PHOTOS
        if self.rearranges:
            return found, prior, name
        alike = public is None or not self._small or are_alike(found, public, len(ct), self._joint)
        if public is not None and (alike is False or (alike is None and enough)):
            priors = {PHOTOS: prior} | list_forms(prior, public, ct) | self._list_priors(origins)
            return choose(priors, self._begin_candidate, self._settle, {PHOTOS: found})
        return self._settle(found, prior), prior, name

    def follow_grid(self, found: Recovery) -> Recovery:
        """The result with pictures as JPEG stores them, where blocks are JPEG's (``jpeg/grid.py``)."""
        able = found.block == SIDE and self.ct.shape[1] in (1, 3) and not self._joint
        return follow_grid(found, self._view.seed) if able and not self._view.structure.inverts else found

    def _list_priors(self, origins: Sequence[str]) -> dict[str, BlockStatistics]:
        return list_priors(origins, self._prior.block, self.ct.shape[1], self._joint)

    def _begin(self, prior: BlockStatistics, tries: int) -> Iterator[Recovery]:
        view = self._view
        for found in search(self.ct, self._target, prior, view.seed, view.structure.inverts, tries):
            self.done.append(self._turn(found, prior))
            self.maps += [found.matrices, self.done[-1].matrices]
            yield self.done[-1]

    def _turn(self, found: Recovery, prior: BlockStatistics) -> Recovery:
        """The result as an orthogonal map, where the scheme has such; photos of the same kind know its colours."""
        if self._lengths is None:
            return found
        strange = prior is not self._prior or self._view.public_images is None
        return keep_lengths(found, self.ct, self._lengths, strange and self._mixed, self._centre)

    def _begin_candidate(self, prior: BlockStatistics) -> Iterator[Recovery]:
        return self._begin(prior, max(self._tries, _MEASURED_STARTS))

    def _find(self, prior: BlockStatistics) -> Recovery:
        found = search_until_agreed(self._begin(prior, self._tries), self.rearranges)
        return min(found, key=lambda recovery: recovery.objective)

    def _settle(self, found: Recovery, prior: BlockStatistics) -> Recovery:
        if not self._small or self._joint:  # half bytes are joint too
            return found
        view, inverts = self._view, self._view.structure.inverts
        return self._turn(refine(found, self.ct, self._target, prior, inverts, view.seed), prior)


def _find_prior(view: View, block: int, joint: bool, halved: bool) -> BlockStatistics:
    channels, public = view.ciphertexts.shape[1], view.public_images
    if public is not None:
        return block_statistics(split_halves(public) if halved else public, block, joint)
    if halved:
        raise UsageError("there is no parametric prior for half bytes", hint="give public images")
    return parametric_statistics(block, channels, joint)


def _read_off(
    maps: list[NDArray[np.float64]], ct: Images, prior: BlockStatistics, inverts: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Matrix and offset of the likeliest rearrangement among those nearest to the maps (1, n, n)."""
    target, channels = block_statistics(ct, prior.block, joint=True), ct.shape[1]
    snapped = [project_to_permutation(one[0], prior, target, channels, inverts) for one in maps]
    best = min(snapped, key=lambda rearrangement: rearrangement.neg_log_likelihood)
    source, signs = best.source, best.signs
    matrix = np.zeros((1, len(source), len(source)))
    matrix[0, source, np.arange(len(source))] = signs
    return matrix, np.asarray(signs < 0, np.float64)[None]  # an inverted value is 1 - y


class CovarianceAttack(DeclaredAttack):
    """One map for all blocks, from ciphertexts and natural images alone.

    If it finds nothing, there were too few blocks, or unusual pictures. It does not mean that the scheme holds.
    """

    name = "covariance"
    threat_model = CIPHERTEXT_ONLY
    summary = (
        "compares block statistics of many encrypted images with those of natural images, "
        "and finds the matrix that connects them"
    )
    min_control_ssim_blind = _REACH
    origins: Sequence[str] = ORIGINS
    """Whose measured statistics are priors."""
    uses_prior = True
    finds_inverse = True

    @classmethod
    def fits(cls, structure: KeyStructure) -> bool:
        """One affine map for all blocks, or plain images."""
        return structure.maps_blocks_alike or structure.kind is Kind.NOTHING

    def count_starts(self, structure: KeyStructure) -> int:
        """Several where channels are searched apart; small blocks with mixed channels have _JOINT_TRIES anyway."""
        return _STARTS if structure.per_channel and (structure.block or 0) <= _LARGEST_BLOCK else 1

    def leave_out(self, source: str) -> "CovarianceAttack":
        """The attack without priors measured on photos of ``source``, for measurements on them."""
        other = copy(self)
        other.origins = list_other_origins(source)
        return other

    def run(self, view: View) -> Found:
        """See :func:`attack_covariance`."""
        return attack_covariance(view, self.origins)
