"""Known and chosen plaintext: every scheme falls to a few pictures; fewer are said not to be enough."""

from dataclasses import replace

import numpy as np
import pytest

from cipherlens.attacks import ATTACKS, View, list_attacks, run_attack
from cipherlens.attacks.plaintext.chosen import design_queries
from cipherlens.attacks.plaintext.matching import match
from cipherlens.ciphers import CIPHERS, create_cipher
from cipherlens.ciphers.structure import Kind
from cipherlens.errors import UsageError
from cipherlens.evaluation.controls import run_controls
from cipherlens.evaluation.harness import evaluate
from cipherlens.evaluation.target import Target
from cipherlens.keys import Key
from tests.attacks.variants import change

SHAPE = (3, 16, 16)
KNOWN, CHOSEN = ATTACKS["known-plaintext"], ATTACKS["chosen-plaintext"]


def photos(count: int, shape: tuple[int, int, int] = SHAPE, seed: int = 0) -> np.ndarray:
    """Smooth pictures with noise, as photos have it."""
    rng = np.random.default_rng(seed)
    channels, height, width = shape
    coarse = rng.integers(0, 256, (count, channels, height // 4, width // 4)).repeat(4, axis=2).repeat(4, axis=3)
    return np.clip(coarse + rng.integers(-25, 25, coarse.shape), 0, 255).astype(np.uint8)


def make_target(name: str, count: int, shape: tuple[int, int, int] = SHAPE, **params: object) -> Target:
    plain = photos(count, shape)
    cipher = create_cipher(name, **params)
    bound = cipher.bind(Key.generate(), shape)
    ct = bound.encrypt(plain, [str(number) for number in range(count)])
    return Target(cipher, plain, ct, photos(400, shape, seed=1), "other images", bound)


# scheme, parameters, pairs that are enough, chosen pictures that are enough
CASES = [
    ("pixel-permutation", {}, 2, 1),
    ("block-scrambling", {"block": 4}, 1, 1),
    ("shf", {"block": 4}, 1, 1),
    ("np", {"block": 4}, 1, 1),
    ("negpos", {}, 1, 1),
    ("pe", {}, 3, 1),
    ("pe", {"colour": False}, 1, 1),
    ("le", {"block": 4}, 2, 1),
    ("ele", {"block": 4}, 10, 4),
    ("etc", {"block": 4}, 5, 2),
    ("etc", {"block": 4, "grey": True}, 5, 2),
    ("patch", {"block": 8}, 2, 1),
    ("patch", {"block": 8, "scramble": True}, 5, 2),
    ("patch", {"block": 4, "orthogonal": True}, 4, 4),
    ("patch", {"block": 4, "orthogonal": True, "scramble": True}, 4, 4),
    ("hill-mod256", {"block": 4}, 3, 1),
    ("ffx", {"block": 4}, 40, 16),
    ("np+block-scrambling", {"block": 4}, 5, 2),
    ("le+pixel-permutation", {"block": 4}, 10, 4),
]
NAMES = [f"{name}-{'-'.join(str(value) for value in params.values())}" for name, params, *_ in CASES]


@pytest.mark.parametrize(("name", "params", "pairs", "queries"), CASES, ids=NAMES)
def test_every_scheme_falls_completely(name: str, params: dict, pairs: int, queries: int) -> None:
    """Every unknown picture comes back exactly, from known pictures and from chosen ones."""
    target = make_target(name, pairs + 5, **params)
    for attack, budget in ((KNOWN, pairs), (CHOSEN, queries)):
        result = evaluate(attack, target, budget)
        assert result.details["key_recovered"]
        assert result.exact_values == 1, attack.name
        assert result.ssim > 0.9999
    assert result.details["queries"] == result.details["wanted"] == result.budget == queries


@pytest.mark.parametrize("channels", [1, 3])
def test_other_shapes(channels: int) -> None:
    for name in ("pixel-permutation", "le", "pe", "hill-mod256"):
        target = make_target(name, 30, (channels, 8, 24))
        assert evaluate(KNOWN, target, 20).exact_values == 1, name
        assert evaluate(CHOSEN, target, 20).exact_values == 1, name


@pytest.mark.parametrize(
    ("name", "params"), [("hill-mod256", {"block": 4}), ("hill", {"block": 8, "orthogonal": True})]
)
@pytest.mark.parametrize("shape", [(1, 64, 64), (1, 80, 72), (1, 256, 256)])
def test_chosen_blocks_are_all_seen_in_large_pictures(name: str, params: dict, shape: tuple[int, int, int]) -> None:
    """Blocks are thinned out before solving; the made-up ones repeat, and none may be missed."""
    result = evaluate(CHOSEN, make_target(name, 2, shape, **params), 100)
    assert result.details["key_recovered"]
    assert result.exact_values > 0.999
    assert result.budget == result.details["queries"] == 1


def test_patches_of_one_length_are_said_to_be_unsure() -> None:
    target = make_target("patch", 12, block=4, orthogonal=True, scramble=True)
    target.plain[:, :, :8] = 0
    target = replace(target, ct=target.bound.encrypt(target.plain))
    result = evaluate(KNOWN, target, 9)
    assert (result.details["unsure"], result.details["key_recovered"]) == (8, False)
    assert result.exact_values > 0.99  # which black patch is which does not matter here
    noise = np.random.default_rng(0).random(target.ct.shape, np.float32)
    lost = evaluate(KNOWN, replace(target, ct=noise), 9)
    assert lost.exact_values < 0.1


def test_what_cannot_be_told_apart_is_not_told_by_its_place() -> None:
    """On plain pictures nothing moves, and a guess that everything stays would pass the identity control."""
    target = make_target("shf", 6, block=4)
    grey = np.full_like(target.plain[:2], 128)
    plain = np.concatenate([grey, target.plain])
    blind = replace(target, plain=plain, ct=plain)
    result = evaluate(KNOWN, blind, 2)
    assert result.details["unsure"] == result.details["units"] == 48
    assert result.exact_values < 0.3
    staying = make_target("np+negpos", 6, block=4)
    assert evaluate(KNOWN, staying, 1).details["key_recovered"]


def test_too_few_pictures_are_said() -> None:
    pixels = make_target("pixel-permutation", 9)
    pixels.plain[:] = pixels.plain // 64 * 64  # four levels: no pixel is told from another in one picture
    pixels = replace(pixels, ct=pixels.bound.encrypt(pixels.plain))
    result = evaluate(KNOWN, pixels, 1)
    assert not result.details["key_recovered"]
    assert 0 < result.details["unsure"] <= 256
    assert 0.05 < result.exact_values < 0.95
    modular = evaluate(KNOWN, make_target("hill-mod256", 5, block=8), 1)
    assert not modular.details["key_recovered"]
    assert modular.details["rank"] < modular.details["needed_rank"] == 64
    assert modular.exact_values < 0.05
    one_picture = evaluate(CHOSEN, make_target("ele", 5, block=4), 1)
    assert one_picture.details["queries"] == 1 < one_picture.details["wanted"]
    assert one_picture.exact_values < 0.2


def test_inexact_pairs_still_tell_the_order() -> None:
    """Noise on the ciphertexts: no unit is the same any more, the nearest one is the right one."""
    rng = np.random.default_rng(0)
    for name in ("pixel-permutation", "shf", "pe", "np", "le"):
        target = make_target(name, 25)
        noise = rng.integers(-2, 3, target.ct.shape) if name != "le" else np.zeros(target.ct.shape, int)
        noisy = np.clip(target.ct.astype(int) + noise, 0, 255).astype(np.uint8)
        noisy[0, 0, 0, 0] ^= 1
        result = evaluate(KNOWN, replace(target, ct=noisy), 20)
        assert result.psnr > 38, name


def test_what_is_too_large_to_compare_is_left_alone_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    target = make_target("shf", 8)
    target.ct[0, 0, 0, 0] ^= 1
    assert evaluate(KNOWN, target, 5).exact_values > 0.9
    monkeypatch.setattr("cipherlens.attacks.plaintext.matching._MOST_PAIRS", 10)
    result = evaluate(KNOWN, target, 5)
    assert result.exact_values < 0.3
    assert (result.details["unsure"], result.details["key_recovered"]) == (48, False)


def test_matching_equals_a_slow_search() -> None:
    cipher = create_cipher("le", block=2).bind(Key.generate(), (1, 4, 4))
    layout = cipher.cipher.structure((1, 4, 4)).layout
    plain = np.random.default_rng(1).integers(0, 256, (9, 1, 4, 4), dtype=np.uint8)
    known, seen = layout.split(plain), layout.split(cipher.encrypt(plain))
    found = match(known, seen, layout)
    for unit in range(8):
        explanations = [
            (source, mask)
            for source in range(8)
            for mask in (0, 15)
            if all(known[s, 0, source] ^ mask == seen[s, 0, unit] for s in range(len(known)))
        ]
        assert explanations == [(found.source[0, unit], found.mask[0, unit])]


REARRANGEMENTS = [
    *(name for name in CIPHERS if create_cipher(name).structure(SHAPE).kind is Kind.REARRANGEMENT),
    *("shf+np", "np+negpos", "negpos+pe", "le+np", "np+block-scrambling"),
]


@pytest.mark.parametrize("name", REARRANGEMENTS)
def test_layouts_split_and_merge(name: str) -> None:
    shape = (3, 16, 32)
    images = np.random.default_rng(0).integers(0, 256, (2, *shape), dtype=np.uint8)
    layout = create_cipher(name).structure(shape).layout
    assert np.array_equal(layout.merge(layout.split(images), shape), images)
    assert np.array_equal(np.sort(layout.places, axis=None), np.arange(layout.places.size))


CONTROLLED = [
    ("pixel-permutation", {}),
    *((name, {"block": 4}) for name in ("le", "ffx", "hill-mod256", "etc")),
    ("patch", {"block": 4, "orthogonal": True, "scramble": True}),
]


@pytest.mark.parametrize(("name", "params"), CONTROLLED)
def test_controls(name: str, params: dict) -> None:
    """Identity is read perfectly, a real cipher not at all, by both attacks and whatever they believe it to be."""
    target = make_target(name, 200, **params)
    for attack in (KNOWN, CHOSEN):
        outcomes = {control.control: control for control in run_controls(attack, target, 100)}
        assert outcomes["identity"].ssim > 0.999, attack.name
        assert all(control.passed for control in outcomes.values()), attack.name


@pytest.mark.parametrize("name", ["negpos", "pe"])
def test_a_key_for_every_image_keeps_known_pictures_useless(name: str) -> None:
    target = make_target(name, 30, per_image=True)
    for attack in (KNOWN, CHOSEN):
        result = evaluate(attack, target, 10)
        assert not result.details["key_recovered"]
        assert result.ssim < 0.3


PAIRED = ("known-plaintext", "chosen-plaintext")


def test_who_may_ask_and_how_often() -> None:
    target = make_target("shf", 5, block=4)
    assert {attack.name for attack in target.list_attacks()} == {*PAIRED, "covariance"}
    silent = replace(target, bound=None)
    assert {attack.name for attack in silent.list_attacks()} == {"known-plaintext", "covariance"}
    with pytest.raises(UsageError, match="to encrypt chosen pictures"):
        evaluate(CHOSEN, silent, 1)
    view = View(create_cipher("shf", block=4), target.ciphertexts(), queries=1)
    assert design_queries(view).shape == (1, *SHAPE)
    alone = replace(target, plain=target.plain[:1], ct=target.ct[:1])
    assert {attack.name for attack in alone.list_attacks()} == {
        "chosen-plaintext",
        "covariance",
    }  # no picture left to score
    with pytest.raises(UsageError, match="2 pictures asked for, 1 allowed"):
        evaluate(change(CHOSEN, lambda view: (view.oracle(np.zeros((2, *SHAPE), np.uint8)), {})), target, 1)


def test_compositions_are_attacked_only_as_rearrangements() -> None:
    composed = create_cipher("np+block-scrambling", block=4)
    assert {attack.name for attack in list_attacks(composed, SHAPE, SHAPE)} == {*PAIRED, "value-correlation"}
    for other in ("ffx+block-scrambling", "negpos+hill"):
        assert not list_attacks(create_cipher(other, block=4), SHAPE, SHAPE)
    with pytest.raises(UsageError, match="needs known pictures"):
        run_attack("known-plaintext", View(create_cipher("shf", block=4), np.zeros((1, *SHAPE), np.float32)))
