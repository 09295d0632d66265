"""The attackers of an audit: the same ciphertexts, and more or less knowledge of what pictures look like.

Whoever provides a service for X-rays has X-rays. So the worst realistic attacker has other photos of the same kind,
however few the owner has: then half of the photos are attacked, and the other half is what the attacker knows.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cipherlens.data.decoding import MAX_PIXELS
from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.data.sealed.spec import choose_split
from cipherlens.data.sources.base import pick_evenly
from cipherlens.evaluation.load import (
    MIN_PRIOR,
    NO_IMAGES,
    PARAMETRIC,
    SAME_SOURCE,
    limit_prior,
    load_target,
    name_same_kind,
)
from cipherlens.evaluation.target import DOMAIN, ELSEWHERE, NOTHING, Target
from cipherlens.keys import Key

_LEAST_HALF = 10
"""Minimum photos of each half, where the owner's are divided. Set by hand."""


def load_targets(
    dataset: SealedDataset,
    plain: str,
    count: int,
    prior: str = SAME_SOURCE,
    split: str | None = None,
    key: Key | None = None,
    max_pixels: int = MAX_PIXELS,
) -> tuple[Target, ...]:
    """Targets for attackers of different knowledge; the first has the most ciphertexts.

    At most ``count`` images are attacked: those of ``split``, or of all splits where the default one has fewer and
    there are no variants of training images. Who knows nothing is always among the attackers. So is who knows the
    domain, unless ``prior`` is "parametric". Another source as ``prior`` adds who has photos of that. Raises as
    ``load_target``.
    """
    default = split or choose_split(dataset.spec)
    asked = PARAMETRIC if prior == PARAMETRIC else SAME_SOURCE
    known = load_target(dataset, plain, default, count, asked, key, max_pixels)
    few = len(known.plain) < count or (known.public is None and asked == SAME_SOURCE)
    varied = dataset.spec.augment > 0  # variants of what is attacked would tell too much
    if few and split is None and not varied:
        known = _pool(dataset, plain, default, count, key, max_pixels)
    nothing = replace(known, public=None, public_labels=None, prior=NO_IMAGES, knowledge=NOTHING)
    if prior == PARAMETRIC:
        return (nothing,)
    domain = None if varied else _divide(nothing)
    if known.public is not None:
        domain = replace(known, knowledge=DOMAIN)
    if prior != SAME_SOURCE:
        other = load_target(dataset, plain, default, 1, prior, None, max_pixels)
        elsewhere = replace(nothing, public=other.public, prior=other.prior, knowledge=ELSEWHERE)
        return (elsewhere, nothing) if domain is None else (elsewhere, domain, nothing)
    if domain is None:
        return (nothing,)
    return (domain, nothing) if domain.numbers is None else (nothing, domain)


def _pool(dataset: SealedDataset, plain: str, first: str, count: int, key: Key | None, max_pixels: int) -> Target:
    """The images of all splits, those of ``first`` before others; what is not attacked, the attacker knows."""
    spec = dataset.spec
    most = count + limit_prior(spec)
    names = [first, *(name for name in dataset.splits if name != first)]
    parts = [load_target(dataset, plain, name, most, PARAMETRIC, key, max_pixels) for name in names]
    everything = replace(
        parts[0],
        plain=np.concatenate([part.plain for part in parts]),
        ct=np.concatenate([part.ct for part in parts]),
        labels=_join_labels(parts),
    )
    begun = len(parts[0].plain)
    more = max(0, count - begun)
    attacked = np.concatenate(
        [pick_evenly(begun, min(count, begun)), begun + pick_evenly(len(everything.plain) - begun, more)]
    )
    rest = np.setdiff1d(np.arange(len(everything.plain)), attacked)
    if len(rest) < MIN_PRIOR:
        return _take(everything, attacked)
    return _know(_take(everything, attacked), everything, rest[pick_evenly(len(rest), limit_prior(spec))])


def _join_labels(parts: list[Target]) -> NDArray[np.int64] | None:
    labels = [part.labels for part in parts if part.labels is not None]
    return np.concatenate(labels) if len(labels) == len(parts) else None


def _take(target: Target, chosen: NDArray[np.int64]) -> Target:
    labels = None if target.labels is None else target.labels[chosen]
    return replace(target, plain=target.plain[chosen], ct=target.ct[chosen], labels=labels)


def _know(target: Target, everything: Target, known: NDArray[np.int64]) -> Target:
    """The target of an attacker who has other images of the same kind."""
    labels = None if everything.labels is None else everything.labels[known]
    return replace(target, public=everything.plain[known], public_labels=labels, prior=name_same_kind(len(known)))


def _divide(target: Target) -> Target | None:
    """Every second image as target, the others as what the attacker knows; None for too few."""
    if len(target.plain) < 2 * _LEAST_HALF:
        return None
    attacked, known = np.arange(0, len(target.plain), 2), np.arange(1, len(target.plain), 2)
    return replace(_know(_take(target, attacked), target, known), knowledge=DOMAIN, numbers=attacked)
