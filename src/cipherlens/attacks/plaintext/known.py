"""Known plaintext against ciphers that rearrange values, substitute them, or multiply blocks modulo 256.

The scheme is public, so an attacker knows which values may have changed places. Pairs of pictures in both forms
tell which did. How many pairs each scheme needs is in docs/attacks/known-plaintext.md.
"""

from typing import Any

import numpy as np

from cipherlens.attacks.base import DeclaredAttack, Found, Images, View
from cipherlens.attacks.plaintext.linear import solve_hill, solve_modular, solve_patches
from cipherlens.attacks.plaintext.matching import match
from cipherlens.attacks.plaintext.substitution import solve_substitution
from cipherlens.ciphers.estimated_inverse import shape_of
from cipherlens.ciphers.structure import Bytes, KeyStructure, Kind
from cipherlens.ciphers.threat_models import KNOWN_PLAINTEXT
from cipherlens.ciphers.value_inverses import ValueInverse
from cipherlens.errors import UsageError


def can_be_solved(structure: KeyStructure) -> bool:
    """Whether pairs are solved for the scheme: not for affine maps, whose offset the linear solvers lack."""
    if structure.kind is Kind.LINEAR:
        return not structure.inverts
    return structure.kind in (Kind.NOTHING, Kind.REARRANGEMENT, Kind.MODULAR, Kind.SUBSTITUTION)


def require_solvable(structure: KeyStructure) -> None:
    """Raise UsageError where nothing can be solved for."""
    if not can_be_solved(structure):
        raise UsageError("nothing can be solved for in this scheme", hint="the list of attacks says which applies")


def attack_known_plaintext(view: View) -> Found:
    """Recover the key's effect from the view's pairs and decrypt everything; ``key_recovered`` in the details.

    ``unsure`` counts what the pairs leave open, which is guessed. Raises UsageError without pairs, or for a cipher
    that the attack does not apply to.
    """
    if view.known_plain is None or view.known_ct is None:
        raise UsageError("an attack with known pictures needs pairs")
    return solve_pairs(view, view.known_plain, view.known_ct)


def solve_pairs(view: View, plain: Images, ct: Images) -> Found:
    """The attack on pairs (N, C, H, W) in units of [0, 1]."""
    structure = view.structure
    require_solvable(structure)
    if structure.kind in (Kind.NOTHING, Kind.LINEAR):
        return (solve_hill if structure.per_channel else solve_patches)(view, plain, ct)
    known, seen = to_bytes(plain), to_bytes(ct)
    solved: Found
    if structure.kind is Kind.MODULAR:
        solved = solve_modular(known, seen, view.block)
    elif structure.kind is Kind.SUBSTITUTION:
        solved = solve_substitution(known, seen, view.block)
    else:
        solved = _solve_rearrangement(view, known, seen)
    return solved[0], solved[1] | {"pairs": len(plain)}


def _solve_rearrangement(view: View, plain: Bytes, ct: Bytes) -> tuple[ValueInverse, dict[str, Any]]:
    layout = view.structure.layout
    if layout is None:
        raise UsageError("nobody declared what the scheme rearranges", hint="give the view its cipher")
    found = match(layout.split(plain), layout.split(ct), layout)
    recovered = found.unsure == 0 and not view.key_per_image  # else it is the key of other images
    details = {"unsure": found.unsure, "units": found.mask.size, "key_recovered": recovered}
    source, mask = found.spread(layout)
    inverse = ValueInverse(
        shape=shape_of(view.ciphertexts),
        plain_shape=view.plain_shape,
        source=source,
        inverted=mask,
        halves=layout.halves,
    )
    return inverse, details


def to_bytes(images: Images) -> Bytes:
    """Images in units of [0, 1] -> the nearest of 256 levels."""
    return np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8)


class KnownPlaintextAttack(DeclaredAttack):
    """Pairs of pictures in both forms, solved for what the scheme does.

    If it finds nothing, there were too few pairs; ``unsure`` in the details counts what they leave open.
    """

    name = "known-plaintext"
    threat_model = KNOWN_PLAINTEXT
    finds_inverse = True
    summary = "works out the key's effect from pictures it knows with their encrypted form"

    @classmethod
    def fits(cls, structure: KeyStructure) -> bool:
        """All that declare what they do."""
        return can_be_solved(structure)

    def run(self, view: View) -> Found:
        """See :func:`attack_known_plaintext`."""
        return attack_known_plaintext(view)
