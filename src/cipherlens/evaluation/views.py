"""Views of a target: the images that an attack sees, and what else its threat model gives it."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cipherlens.attacks.base import Attack, Images, Oracle, View, to_unit
from cipherlens.ciphers import BoundCipher
from cipherlens.errors import UsageError
from cipherlens.evaluation.target import Target, cut_nonce

FEW_IMAGES = 20
"""Scored images below which an evaluation is flagged: a mean over fewer says little. Set by hand."""
SEVERAL_RUNS = 5
"""Maximum runs of an attack with few ciphertexts, each on other ciphertexts. Set by hand."""
MAX_SCORED = 1000
"""Maximum images scored with known pairs, an oracle or a model: a limit on time, set by hand."""

Group = NDArray[np.intp]


def choose_groups(attack: Attack, total: int, budget: int, runs: int) -> list[Group]:
    """Indices of the images that each run sees.

    These are ``budget`` images where an attack sees ciphertexts alone, otherwise images that are not known pairs.
    """
    model = attack.threat_model
    if model.knows_pairs:
        return [np.arange(budget, min(total, budget + MAX_SCORED))]
    if not model.sees_budget:
        return [np.arange(min(total, MAX_SCORED))]
    # Enough runs for FEW_IMAGES images, where there are as many.
    count = max(1, min(runs, -(-FEW_IMAGES // budget), total // budget))
    return np.split(np.arange(budget * count), count)


def build_views(
    attack: Attack, target: Target, groups: list[Group], budget: int, seed: int, starts: int = 1
) -> list[View]:
    """A view for each group of the target's images."""
    ct = target.ciphertexts()
    view = View(
        target.cipher,
        ct[:0],
        None if target.public is None else to_unit(target.public),
        seed=seed,
        shape=target.plain_shape,
        starts=starts,
        key_per_image=target.key_per_image,
    )
    model = attack.threat_model
    if model.knows_pairs:
        view = replace(view, known_plain=to_unit(target.plain[:budget]), known_ct=ct[:budget])
    if model.chooses and target.bound is not None:
        view = replace(view, oracle=_make_oracle(target.bound, budget), queries=budget)
    views = [replace(view, ciphertexts=ct[group]) for group in groups]
    if not model.knows_labels or target.labels is None:
        return views
    return [
        replace(part, labels=target.labels[group], public_labels=target.public_labels)
        for part, group in zip(views, groups, strict=True)
    ]


def _make_oracle(bound: BoundCipher, queries: int) -> Oracle:
    """An oracle that encrypts at most ``queries`` pictures; with a key per image each gets a new key."""
    asked = 0

    def encrypt(images: NDArray[np.uint8]) -> Images:
        nonlocal asked
        image_ids = [f"oracle/{asked + number}" for number in range(len(images))]
        asked += len(images)
        if asked > queries:
            raise UsageError(
                f"{asked} pictures asked for, {queries} allowed", hint="raise the budget", parameters=("budget",)
            )
        return cut_nonce(bound.encrypt(images, image_ids), images.shape[2])

    return encrypt
