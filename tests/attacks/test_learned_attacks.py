"""Learned decryptors: what they learn, what they do not, and that they are trained and used honestly."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from cipherlens.attacks import ATTACKS
from cipherlens.attacks.base import Attack, View
from cipherlens.attacks.learned.attacks import (
    KEYS,
    attack_labelled,
    attack_pairs,
    attack_simulated_keys,
    attack_unpaired,
    encrypt_own,
)
from cipherlens.attacks.learned.distribution_distance import compare_pictures
from cipherlens.attacks.learned.training import BestWeights, apply, start_network
from cipherlens.ciphers import create_cipher
from cipherlens.errors import UsageError
from cipherlens.evaluation.controls import run_controls
from cipherlens.evaluation.harness import evaluate
from cipherlens.evaluation.target import Target
from cipherlens.keys import Key
from tests.attacks.variants import change

SHAPE = (3, 16, 16)


def landscapes(count: int, seed: int = 0) -> np.ndarray:
    """Smooth pictures with a little noise; the colours are related."""
    rng = np.random.default_rng(seed)
    grey, tint = rng.normal(size=(count, 1, 4, 4)), 0.3 * rng.normal(size=(count, 3, 4, 4))
    coarse = (grey + tint).repeat(4, axis=2).repeat(4, axis=3)
    smooth = sum(np.roll(coarse, (y, x), axis=(2, 3)) for y in (-1, 0, 1) for x in (-1, 0, 1)) / 9
    bright = np.array([130.0, 118.0, 100.0])[:, None, None] + 55 * smooth
    return np.clip(bright + rng.normal(0, 4, bright.shape), 0, 255).astype(np.uint8)


def make_target(name: str, count: int, key: Key | None = None, **params: object) -> Target:
    plain, cipher = landscapes(count), create_cipher(name, **params)
    ct = cipher.bind(key or Key.generate(), SHAPE).encrypt(plain, range(count))
    return Target(cipher, plain, ct, landscapes(300, 77), "other landscapes")


def label(target: Target, classes: int = 2) -> Target:
    """With the brightness as class, of the ciphertexts and of the public images."""
    bright, natural = (images.mean(axis=(1, 2, 3)) for images in (target.plain, target.public))
    limits = np.quantile(bright, np.arange(1, classes) / classes)
    return replace(target, labels=np.searchsorted(limits, bright), public_labels=np.searchsorted(limits, natural))


FUNCTIONS = {
    "itn": attack_simulated_keys,
    "itn-pairs": attack_pairs,
    "gan": attack_unpaired,
    "sia-gan": attack_labelled,
}


def shorten(name: str, steps: int) -> Attack:
    """The attack with fewer steps."""
    return change(ATTACKS[name], partial(FUNCTIONS[name], steps=steps))


def make_view(target: Target, **more: object) -> View:
    return View(target.cipher, target.ciphertexts(), **more)


@pytest.mark.parametrize("name", ["hill", "le", "pe", "ele"])
def test_pairs_teach_the_key(name: str) -> None:
    result = evaluate(shorten("itn-pairs", 60), make_target(name, 340), 300)
    assert result.ssim > result.guess_ssim + 0.35
    assert result.beats_guessing


@pytest.mark.full
def test_own_keys_teach_what_no_key_changes() -> None:
    """A block keeps its mean under a permutation of its values; of a shuffled picture no outline is left."""
    blocks = evaluate(shorten("itn", 60), make_target("shf", 200, block=2), 200)
    assert blocks.ssim > blocks.guess_ssim + 0.4
    pixels = evaluate(shorten("itn", 60), make_target("pixel-permutation", 200), 200)
    assert not pixels.beats_guessing


@pytest.mark.parametrize(
    ("name", "cipher"), [("itn", "hill"), ("itn-pairs", "ele"), ("gan", "pe"), ("sia-gan", "pe")]
)
def test_controls(name: str, cipher: str) -> None:
    target = label(make_target(cipher, 300))
    controls = {c.control: c for c in run_controls(shorten(name, 40), target, 150)}
    assert controls["identity"].ssim > 0.9
    assert controls["stream"].ssim < controls["stream"].guess_ssim + 0.02
    assert all(control.passed for control in controls.values())


@pytest.mark.parametrize("structure", ["blocks", "positions", "moves"])
@pytest.mark.parametrize("halves", [False, True])
def test_a_network_begins_with_plain_images_as_they_are(structure: str, halves: bool) -> None:
    images = landscapes(250).astype(np.float32) / 255
    network = start_network(structure, SHAPE, 4, halves, images, images)
    assert np.abs(apply(network, images) - images).mean() < 0.002


def test_a_network_begins_with_the_statistics_of_public_images() -> None:
    # A fixed key: with some random ones rounding in float32 costs more than is allowed here.
    target = make_target("hill", 300, Key(bytes(range(32))))
    network = start_network("blocks", SHAPE, 4, False, target.ciphertexts(), target.images())
    found = apply(network, target.ciphertexts())
    blocks = [x.reshape(-1, 3, 4, 4, 4, 4).swapaxes(3, 4).reshape(-1, 3, 16, 16) for x in (found, target.images())]
    for channel in range(3):
        cov = [np.cov(x[:, channel].reshape(-1, 16).T) for x in blocks]
        assert np.allclose(*cov, atol=0.03 * np.abs(cov[1]).max())
    assert np.abs(found - target.images()).mean() > 0.05  # the key is not known yet


def test_pictures_depend_on_ciphertext_and_seed_only() -> None:
    """Not on the other ciphertexts, as they would where a network is left in training mode."""
    target = make_target("shf", 120)
    pairs = {"known_plain": target.images(), "known_ct": target.ciphertexts()}
    view = make_view(target, **pairs, seed=5)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    found, details = attack_pairs(view, steps=12)
    assert torch.equal(torch.get_rng_state(), before)
    alone, _ = attack_pairs(replace(view, ciphertexts=view.ciphertexts[:1]), steps=12)
    assert np.allclose(found[:1], alone, atol=0.01)
    other, _ = attack_pairs(replace(view, seed=6), steps=12)
    assert not np.allclose(found, other, atol=0.01)
    assert details["steps"] == 12
    assert details["held_out_loss"] == pytest.approx(np.abs(found - target.images())[:12].mean(), rel=0.02)


def test_own_keys_are_many_and_new() -> None:
    target = make_target("negpos", 1, per_image=True)
    view, same = make_view(target), landscapes(1).repeat(KEYS + 50, axis=0)
    first = encrypt_own(view, same, "0")
    assert len(np.unique(first.reshape(len(first), -1), axis=0)) == KEYS
    others = encrypt_own(view, same, "1"), encrypt_own(replace(view, seed=1), same, "0")
    assert all(np.abs(first - other).mean() > 0.05 for other in others)
    assert np.array_equal(first, encrypt_own(view, same, "0"))
    either = np.minimum(first * 255, 255 - first * 255)
    assert np.allclose(either, np.minimum(same, 255 - same), atol=1e-3)


def test_comparing_pictures_is_not_pairing_them() -> None:
    images = torch.from_numpy(landscapes(200).astype(np.float32) / 255)
    alike = compare_pictures(images, torch.from_numpy(landscapes(200, 9).astype(np.float32) / 255))
    assert compare_pictures(images, images.flip(0)) < 1e-6
    for unlike in (images.flip(1), 0.8 * images, images + 0.1 * torch.rand(images.shape)):
        assert compare_pictures(unlike, images) > 2 * alike


def test_the_best_weights_are_kept_and_training_ends_when_nothing_gets_better() -> None:
    layer, losses = torch.nn.Linear(1, 1), iter([9, 5, 3, 4, 4, 4, 4, 4, 4])
    best = BestWeights(layer, lambda: next(losses), steps=150)
    for step in range(1, 151):
        torch.nn.init.constant_(layer.weight, step)
        if best.check(step):
            break
    said = best.finish()
    assert layer.weight.item() == 20
    assert (said["steps"], said["best_step"], said["held_out_loss"], said["converged"]) == (70, 20, 3, True)


def test_they_run_only_where_they_are_asked_for() -> None:
    learned = {"itn", "itn-pairs", "gan", "sia-gan"}
    target = label(make_target("hill", 100))
    assert not learned & {attack.name for attack in target.list_attacks()}
    assert learned <= {attack.name for attack in target.list_attacks(slow=True)}
    alone = replace(target, public=None)
    assert learned & {attack.name for attack in alone.list_attacks(slow=True)} == {"itn-pairs"}
    other = replace(target, public=target.public[:, :, :8])
    assert learned & {attack.name for attack in other.list_attacks(slow=True)} == {"itn-pairs"}
    few = {attack.name for attack in target.list_attacks(20, slow=True)}
    assert learned & few == {"itn"}
    unlabelled = replace(target, public_labels=None)
    assert learned - {attack.name for attack in unlabelled.list_attacks(slow=True)} == {"sia-gan"}
    with pytest.raises(UsageError, match="labels of the ciphertexts and of the public images"):
        evaluate(ATTACKS["sia-gan"], unlabelled, 50)
    for name in ("itn", "gan", "sia-gan"):
        with pytest.raises(UsageError, match="public images"):
            evaluate(ATTACKS[name], alone, 50)
    large = replace(target, plain=np.zeros((100, 3, 96, 96), np.uint8))
    assert not learned & {attack.name for attack in large.list_attacks(slow=True)}
