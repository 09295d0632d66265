"""Inverted values and exchanged colours: one key for all images hides nothing, one for each hides half."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

from cipherlens.attacks import ATTACKS
from cipherlens.attacks.base import View
from cipherlens.attacks.values.signs import attack_neighbours, find_signs
from cipherlens.attacks.values.single_image import attack_differences
from cipherlens.ciphers import create_cipher
from cipherlens.ciphers.threat_models import CIPHERTEXT_ONLY
from cipherlens.evaluation.alignment import align_channels, fit_images
from cipherlens.evaluation.controls import run_controls
from cipherlens.evaluation.harness import evaluate
from cipherlens.evaluation.target import Target
from cipherlens.keys import Key
from tests.attacks.variants import change

NEIGHBOURS, BASIC, LEAST = (ATTACKS[n] for n in ("neighbours", "feature-reconstruction", "minimum-difference"))
SHAPE = (3, 16, 24)


def landscapes(count: int, seed: int = 0) -> np.ndarray:
    """Smooth pictures with related colours, red the brightest, blue the darkest."""
    rng = np.random.default_rng(seed)
    grey, tint = (
        rng.normal(size=(count, 1, 4, 6)),
        rng.normal(size=(count, 3, 4, 6)) * [[[[0.3]], [[0.2]], [[0.4]]]],
    )
    coarse = (grey + tint).repeat(4, axis=2).repeat(4, axis=3)
    smooth = sum(np.roll(coarse, (y, x), axis=(2, 3)) for y in (-1, 0, 1) for x in (-1, 0, 1)) / 9
    bright = np.array([130.0, 118.0, 100.0])[:, None, None] + 55 * smooth
    return np.clip(bright + rng.normal(0, 2, bright.shape), 0, 255).astype(np.uint8)


def make_target(name: str, count: int, seed: int = 0, **params: object) -> Target:
    plain = landscapes(count, seed)
    cipher = create_cipher(name, **params)
    bound = cipher.bind(Key.generate(), SHAPE)
    ct = bound.encrypt(plain, [str(number) for number in range(count)])
    return Target(cipher, plain, ct, landscapes(40, 77), "other landscapes", bound)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(
    ("name", "params"), [("negpos", {}), ("np", {"block": 4}), ("pe", {"colour": False}), ("pe", {})]
)
def test_one_key_for_all_is_read_from_ciphertexts_alone(name: str, params: dict, seed: int) -> None:
    result = evaluate(
        change(NEIGHBOURS, attack_neighbours, alignment="none"), make_target(name, 40, seed, **params), 40
    )
    assert result.exact_values == 1
    assert result.threat_model is CIPHERTEXT_ONLY


def test_without_public_images_too() -> None:
    target = make_target("pe", 60)
    result = evaluate(NEIGHBOURS, replace(target, public=None), 60)
    assert result.exact_values == 1


def test_colours_are_named_and_turned_for_scoring() -> None:
    plain = landscapes(30).astype(np.float32) / 255
    assert np.allclose(align_channels(1 - plain[:, [2, 0, 1]], plain), plain, atol=1e-6)
    noise = np.random.default_rng(0).random(plain.shape, np.float32)
    assert not np.allclose(align_channels(noise, plain), plain, atol=0.2)


@pytest.mark.parametrize("brightness", [60, 200])
def test_grey_images(brightness: int) -> None:
    """The whole is turned to the brightness of the public images, dark or bright."""
    move = brightness - 130
    plain, public = (np.clip(landscapes(30, s)[:, :1].astype(int) + move, 0, 255).astype(np.uint8) for s in (0, 1))
    bound = create_cipher("pe").bind(Key.generate(), plain.shape[1:])
    ct = bound.encrypt(plain).astype(np.float32) / 255
    view = View(create_cipher("pe", colour=True), ct, public.astype(np.float32) / 255)
    found = attack_neighbours(view)[0].apply(ct)
    assert np.abs(found * 255 - plain).max() < 1e-3


def test_signs_equal_a_slow_count() -> None:
    """On two values in a row the sign is that of their product, summed over all images."""
    images = np.random.default_rng(0).random((9, 1, 1, 2), np.float32)
    signs = find_signs(images, np.arange(2).reshape(1, 1, 2), moves=False)
    together = ((images[:, 0, 0, 0] - 0.5) * (images[:, 0, 0, 1] - 0.5)).sum()
    assert (signs[0, 0, 0] != signs[0, 0, 1]) == (together < 0)


@pytest.mark.parametrize("attack", [NEIGHBOURS, BASIC, LEAST], ids=lambda attack: attack.name)
def test_controls(attack: object) -> None:
    outcomes = {control.control: control for control in run_controls(attack, make_target("pe", 60), 60)}
    assert all(control.passed for control in outcomes.values()), outcomes
    assert outcomes["identity"].ssim > outcomes["stream"].ssim + 0.15


def test_an_attack_that_knows_nothing_fails_the_identity_control() -> None:
    """Its pictures are scored after the best fit, and so is a guess: nothing is no better than that."""
    nothing = change(BASIC, lambda view: (np.zeros_like(view.ciphertexts), {}), min_control_ssim=0.0)
    outcomes = {control.control: control.passed for control in run_controls(nothing, make_target("pe", 60), 60)}
    assert outcomes == {"identity": False, "stream": True}


@pytest.mark.parametrize("name", ["negpos", "pe"])
def test_a_key_for_every_image_still_leaves_outlines(name: str) -> None:
    target = make_target(name, 40, per_image=True)
    assert not evaluate(NEIGHBOURS, target, 40).beats_guessing
    for attack in (BASIC, LEAST):
        result = evaluate(attack, target, 40)
        assert result.guess_ssim + 0.05 < result.ssim < 0.95
        assert result.beats_guessing


def test_least_differences_of_inverted_values_are_the_basic_fold() -> None:
    """Why the published variants come to the same without exchanged colours."""
    ct = make_target("negpos", 3, per_image=True).ciphertexts()
    found, details = attack_differences(View(create_cipher("negpos"), ct))
    folded = np.minimum(ct, 1 - ct)
    assert details["choices"] == 8
    assert np.allclose(fit_images(found, folded), folded, atol=1e-4)


def test_least_differences_equal_a_slow_search() -> None:
    ct = np.random.default_rng(3).random((1, 2, 3, 4), np.float32)
    found, _ = attack_differences(View(create_cipher("pe", colour=True), ct))
    slow = np.zeros_like(ct)

    def distance(value: object, near: list) -> float:
        return float(np.abs(np.array(value) - np.mean(near, axis=0)).sum())

    for row in range(3):
        for column in range(4):
            first, second = ct[0, :, row, column]
            values = [(a, b) for p, q in ((first, second), (second, first)) for a in (p, 1 - p) for b in (q, 1 - q)]
            near = [slow[0, :, row, column - 1]] * (column > 0) + [slow[0, :, row - 1, column]] * (row > 0)
            slow[0, :, row, column] = min(values, key=lambda value: distance(value, near or [np.full(2, 0.5)]))
            reached = distance(found[0, :, row, column], near or [np.full(2, 0.5)])
            assert reached <= distance(slow[0, :, row, column], near or [np.full(2, 0.5)]) + 1e-5
            slow[0, :, row, column] = found[0, :, row, column]  # of values that are equally near, either will do
