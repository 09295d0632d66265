"""What schemes declare of themselves is what their ciphertexts show."""

import numpy as np
import pytest

from cipherlens.ciphers import CIPHERS, create_cipher
from cipherlens.ciphers.structure import KeyStructure, Kind, Layout, Scope
from cipherlens.keys import Key

SHAPE = (3, 16, 32)
TWICE = "pixel-permutation+pixel-permutation"
COMPOSED = (
    "shf+np",
    "np+negpos",
    "negpos+pe",
    "le+np",
    "np+block-scrambling",
    "pixel-permutation+pixel-permutation",
)
SINGLE = [name for name in CIPHERS if name not in ("identity", "stream")]


def describe(name: str, **params: object) -> KeyStructure:
    return create_cipher(name, **params).structure(SHAPE)


def fold(units: np.ndarray, layout: Layout) -> np.ndarray:
    """Units up to inversion, in every group sorted: what a rearrangement keeps."""
    units = units.astype(np.int64)
    return np.sort(np.minimum(units, layout.top - units) if layout.inverts else units, axis=-1)


@pytest.mark.parametrize("name", [*SINGLE, *COMPOSED, "patch scramble"])
def test_rearrangements_keep_what_they_declare(name: str) -> None:
    name, _, option = name.partition(" ")
    cipher = create_cipher(name, **({option: True} if option else {}))
    layout = cipher.structure(SHAPE).layout
    if layout is None:
        assert cipher.structure(SHAPE).kind is not Kind.REARRANGEMENT
        return
    plain = np.random.default_rng(0).integers(0, 256, (2, *SHAPE), dtype=np.uint8)
    ct = cipher.bind(Key.generate(), SHAPE).encrypt(plain)
    known, seen = layout.split(plain), layout.split(ct)
    assert np.array_equal(fold(known, layout), fold(seen, layout))
    if not layout.moves:
        assert np.isin(seen.astype(int) ^ known, (0, layout.top)).all()
    if not layout.inverts:
        assert np.array_equal(np.sort(known, axis=-1), np.sort(seen, axis=-1))


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
