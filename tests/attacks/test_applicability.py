"""Which attacks say something about which scheme: decided by what the scheme declares, not by its name."""

import numpy as np
import pytest

from cipherlens.attacks import ATTACKS, View, list_attacks
from cipherlens.attacks.base import Attack, to_unit
from cipherlens.ciphers import create_cipher
from cipherlens.errors import UsageError
from cipherlens.keys import Key

SHAPE = (3, 32, 32)
PAIRED = {"known-plaintext", "chosen-plaintext"}
TABLE = {
    "hill": {"covariance", *PAIRED},
    "hill-mod256": PAIRED,
    "pixel-permutation": {"correlation", *PAIRED},
    "block-scrambling": {"value-correlation", "jigsaw", *PAIRED},
    "negpos": {"neighbours", "feature-reconstruction", "minimum-difference", *PAIRED},
    "pe": {"neighbours", "feature-reconstruction", "minimum-difference", *PAIRED},
    "le": {"covariance", *PAIRED},
    "ele": {"value-correlation", *PAIRED},
    "etc": {"value-correlation", "jigsaw", *PAIRED},
    "etc per_image": {"jigsaw", *PAIRED},
    "etc-legacy": set(),
    "shf": {"covariance", *PAIRED},
    "np": {"covariance", "neighbours", *PAIRED},
    "ffx": {"levels", *PAIRED},
    "patch": {"covariance", *PAIRED},
    "patch orthogonal": {"covariance", *PAIRED},
    "patch scramble": {"value-correlation", *PAIRED},
    "patch orthogonal scramble": PAIRED,
    "identity": {"covariance", "correlation", "value-correlation", "levels", "neighbours", "jigsaw", *PAIRED},
    "stream": set(),
    "np+block-scrambling": {"value-correlation", *PAIRED},
    "shf+np": {"covariance", *PAIRED},
    "shf+hill": {"covariance", *PAIRED},
    "np+hill": {"covariance"},
    "negpos+pe": {"neighbours", "feature-reconstruction", "minimum-difference", *PAIRED},
    "le+np": {"value-correlation", *PAIRED},
    "pixel-permutation+hill": set(),
}
LEARNED = {"itn", "itn-pairs", "gan", "sia-gan"}


@pytest.mark.parametrize("scheme", TABLE)
def test_table(scheme: str) -> None:
    name, *options = scheme.split(" ")
    cipher = create_cipher(name, **dict.fromkeys(options, True))
    shapes = SHAPE, cipher.ct_shape(SHAPE)
    assert {attack.name for attack in list_attacks(cipher, *shapes)} == TABLE[scheme]
    slow = {attack.name for attack in list_attacks(cipher, *shapes, slow=True)} - TABLE[scheme]
    assert slow == (set() if name in ("hill-mod256", "ffx", "stream") else LEARNED)


def test_an_undeclared_scheme_can_only_be_learned() -> None:
    assert list_attacks(None, SHAPE, SHAPE) == []
    assert {attack.name for attack in list_attacks(None, SHAPE, SHAPE, slow=True)} == LEARNED - {"itn"}


@pytest.mark.parametrize(("block", "recovered"), [(4, True), (8, False)])
def test_a_composition_with_a_matrix_falls_to_enough_pairs(block: int, recovered: bool) -> None:
    """Two pictures have 128 blocks of 48 values, or 32 of 192."""
    cipher = create_cipher("shf+hill", block=block)
    plain = np.random.default_rng(0).integers(0, 256, (8, *SHAPE), dtype=np.uint8)
    ct = to_unit(cipher.bind(Key.generate(), SHAPE).encrypt(plain))
    view = View(cipher, ct[2:], known_plain=to_unit(plain[:2]), known_ct=ct[:2])
    found = ATTACKS["known-plaintext"].execute(view)
    assert found.details["key_recovered"] is recovered
    assert (np.abs(255 * found.reconstruction - plain[2:]).max() < 0.5) == recovered


@pytest.mark.parametrize("name", sorted(PAIRED))
def test_real_encryption_has_nothing_to_solve_for(name: str) -> None:
    images, asked = np.zeros((2, *SHAPE), np.float32), []
    view = View(
        create_cipher("stream"), images, known_plain=images, known_ct=images, oracle=asked.append, queries=9
    )
    with pytest.raises(UsageError, match="nothing can be solved"):
        ATTACKS[name].execute(view)
    assert asked == []


def test_checks_cannot_be_left_out() -> None:
    with pytest.raises(TypeError, match="define run"):

        class Hasty(type(ATTACKS["covariance"])):
            execute = Attack.run
