"""Known plaintext, the harness and its controls, on made-up images."""

from dataclasses import replace

import numpy as np
import pytest

import cipherlens as cl
from cipherlens.attacks import ATTACKS, list_attacks
from cipherlens.auditing.thresholds import check_thresholds, parse_limits
from cipherlens.ciphers import create_cipher
from cipherlens.ciphers.threat_models import MAX_QUERIES
from cipherlens.errors import UsageError
from cipherlens.evaluation.controls import run_controls
from cipherlens.evaluation.harness import default_budgets, evaluate, find_attack
from cipherlens.evaluation.metrics import mean_and_interval, reidentify, score, structural_similarity
from cipherlens.evaluation.target import Target
from cipherlens.keys import Key
from tests.attacks.variants import change


def noisy_images(count, size=16, seed=0):
    """Smooth images with a little noise, so that their blocks span the whole space."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(40, 216, (count, 3, size // 4, size // 4)).repeat(4, axis=2).repeat(4, axis=3)
    return (coarse + rng.integers(-20, 20, coarse.shape)).astype(np.uint8)


def make_target(cipher="hill", count=12, **params):
    plain = noisy_images(count)
    made = create_cipher(cipher, **params)
    ct = made.bind(Key(bytes(range(32))), plain.shape[1:]).encrypt(plain)
    return Target(made, plain, ct, noisy_images(30, seed=1), "other images")


KNOWN = ATTACKS["known-plaintext"]


@pytest.mark.parametrize(("block", "pairs"), [(2, 1), (4, 1), (8, 16)])
@pytest.mark.parametrize("orthogonal", [False, True])
def test_known_plaintext_recovers_the_key_with_enough_pairs(block, pairs, orthogonal):
    target = make_target(count=pairs + 4, block=block, orthogonal=orthogonal)
    result = evaluate(KNOWN, target, pairs)
    assert result.details["key_recovered"]
    assert result.n == 4
    assert result.exact_values > 0.999
    assert result.ssim > 0.999
    assert result.beats_guessing


def test_known_plaintext_fails_with_too_few_pairs():
    """One 16x16 image has 4 blocks of 8x8; the matrix of a channel needs 64."""
    result = evaluate(KNOWN, make_target(count=10, block=8), 1)
    assert not result.details["key_recovered"]
    assert result.details["rank"] == 4
    assert result.exact_values < 0.2


def test_known_images_are_not_scored():
    result = evaluate(KNOWN, make_target(count=12), 5)
    assert result.scored.tolist() == list(range(5, 12))
    assert result.flags == ("only 7 images scored",)


def test_controls_of_known_plaintext():
    outcomes = {c.control: c for c in run_controls(KNOWN, make_target(count=30), 4)}
    assert outcomes["identity"].ssim > 0.999
    assert outcomes["stream"].ssim < 0.1
    assert all(c.passed for c in outcomes.values())


def test_a_cheating_attack_fails_the_stream_control(monkeypatch):
    """An "attack" that knows the truth must be caught: the control is not a formality."""
    target = make_target(count=30)
    cheat = change(KNOWN, lambda view: (target.images()[4 : 4 + len(view.ciphertexts)], {}))
    outcomes = {c.control: c.passed for c in run_controls(cheat, target, 4)}
    assert outcomes == {"identity": True, "stream": False}
    useless = change(KNOWN, lambda view: (np.zeros_like(view.ciphertexts), {}))
    assert not {c.control: c.passed for c in run_controls(useless, target, 4)}["identity"]


def test_the_identity_control_asks_for_what_the_prior_can_reach():
    """Half of the truth passes where the attack has no photos and cannot do better, and fails where it has some."""
    target = make_target(count=30)

    def read_half(view):
        noise = np.random.default_rng(0).normal(0, 0.1, view.ciphertexts.shape)
        return (target.images()[4 : 4 + len(view.ciphertexts)] + noise).astype(np.float32), {}

    half = change(KNOWN, read_half, min_control_ssim_blind=0.3)
    for public, passed in ((target.public, False), (None, True)):
        (identity, _) = run_controls(half, replace(target, public=public), 4)
        assert 0.35 < identity.ssim < 0.85 and identity.passed == passed
    (identity, _) = run_controls(change(KNOWN, read_half), replace(target, public=None), 4)
    assert not identity.passed


def test_view_needs_what_the_threat_model_gives():
    view = cl.View(create_cipher("hill", block=4), np.zeros((1, 3, 8, 8), np.float32))
    with pytest.raises(UsageError, match="needs known pictures"):
        cl.run_attack("hill-known-plaintext", view)
    with pytest.raises(UsageError, match="covariance"):
        cl.run_attack("divination", view)


def test_attacks_are_matched_to_ciphers():
    hill, stream, permutation = (create_cipher(name) for name in ("hill", "stream", "pixel-permutation"))
    shapes = ((3, 16, 16), (3, 16, 16))
    found = {attack.name for attack in list_attacks(hill, *shapes)}
    assert found == {"covariance", "known-plaintext", "chosen-plaintext"}
    assert list_attacks(stream, *shapes) == []
    with pytest.raises(UsageError, match="does not apply"):
        find_attack("covariance", permutation, *shapes)
    assert find_attack("covariance", stream, *shapes).name == "covariance"
    assert find_attack("hill-known-plaintext", hill, *shapes) is KNOWN


def test_some_attacks_do_not_suit_all_parameters():
    moving = {"etc": {"block": 4}, "patch": {"block": 4, "scramble": True}}
    staying = {"etc": {"block": 4, "per_image": True}, "patch": {"block": 4, "scramble": False}}
    for parameters, suited in ((moving, True), (staying, False)):
        for cipher, params in parameters.items():
            found = ATTACKS["value-correlation"].supports(create_cipher(cipher, **params), (3, 16, 16), (3, 16, 16))
            assert found is suited


def test_budgets():
    assert default_budgets(ATTACKS["covariance"], 500) == [1, 10, 100, 500]
    assert default_budgets(KNOWN, 500) == [1, 10, 100]
    assert default_budgets(KNOWN, 5) == [1]
    assert default_budgets(ATTACKS["chosen-plaintext"], 5) == [MAX_QUERIES]
    target = make_target(count=5)
    for budget in (0, 5, 6):
        with pytest.raises(UsageError, match=r"budget|needs 2 images or more"):
            evaluate(KNOWN, target, budget)


def test_scores():
    plain = noisy_images(3).astype(np.float32) / 255
    same = score(plain, plain)
    assert same.ssim.min() > 0.99999
    assert same.psnr.min() == 100
    assert same.exact.min() == 1
    noise = np.random.default_rng(0).random(plain.shape, dtype=np.float32)
    other = score(noise, plain)
    assert other.ssim.max() < 0.2
    assert other.exact.max() < 0.02
    shifted = score(plain + 10 / 255, plain)
    assert np.allclose(shifted.psnr, -20 * np.log10(10 / 255), atol=1e-3)
    assert shifted.exact.max() == 0
    assert np.isfinite(score(np.full_like(plain, np.nan), plain).ssim).all()


def test_originals_are_found_again():
    plain = noisy_images(20).astype(np.float32) / 255
    assert reidentify(plain * 0.2 + 0.7, plain) == 1
    mixed = plain.copy()
    mixed[:5] = plain[5:10]
    assert reidentify(mixed, plain) == 0.75
    assert reidentify(np.zeros_like(plain), plain) == 0
    noise = np.random.default_rng(0).random((200, 3, 16, 16), dtype=np.float32)
    assert reidentify(noise, noisy_images(200).astype(np.float32)) < 0.05  # chance: 1 in 200
    assert reidentify(plain[:1], plain[:1]) is None


def test_ssim_equals_a_slow_reference():
    """Wang et al. 2004 with an 11x11 Gaussian window around every pixel, borders reflected as torchmetrics does."""
    rng = np.random.default_rng(3)
    first, second = rng.random((2, 1, 1, 24, 24)).astype(np.float32)
    padded_first, padded_second = (np.pad(image[0, 0], 5, mode="reflect") for image in (first, second))
    axis = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    window = np.outer(axis, axis) / axis.sum() ** 2
    values = []
    for top in range(24):
        for left in range(24):
            a = padded_first[top : top + 11, left : left + 11]
            b = padded_second[top : top + 11, left : left + 11]
            mean_a, mean_b = (window * a).sum(), (window * b).sum()
            var_a, var_b = (window * a * a).sum() - mean_a**2, (window * b * b).sum() - mean_b**2
            cov = (window * a * b).sum() - mean_a * mean_b
            c1, c2 = 0.01**2, 0.03**2
            values.append(
                (2 * mean_a * mean_b + c1) * (2 * cov + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
            )
    assert structural_similarity(first, second)[0] == pytest.approx(np.mean(values), abs=1e-4)


def test_interval():
    mean, (low, high) = mean_and_interval(np.array([0.0, 1.0] * 50))
    assert mean == 0.5
    assert high - mean == pytest.approx(mean - low) == pytest.approx(1.96 * 0.5025 / 10, rel=1e-3)
    assert mean_and_interval(np.array([0.25])) == (0.25, (0.25, 0.25))


def test_thresholds():
    results = [evaluate(KNOWN, make_target(count=6), 1)]
    limits = parse_limits(["ssim=0.3", "psnr=100"])
    exceeded = {row["metric"]: row["exceeded"] for row in check_thresholds(results, limits)}
    assert exceeded == {"ssim": True, "psnr": False}
    with pytest.raises(UsageError, match="METRIC=NUMBER"):
        parse_limits(["ssim"])
