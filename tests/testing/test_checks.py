"""The rules for ciphers and attacks: all of this package keep them, and each rule catches who breaks it."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pytest

from cipherlens.attacks import ATTACKS, register_attack
from cipherlens.ciphers import CIPHERS, BoundCipher, Cipher, create_cipher, register_cipher
from cipherlens.ciphers.schemes.negpos import NegposCipher
from cipherlens.ciphers.structure import KeyStructure, Kind, Scope, lay_anywhere, rearrange
from cipherlens.errors import UsageError
from cipherlens.keys import Key
from cipherlens.testing import CheckError, check_attack, check_cipher
from cipherlens.testing.attacks import CHECKS, Case, check_controls
from tests.attacks.test_learned_attacks import FUNCTIONS
from tests.attacks.variants import change

VARIANTS = [
    ("patch", {"orthogonal": True, "scramble": True}),
    ("etc", {"per_image": True}),
    ("etc", {"grey": True}),
    ("pe", {"per_image": True, "colour": False}),
    ("patch", {"scramble": True}),
    *((name, {}) for name in ("np+hill", "shf+np", "np+negpos", "negpos+pe", "le+np", "np+block-scrambling")),
    ("pixel-permutation+pixel-permutation", {}),
]


@pytest.mark.parametrize(("name", "params"), [*((name, {}) for name in CIPHERS), *VARIANTS])
def test_every_cipher_keeps_the_rules(name: str, params: dict[str, Any]) -> None:
    check_cipher(create_cipher(name, **params))


@pytest.mark.parametrize("name", [name for name, attack in ATTACKS.items() if not attack.requirements.cost_minutes])
def test_every_attack_keeps_the_rules(name: str) -> None:
    sizes = {"images": 120, "side": 32} if name == "covariance" else {}
    check_attack(ATTACKS[name], **sizes)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_learned_attacks_keep_the_rules_too(name: str) -> None:
    """All but the controls, with a few steps; test_learned_attacks.py has the controls."""
    short = change(ATTACKS[name], partial(FUNCTIONS[name], steps=8), __doc__=type(ATTACKS[name]).__doc__)
    case = Case(short, create_cipher("hill"), (3, 16, 16), 60)
    for check in CHECKS:
        if check is not check_controls:
            check(case)


class BoundXor(BoundCipher):
    """Inverts values where the key says so."""

    def __init__(self, cipher: Cipher, key: Key, shape: tuple[int, int, int]) -> None:
        super().__init__(cipher, key, shape)
        self.mask = np.random.default_rng(key.to_bytes()[0]).integers(0, 2, shape, dtype=np.uint8) * 255

    def _encrypt(self, xp: Any, plain: Any) -> Any:
        return plain ^ xp.asarray(self.mask)

    _decrypt = _encrypt


@pytest.fixture
def registered() -> Iterator[Any]:
    """Register classes, and forget them afterwards."""
    before = dict(CIPHERS), dict(ATTACKS)
    yield lambda kind: (register_cipher if issubclass(kind, Cipher) else register_attack)(kind)
    for registry, content in zip((CIPHERS, ATTACKS), before, strict=True):
        registry.clear()
        registry.update(content)


def make_cipher(bound: type[BoundCipher], structure: KeyStructure | None = None) -> type[Cipher]:
    @dataclass(frozen=True)
    class OwnCipher(Cipher):
        rounds: int = 1
        name: ClassVar[str] = "own"
        summary: ClassVar[str] = "for tests"
        threat_note: ClassVar[str] = "none"

        def structure(self, shape: tuple[int, int, int]) -> KeyStructure:
            return structure or super().structure(shape)

        def _bind(self, key: Key, shape: tuple[int, int, int]) -> BoundCipher:
            return bound(self, key, shape)

    OwnCipher.__qualname__ = "OwnCipher"
    globals()["OwnCipher"] = OwnCipher  # so that it can be pickled
    return OwnCipher


def test_a_foreign_cipher_passes(registered: Any) -> None:
    kind = registered(make_cipher(BoundXor))
    check_cipher(kind())
    assert create_cipher("own", rounds=3).params == {"rounds": 3}
    with pytest.raises(UsageError, match="there is a cipher own already"):
        register_cipher(kind)


def forget_key(bound: BoundXor, xp: Any, plain: Any) -> Any:
    return plain ^ np.uint8(255)


def look_around(bound: BoundXor, xp: Any, plain: Any) -> Any:
    return plain ^ plain[:1] ^ xp.asarray(bound.mask)


def change_images(bound: BoundXor, xp: Any, plain: Any) -> Any:
    plain ^= xp.asarray(bound.mask)
    return plain


def draw_lots(bound: BoundXor, xp: Any, plain: Any) -> Any:
    return plain ^ np.uint8(secrets.randbelow(2**8))


FAULTS = {
    "another key gives the same": {"_encrypt": forget_key, "_decrypt": forget_key},
    "is not x": {"_decrypt": lambda bound, xp, ct: ct},
    "differently in a batch": {"_encrypt": look_around, "_decrypt": lambda bound, xp, ct: fail()},
    "changes the images": {"_encrypt": change_images},
    "gives other ciphertexts": {"_encrypt": draw_lots, "_decrypt": lambda bound, xp, ct: fail()},
    "can be pickled": {"__reduce__": lambda bound: (str, ("",))},
    "key is in the repr": {"__repr__": lambda bound: bytes(range(32)).hex()},
    "ct_dtype says": {"ct_dtype": "float32"},
}


def fail() -> None:
    raise UsageError("cannot be decrypted")


@pytest.mark.parametrize("message", FAULTS)
def test_each_rule_catches_its_fault(message: str, registered: Any) -> None:
    bound = type("BoundFaulty", (BoundXor,), FAULTS[message])
    with pytest.raises(CheckError, match=message):
        check_cipher(registered(make_cipher(bound))())


STRUCTURES = {
    "nothing happens": KeyStructure(Kind.NOTHING),
    "fresh randomness": KeyStructure(Kind.FRESH),
    "and no others, have a layout": KeyStructure(Kind.REARRANGEMENT),
}


@pytest.mark.parametrize("message", STRUCTURES)
def test_a_false_declaration_is_found(message: str, registered: Any) -> None:
    with pytest.raises(CheckError, match=message):
        check_cipher(registered(make_cipher(BoundXor, STRUCTURES[message]))())


def test_a_layout_without_inversions_is_found_where_there_are_some(registered: Any) -> None:
    @dataclass(frozen=True)
    class Quiet(NegposCipher):
        name: ClassVar[str] = "quiet"

        def structure(self, shape: tuple[int, int, int]) -> KeyStructure:
            return rearrange(Scope.IMAGE, lay_anywhere(shape, inverts=False))

    Quiet.__qualname__ = "Quiet"
    globals()["Quiet"] = Quiet
    with pytest.raises(CheckError, match="leave the groups"):
        check_cipher(registered(Quiet)())


@pytest.mark.parametrize("name", ["a+b", "", "a b", "compose", "hill"])
def test_names_that_cannot_be(name: str) -> None:
    kind = make_cipher(BoundXor)
    kind.name = name
    with pytest.raises(UsageError, match=r"already|called"):
        register_cipher(kind)


def test_a_class_that_is_no_frozen_dataclass_is_refused() -> None:
    class Loose(NegposCipher):
        name = "loose"

    Loose.__dataclass_params__ = type("P", (), {"frozen": False})
    with pytest.raises(UsageError, match="frozen"):
        register_cipher(Loose)


NEIGHBOURS = ATTACKS["neighbours"]
ATTACK_FAULTS = {
    "identity control": lambda view: (np.zeros_like(view.ciphertexts), {}),
    "are float64": lambda view: (view.ciphertexts.astype(np.float64), {}),
    "not \\(300": lambda view: (view.ciphertexts[:1], {}),
    "other pictures": lambda view: (np.random.default_rng().random(view.ciphertexts.shape, np.float32), {}),
    "changes the ciphertexts": lambda view: (np.add(view.ciphertexts, 0.1, out=view.ciphertexts), {}),
}


@pytest.mark.parametrize("message", ATTACK_FAULTS)
def test_each_rule_catches_an_attack_that_breaks_it(message: str) -> None:
    faulty = change(NEIGHBOURS, ATTACK_FAULTS[message], __doc__="Finds nothing.", finds_inverse=False)
    with pytest.raises(CheckError, match=message):
        check_attack(faulty)


def test_a_promised_map_must_come() -> None:
    poor = change(NEIGHBOURS, lambda view: (view.ciphertexts, {}), __doc__="Finds nothing.")
    with pytest.raises(CheckError, match="returned no map"):
        check_attack(poor)


def test_claims_on_real_encryption_are_caught() -> None:
    boastful = change(NEIGHBOURS, None, supports=lambda self, *facts: True, __doc__="Finds nothing.")
    with pytest.raises(CheckError, match="authenticated encryption"):
        check_attack(boastful)


def test_an_attack_without_pairs_must_fail() -> None:
    known = ATTACKS["known-plaintext"]
    bold = change(known, lambda view: (view.ciphertexts, {}), __doc__="Finds nothing.")
    bold.__class__.execute = lambda self, view: NEIGHBOURS.execute(view)
    with pytest.raises(CheckError, match="without pairs"):
        check_attack(bold, create_cipher("negpos"))
