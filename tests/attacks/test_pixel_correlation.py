"""Permutations of pixels fall to many ciphertexts, without a key, a pair or a label."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

from cipherlens.attacks import ATTACKS
from cipherlens.attacks.base import View, to_unit
from cipherlens.attacks.positions.pixel_correlation import arrange, correlate, find_source
from cipherlens.attacks.positions.refinement import choose_way, fit_near
from cipherlens.attacks.shared.swaps import _price, choose_pairs, swap_pairs
from cipherlens.ciphers import create_cipher
from cipherlens.errors import UsageError
from cipherlens.evaluation.alignment import align_symmetry
from cipherlens.evaluation.controls import run_controls
from cipherlens.evaluation.harness import evaluate
from cipherlens.evaluation.target import Target
from cipherlens.keys import Key

CORRELATION = ATTACKS["correlation"]


def clouds(count: int, size: int = 16, seed: int = 0) -> np.ndarray:
    """Pictures with a power-law spectrum, brighter at the top, as photos with a sky are."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(2 * size)[:, None], np.fft.fftfreq(2 * size)[None]) + 0.02
    drawn = np.fft.ifft2(np.fft.fft2(rng.normal(size=(count, 3, 2 * size, 2 * size))) * frequency**-1.2).real
    drawn = drawn[:, :, :size, :size]
    drawn = drawn / drawn.std(axis=(2, 3), keepdims=True) - np.linspace(-0.7, 0.7, size)[:, None]
    return np.clip(128 + 40 * drawn, 0, 255).astype(np.uint8)


def make_target(count: int, seed: int = 0, public: np.ndarray | None = None) -> Target:
    plain = clouds(count, seed=seed)
    cipher = create_cipher("pixel-permutation")
    bound = cipher.bind(Key.generate(), plain.shape[1:])
    return Target(cipher, plain, bound.encrypt(plain), public, "clouds", bound)


@pytest.fixture(scope="module")
def public() -> np.ndarray:
    return clouds(1500, seed=99)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_pixel_is_put_in_its_place(public: np.ndarray, seed: int) -> None:
    result = evaluate(CORRELATION, make_target(800, seed, public), 800)
    assert result.exact_values == 1
    assert result.beats_guessing


def test_no_picture_is_needed_as_a_prior() -> None:
    result = evaluate(CORRELATION, make_target(800), 800)
    assert result.ssim > result.guess_ssim + 0.3


def test_fewer_images_tell_less(public: np.ndarray) -> None:
    def count_right(number: int) -> float:
        target = make_target(number, 3)
        view = View(create_cipher("pixel-permutation"), to_unit(target.ct), to_unit(public))
        source, _ = find_source(view)
        laid = target.ct.reshape(number, 3, -1)[:, :, source].reshape(target.plain.shape)
        return float((align_symmetry(laid, target.plain) == target.plain).mean())

    exact = [count_right(number) for number in (10, 30, 50)]
    assert exact[0] < 0.2 < exact[1] < 0.9 < exact[2]


def test_public_images_put_the_last_pixels_right(public: np.ndarray) -> None:
    target = make_target(50, 3, public)
    alone = evaluate(CORRELATION, replace(target, public=None), 50)
    helped = evaluate(CORRELATION, target, 50)
    assert 0.8 < alone.exact_values < helped.exact_values == 1


@pytest.mark.parametrize("shape", [(10, 32), (8, 32), (20, 10)])
def test_oblong_pictures_without_public_ones_of_their_size(shape: tuple[int, int], public: np.ndarray) -> None:
    plain = clouds(300, 32)[:, :, : shape[0], : shape[1]]
    bound = create_cipher("pixel-permutation").bind(Key.generate(), plain.shape[1:])
    ct = bound.encrypt(plain)
    for other in (None, to_unit(public)):
        source, _ = find_source(View(create_cipher("pixel-permutation"), to_unit(ct), other))
        laid = align_symmetry(ct.reshape(300, 3, -1)[:, :, source].reshape(plain.shape), plain)
        assert (laid == plain).mean() > 0.9


def test_a_blank_channel_is_no_hindrance(public: np.ndarray) -> None:
    blank = np.array([0, 1, 1], np.uint8)[:, None, None]
    target = make_target(800, 7, public * blank)
    target = replace(target, plain=target.plain * blank, ct=target.ct * blank)
    assert evaluate(CORRELATION, target, 800).exact_values == 1


def test_windows_move_a_shifted_part_back(public: np.ndarray) -> None:
    """Rows whose last cells are shifted by one: in the middle of such a part no single swap helps."""
    prior = correlate(to_unit(public))
    order = np.arange(256).reshape(16, 16)
    order[:6, 10:] = np.roll(order[:6, 10:], 1, axis=1)
    assert np.array_equal(fit_near(prior, prior, order.ravel(), 16, 16), np.arange(256))


def test_the_way_up_is_the_one_that_fits(public: np.ndarray) -> None:
    oblong = correlate(to_unit(public[..., :12]))
    order = np.arange(16 * 12).reshape(16, 12)
    for way in (order, order[::-1], order[:, ::-1], order[::-1, ::-1]):
        chosen = choose_way(oblong, oblong, way.ravel(), 16, 12)
        assert np.array_equal(chosen, order.ravel())


def test_controls(public: np.ndarray) -> None:
    outcomes = {control.control: control for control in run_controls(CORRELATION, make_target(300, 4, public), 300)}
    assert outcomes["identity"].ssim > 0.9
    assert outcomes["stream"].ssim <= outcomes["stream"].guess_ssim + 0.02
    assert all(control.passed for control in outcomes.values())


def test_correlation_equals_numpys() -> None:
    images = clouds(40).astype(np.float32) / 255
    rows = images.reshape(-1, 256)
    rows = (rows - rows.mean(axis=1, keepdims=True)) / rows.std(axis=1, keepdims=True)
    assert np.allclose(correlate(images), np.corrcoef(rows.T), atol=1e-4)


def test_the_objective_is_least_at_the_truth(public: np.ndarray) -> None:
    target = make_target(800, 5, public)
    seen, prior = correlate(target.ciphertexts()), correlate(public.astype(np.float32) / 255)
    found = arrange(seen, prior)
    truth = seen[np.ix_(target.bound.inverse, target.bound.inverse)]
    assert found.objective <= np.mean((truth - prior) ** 2) * 1.0001  # its mirror image may fit better


def test_mirror_images_are_scored_as_what_they_show() -> None:
    plain = clouds(5).astype(np.float32) / 255
    for found in (plain, plain[..., ::-1], np.rot90(plain, 3, axes=(2, 3))[..., ::-1]):
        assert np.array_equal(align_symmetry(found, plain), plain)
    wide = plain[:, :, :8]
    assert np.array_equal(align_symmetry(np.rot90(wide, axes=(2, 3)), wide), wide)


def test_where_it_does_not_apply() -> None:
    assert "correlation" not in {attack.name for attack in make_target(30).list_attacks()}
    with pytest.raises(UsageError, match="50 images or more"):
        evaluate(CORRELATION, make_target(60), 20)
    large = Target(create_cipher("pixel-permutation"), *(np.zeros((60, 1, 300, 300), np.uint8),) * 2, None, "none")
    assert "correlation" not in {attack.name for attack in large.list_attacks()}
    with pytest.raises(UsageError, match="at most 65,536 pixels"):
        evaluate(CORRELATION, large, 60)


def test_prices_of_swaps_equal_a_slow_count() -> None:
    rng = np.random.default_rng(0)
    weights, seen = (m + m.T for m in rng.normal(size=(2, 7, 7)).astype(np.float32))
    prices = _price(weights, seen)
    for first in range(7):
        for second in range(7):
            order = np.arange(7)
            order[[first, second]] = order[[second, first]]
            change = (weights * seen[np.ix_(order, order)]).sum() - (weights * seen).sum()
            assert prices[first, second] == pytest.approx(change, abs=1e-3)


def test_swaps_share_no_place_and_only_help() -> None:
    rng = np.random.default_rng(1)
    weights, seen = (m + m.T for m in rng.normal(size=(2, 40, 40)).astype(np.float32))
    pairs = choose_pairs(_price(weights, seen), 0.0)
    assert len(pairs) > 1
    assert len(np.unique(pairs)) == pairs.size
    found = swap_pairs(weights, seen, np.arange(40))
    assert np.array_equal(np.sort(found), np.arange(40))
    moved = seen[np.ix_(found, found)]
    assert (weights * moved).sum() < (weights * seen).sum() - 1
    assert _price(weights, moved).min() > -1e-2
