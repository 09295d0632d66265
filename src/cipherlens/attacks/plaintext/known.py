"""Known plaintext against ciphers that rearrange values, substitute them, or multiply blocks modulo 256.

The scheme is public, so an attacker knows which values may have changed places. Pairs of pictures in both forms
tell which did. How many pairs each scheme needs is in docs/attacks.md.
"""

from typing import Any

import numpy as np

from cipherlens.attacks.base import Images, View
from cipherlens.attacks.plaintext.linear import solve_hill, solve_modular, solve_patches
from cipherlens.attacks.plaintext.matching import match
from cipherlens.attacks.plaintext.substitution import solve_substitution
from cipherlens.ciphers.structure import REARRANGEMENTS, Bytes, find_layout
from cipherlens.errors import UsageError

Found = tuple[Images, dict[str, Any]]

SOLVED = (*REARRANGEMENTS, "ffx", "hill-mod256")
"""Ciphers that :func:`attack_known_plaintext` applies to; compositions only of rearrangements."""


def attack_known_plaintext(view: View) -> Found:
    """Recover the key's effect from the view's pairs and decrypt everything; ``key_recovered`` in the details.

    ``unsure`` counts what the pairs leave open, which is guessed. Raises UsageError without pairs, or for a cipher
    that the attack does not apply to.
    """
    if view.known_plain is None or view.known_ct is None:
        raise UsageError(f"an attack on {view.cipher} with known pictures needs pairs")
    return solve_pairs(view, view.known_plain, view.known_ct)


def solve_pairs(view: View, plain: Images, ct: Images) -> Found:
    """The attack on pairs (N, C, H, W) in units of [0, 1]."""
    if view.cipher in ("hill", "identity"):
        return solve_hill(view, plain, ct)
    if view.cipher == "patch" and view.params.get("orthogonal"):
        return solve_patches(view, plain, ct)
    known, seen, target = to_bytes(plain), to_bytes(ct), to_bytes(view.ciphertexts)
    if view.cipher == "hill-mod256":
        found, details = solve_modular(known, seen, target, view.block)
    elif view.cipher == "ffx":
        found, details = solve_substitution(known, seen, target, view.block)
    else:
        found, details = _solve_rearrangement(view, known, seen, target)
    return found.astype(np.float32) / np.float32(255), details | {"pairs": len(plain)}


def _solve_rearrangement(view: View, plain: Bytes, ct: Bytes, target: Bytes) -> tuple[Bytes, dict[str, Any]]:
    shape = view.plain_shape
    layout = find_layout(view.cipher, view.params, shape)
    found = match(layout.split(plain), layout.split(ct), layout)
    recovered = found.unsure == 0 and not view.params.get("per_image")  # else it is the key of other images
    details = {"unsure": found.unsure, "units": found.mask.size, "key_recovered": recovered}
    return layout.merge(found.undo(layout.split(target)), shape), details


def to_bytes(images: Images) -> Bytes:
    """Images in units of [0, 1] -> the nearest of 256 levels."""
    return np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8)
