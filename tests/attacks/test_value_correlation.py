"""Values that went anywhere, inverted or not, under one key: many ciphertexts alone put them back."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

from cipherlens.attacks import ATTACKS, list_attacks
from cipherlens.attacks.positions.value_correlation import relate_values
from cipherlens.ciphers import create_cipher
from cipherlens.ciphers.threat_models import CIPHERTEXT_ONLY
from cipherlens.errors import UsageError
from cipherlens.evaluation.controls import run_controls
from cipherlens.evaluation.harness import evaluate
from cipherlens.evaluation.target import Target
from cipherlens.keys import Key

ATTACK = ATTACKS["value-correlation"]
SIDE = 12


def scenes(count: int, seed: int) -> np.ndarray:
    """Power-law pictures whose colours differ by smoother ones, bright at the top, red brighter than blue."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(2 * SIDE)[:, None], np.fft.fftfreq(2 * SIDE)[None]) + 0.02

    def draw(channels: int, exponent: float) -> np.ndarray:
        noise = np.fft.fft2(rng.normal(size=(count, channels, 2 * SIDE, 2 * SIDE)))
        drawn = np.fft.ifft2(noise * frequency**-exponent).real[:, :, :SIDE, :SIDE]
        return drawn / drawn.std()

    slope = np.linspace(-0.7, 0.7, SIDE)[:, None]
    tint = draw(3, 1.4) * np.array([0.3, 0.15, 0.45])[:, None, None]
    level = np.array([130.0, 122.0, 112.0])[:, None, None]
    return np.clip(level + 45 * (draw(1, 1.4) + tint - slope), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def images() -> tuple[np.ndarray, np.ndarray]:
    return scenes(2500, 1), scenes(2500, 2)


def make_target(images: tuple[np.ndarray, np.ndarray], name: str, **params: object) -> Target:
    plain, public = images
    cipher = create_cipher(name, **params)
    bound = cipher.bind(Key.generate(), plain.shape[1:])
    ct = bound.encrypt(plain, [str(number) for number in range(len(plain))])
    return Target(cipher, plain, ct, public, "other scenes", bound)


@pytest.mark.parametrize("name", ["etc", "block-scrambling", "pe+pixel-permutation"])
def test_bytes_are_put_back_from_ciphertexts_alone(images, name: str) -> None:
    params = {} if "+" in name else {"block": 4}
    result = evaluate(ATTACK, make_target(images, name, **params), 2500)
    assert result.exact_values > 0.97
    assert result.threat_model is CIPHERTEXT_ONLY


def test_upper_half_bytes_are_put_back(images) -> None:
    result = evaluate(ATTACK, make_target(images, "ele", block=4), 2500)
    assert result.ssim > max(0.85, result.guess_ssim + 0.3)
    assert result.exact_values < 0.2  # the lower halves are not


def test_a_key_per_image_hides_from_it(images) -> None:
    result = evaluate(ATTACK, make_target(images, "etc", block=4, per_image=True), 2500)
    assert not result.beats_guessing


def test_controls(images) -> None:
    outcomes = {c.control: c for c in run_controls(ATTACK, make_target(images, "etc", block=4), 2499)}
    assert outcomes["identity"].ssim > 0.97
    assert outcomes["stream"].passed


def test_signs_are_found_up_to_all_of_them() -> None:
    rng = np.random.default_rng(0)
    chain = np.cumsum(rng.normal(size=(400, 30)), axis=1)
    inverted = rng.random(30) < 0.5
    found, strength = relate_values(np.where(inverted, -chain, chain).astype(np.float32))
    assert (found == inverted).all() or (found != inverted).all()
    lonely = np.concatenate([chain, rng.normal(size=(400, 5))], axis=1).astype(np.float32)
    assert relate_values(lonely)[1][-5:].max() < strength.min()


def test_who_is_attacked_and_what_it_needs(images) -> None:
    shape = (3, 16, 16)
    for name in ("ele", "np+block-scrambling"):
        assert ATTACK in list_attacks(create_cipher(name), shape, shape)
    assert ATTACK not in list_attacks(create_cipher("hill"), shape, shape)
    target = replace(make_target(images, "etc", block=4), public=None)
    with pytest.raises(UsageError, match="public images"):
        evaluate(ATTACK, target, 2500)
