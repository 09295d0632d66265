"""What schemes declare of themselves is what their ciphertexts show."""

import pytest

from cipherlens.ciphers import CIPHERS, create_cipher
from cipherlens.ciphers.structure import KeyStructure, Kind, Scope

SHAPE = (3, 16, 32)


def describe(name: str, **params: object) -> KeyStructure:
    return create_cipher(name, **params).structure(SHAPE)


@pytest.mark.parametrize(
    ("name", "kind", "scope"),
    [
        ("hill", Kind.LINEAR, Scope.BLOCKS),
        ("hill-mod256", Kind.MODULAR, Scope.BLOCKS),
        ("ffx", Kind.SUBSTITUTION, Scope.BLOCKS),
        ("identity", Kind.NOTHING, Scope.IMAGE),
        ("stream", Kind.FRESH, Scope.IMAGE),
        ("etc-legacy", Kind.OTHER, Scope.PIECES),
        ("shf+np", Kind.REARRANGEMENT, Scope.BLOCKS),
        ("np+hill", Kind.LINEAR, Scope.BLOCKS),
        ("negpos+pe", Kind.REARRANGEMENT, Scope.PIXELS),
        ("np+block-scrambling", Kind.REARRANGEMENT, Scope.IMAGE),
        ("pixel-permutation+hill", Kind.OTHER, Scope.IMAGE),
        ("ffx+np", Kind.OTHER, Scope.IMAGE),
        ("shf+identity", Kind.REARRANGEMENT, Scope.BLOCKS),
        ("identity+stream", Kind.FRESH, Scope.IMAGE),
        ("negpos+stream", Kind.FRESH, Scope.IMAGE),
    ],
)
def test_kinds(name: str, kind: Kind, scope: Scope) -> None:
    found = describe(name)
    assert (found.kind, found.scope) == (kind, scope)


def test_blocks_of_a_composition_are_common_multiples() -> None:
    parts = {"name": "compose", "ciphers": [{"name": "shf", "block": 4}, {"name": "hill", "block": 8}]}
    found = create_cipher(**parts).structure((3, 16, 16))
    assert (found.block, found.per_channel, found.inverts) == (8, False, False)
    assert describe("np+hill").inverts
    assert describe("hill").per_channel


def test_a_scheme_that_declares_nothing_is_other() -> None:
    class Silent(CIPHERS["negpos"]):
        structure = CIPHERS["hill"].__mro__[2].structure

    assert Silent().structure(SHAPE).kind is Kind.OTHER
