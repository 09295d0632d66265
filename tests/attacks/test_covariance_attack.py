"""The covariance attack on keys for all channels of a block: rearrangements come back exactly, matrices nearly."""

from dataclasses import replace
from itertools import combinations, permutations
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")

from cipherlens.attacks import ATTACKS
from cipherlens.attacks.base import View, to_unit
from cipherlens.attacks.covariance.attack import attack_covariance
from cipherlens.attacks.covariance.candidates import search_until_agreed
from cipherlens.attacks.covariance.permutation_fit import _invert, _order_channels, _stack, project_to_permutation
from cipherlens.attacks.covariance.prior import parametric_statistics
from cipherlens.attacks.covariance.signed_swaps import price_signed, sign, swap_signed
from cipherlens.attacks.covariance.statistics import block_statistics
from cipherlens.attacks.shared.swaps import _price, swap_pairs
from cipherlens.ciphers import create_cipher
from cipherlens.ciphers.blockmaps import apply_maps, cut_blocks, merge_halves, split_halves
from cipherlens.data.synthetic import dataset as synthetic
from cipherlens.errors import UsageError
from cipherlens.evaluation.controls import run_controls
from cipherlens.evaluation.harness import evaluate
from cipherlens.evaluation.target import Target
from cipherlens.keys import Key

ATTACK = ATTACKS["covariance"]


@pytest.fixture(scope="module")
def images():
    """200 images to attack and 300 public ones."""
    return synthetic.generate(range(200)).images, synthetic.generate(range(1000, 1300)).images


def make_target(images, name, key=1, **params):
    plain, public = images
    cipher = create_cipher(name, **params)
    ct = cipher.bind(Key(bytes([key] * 32)), plain.shape[1:]).encrypt(plain)
    return Target(cipher, plain, ct, public, "other images")


@pytest.mark.parametrize(
    ("name", "params"),
    [("shf", {"block": 4}), ("np", {"block": 4}), ("patch", {"block": 4}), ("np+shf", {"block": 4})],
)
def test_a_rearrangement_of_blocks_is_read_exactly_from_ciphertexts_alone(images, name, params):
    result = evaluate(ATTACK, make_target(images, name, **params), 200)
    assert result.exact_values == 1


@pytest.mark.parametrize(
    ("name", "params"), [("patch", {"block": 4, "orthogonal": True}), ("hill+shf", {"block": 4})]
)
def test_a_matrix_for_all_channels_is_read_nearly(images, name, params):
    result = evaluate(ATTACK, make_target(images, name, **params), 200)
    assert 0.8 < result.ssim < 1
    assert result.beats_guessing


def test_controls(images):
    outcomes = {c.control: c for c in run_controls(ATTACK, make_target(images, "shf", block=4), 199)}
    assert outcomes["identity"].ssim > 0.999999
    assert outcomes["stream"].ssim < 0.1


def test_a_matrix_modulo_256_is_not_read(images):
    target = make_target(images, "hill-mod256", block=4)
    result = evaluate(ATTACK, replace(target, cipher=create_cipher("hill", block=4)), 200)
    assert not result.beats_guessing


def test_half_bytes_come_apart_and_together():
    images = np.random.default_rng(0).integers(0, 256, (3, 2, 4, 4)).astype(np.float32) / np.float32(255)
    halves = split_halves(images)
    assert halves.shape == (3, 4, 4, 4)
    np.testing.assert_allclose(15 * halves[:, 2:] * 16 + 15 * halves[:, :2], 255 * images, atol=1e-4)
    np.testing.assert_allclose(merge_halves(halves), images, atol=1e-6)
    view = View(create_cipher("le", block=4), np.zeros((2, 3, 8, 8), np.float32))
    with pytest.raises(UsageError, match="half bytes"):
        attack_covariance(view)


def test_joint_statistics_move_as_one_matrix_says(images):
    plain = images[0].astype(np.float32) / 255
    size = 3 * 16
    matrix = np.linalg.qr(np.random.default_rng(0).normal(size=(size, size)))[0]
    moved = apply_maps(plain, 4, matrix[None], np.zeros((1, size)))
    np.testing.assert_allclose(cut_blocks(moved, 4, True), cut_blocks(plain, 4, True) @ matrix, atol=1e-5)
    before, after = (block_statistics(part, 4, joint=True) for part in (plain, moved))
    assert before.joint and before.channels == 1
    np.testing.assert_allclose(after.mean, before.mean @ matrix, atol=1e-5)
    expected = matrix.T @ before.displaced(0, 1)[0, :, 0] @ matrix
    np.testing.assert_allclose(after.displaced(0, 1)[0, :, 0], expected, atol=2e-4)
    assert not block_statistics(plain, 4).joint
    assert parametric_statistics(4, 3, joint=True).mean.shape == (1, size)


def test_prices_of_swaps_in_a_stack_equal_a_slow_count():
    rng = np.random.default_rng(0)
    weights, seen = (_symmetric_stack(rng, 3, 7) for _ in range(2))
    value, prices = np.vdot(weights, seen), _price(weights, seen)
    for i in range(7):
        for j in range(7):
            order = np.arange(7)
            order[[i, j]] = order[[j, i]]
            assert prices[i, j] == pytest.approx(np.vdot(weights, seen[:, order][:, :, order]) - value)
    found = swap_pairs(weights, seen, np.arange(7))
    assert np.vdot(weights, seen[:, found][:, :, found]) < value


def _symmetric_stack(rng, places, size):
    matrix = rng.normal(size=(places * size, places * size))
    return (matrix + matrix.T).reshape(places, size, places, size).transpose(0, 2, 1, 3).reshape(-1, size, size)


def test_prices_of_swaps_under_signs_equal_a_slow_count():
    rng = np.random.default_rng(1)
    weights, seen = (_symmetric_stack(rng, 3, 6) for _ in range(2))
    value, (prices, best) = np.vdot(weights, seen), price_signed(weights, seen)

    def count(i, j, first, second):
        order, signs = np.arange(6), np.ones(6)
        order[[i, j]], signs[[i, j]] = [j, i], [first, second]
        return np.vdot(weights, sign(seen, order, signs)) - value

    turns = [(1, 1), (1, -1), (-1, 1), (-1, -1)]
    for i in range(6):
        assert prices[i, i] == pytest.approx(count(i, i, -1, -1))
        assert turns[best[i, i]] == (-1, -1)
        for j in set(range(6)) - {i}:
            slow = [count(i, j, *turn) for turn in turns]
            assert prices[i, j] == pytest.approx(min(slow))
            assert best[i, j] == np.argmin(slow)


def test_signed_swaps_only_help_and_come_to_an_end():
    rng = np.random.default_rng(2)
    weights, seen = (_symmetric_stack(rng, 2, 12) for _ in range(2))
    source, signs = rng.permutation(12), rng.choice([-1.0, 1.0], 12)
    found, turned = swap_signed(weights, seen, source, signs)
    assert np.array_equal(np.sort(found), np.arange(12))
    after = sign(seen, found, turned)
    assert np.vdot(weights, after) < np.vdot(weights, sign(seen, source, signs))
    assert price_signed(weights, after)[0].min() > -1e-4


def test_signed_swaps_get_on_where_neither_swaps_nor_inversions_do():
    rng = np.random.default_rng(0)
    weights, seen = (_symmetric_stack(rng, 1, 4) for _ in range(2))

    def value(order, signs):
        return np.vdot(weights, sign(seen, order, signs))

    def list_neighbours(order, signs):
        for place in range(4):
            yield order, signs * np.where(np.arange(4) == place, -1, 1)
        for first, second in combinations(range(4), 2):
            exchanged = np.arange(4)
            exchanged[[first, second]] = second, first
            yield order[exchanged], signs[exchanged]

    stuck, best = None, (np.arange(4), np.ones(4))
    while stuck is None or value(*best) < value(*stuck):
        stuck = best
        best = min(list_neighbours(*stuck), key=lambda state: value(*state))
    assert value(*swap_signed(weights, seen, *stuck)) < value(*stuck) - 1


def test_signed_swaps_find_exchanged_and_inverted_colours(images):
    statistics = block_statistics(images[0].astype(np.float32) / 255, 4, joint=True)
    weights, seen = _stack(_invert(statistics), 48), _stack(statistics.covariance, 48)
    order, signs = np.arange(48), np.ones(48)
    order[[5, 21]], signs[[5, 21]] = [21, 5], [-1, 1]  # one pixel: red and green exchanged, one of them inverted
    encrypted = sign(seen, order, signs)
    found, turned = swap_signed(weights, encrypted, np.arange(48), np.ones(48))
    np.testing.assert_array_equal(found, order)
    assert abs(turned @ signs[order]) == 48


def test_the_order_of_channels_is_the_likeliest_of_all():
    rng = np.random.default_rng(3)
    weights, moved = (_symmetric_stack(rng, 2, 12) for _ in range(2))
    parts = np.arange(12).reshape(4, 3)
    orders = [parts[list(order)].ravel() for order in permutations(range(4))]
    likeliest = min(orders, key=lambda order: np.vdot(weights, moved[:, order][:, :, order]))
    np.testing.assert_array_equal(_order_channels(weights, moved, 4), likeliest)


def test_a_blurred_map_snaps_to_the_rearrangement(images):
    plain = images[0].astype(np.float32) / 255
    rng = np.random.default_rng(2)
    source, signs = rng.permutation(48), rng.choice([-1.0, 1.0], 48)
    matrix = np.zeros((48, 48))
    matrix[source, np.arange(48)] = signs[source]
    encrypted = apply_maps(plain, 4, matrix.T[None], np.zeros((1, 48)))
    prior, target = (block_statistics(part, 4, joint=True) for part in (plain, encrypted))
    blurred = matrix + 0.05 * rng.normal(size=matrix.shape)
    mixed = np.concatenate([blurred[:, 16:32], blurred[:, :16], blurred[:, 32:]], axis=1)  # red and green exchanged
    for start in (blurred, mixed):
        found = project_to_permutation(start, prior, target, 3, inverts=True)
        np.testing.assert_array_equal(found.source, source)
        assert abs(found.signs @ signs[source]) == 48


def test_a_search_begins_anew_until_two_starts_agree():
    def results(*objectives):
        return iter([SimpleNamespace(objective=objective) for objective in objectives])

    def count(*objectives, all_of_them=False):
        return len(search_until_agreed(results(*objectives), all_of_them))

    assert count(3.0) == 1
    assert count(3.0, 3.001, 1.0) == 2
    assert count(3.0, 2.0, 3.001, 2.005, 1.0) == 4, "agreement on a worse minimum says nothing"
    assert count(3.0, 2.0, 1.0) == 3
    assert count(3.0, 3.0, 3.0, all_of_them=True) == 3


@pytest.mark.full
def test_the_best_of_several_starts_is_kept(images):
    """In 8x8 blocks of small pictures single searches end in different minima."""
    plain, public = (to_unit(part[:, :1]) for part in images)
    ct = create_cipher("hill", block=8).bind(Key(bytes(32)), plain.shape[1:]).encrypt(plain)
    view = View(create_cipher("hill", block=8), ct, public, seed=1)
    once, best = (attack_covariance(replace(view, starts=starts))[1] for starts in (1, 3))
    assert once["searches"] == 1 and best["searches"] > 1
    assert best["objective"] < once["objective"]
