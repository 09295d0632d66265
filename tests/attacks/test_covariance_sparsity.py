"""Sparsity of pictures, its gradient over maps, and maps refined by it."""

import numpy as np
import pytest
from scipy.fft import dctn
from scipy.ndimage import gaussian_filter

from cipherlens.attacks.covariance import refinement
from cipherlens.attacks.covariance.prior import parametric_statistics
from cipherlens.attacks.covariance.refinement import refine
from cipherlens.attacks.covariance.search import recover
from cipherlens.attacks.covariance.sparsity import DecryptedSparsity, _cut_parts, measure_sparsity
from cipherlens.attacks.covariance.statistics import block_statistics
from cipherlens.ciphers.blockmaps import apply_maps
from tests.attacks.test_covariance_parts import BLOCK, cartoons, draw_matrices, encrypt


def measure_slowly(images, block, scales):
    """One filter and one place in a block at a time."""
    brightness, found = images.mean(axis=1).astype(np.float64), []
    for scale in range(scales):
        period = block >> scale
        rows, columns = (side - 2 for side in brightness.shape[1:])
        answers = np.zeros((len(images), rows // period * period, columns // period * period, 9))
        for n, y, x in np.ndindex(answers.shape[:3]):
            answers[n, y, x] = dctn(brightness[n, y : y + 3, x : x + 3], norm="ortho").ravel()
        for number in range(1, 9):
            for y, x in np.ndindex(period, period):
                each = answers[:, y::period, x::period, number]
                size = np.sqrt(each**2 + 0.03**2 * (each**2).mean())
                found.append((scale, np.log(np.sqrt(size).mean() ** 2 / size.mean())))
        n, h, w = brightness.shape
        brightness = brightness[:, : h // 2 * 2, : w // 2 * 2].reshape(n, h // 2, 2, w // 2, 2).mean((2, 4))
    return np.mean([np.mean([value for at, value in found if at == scale]) for scale in range(scales)])


@pytest.mark.parametrize(("block", "side", "scales"), [(4, 24, 3), (6, 18, 2), (3, 15, 1), (8, 16, 3)])
def test_sparsity_against_one_answer_at_a_time(block, side, scales):
    images = np.random.default_rng(block).random((2, 3, side, side)).astype(np.float32) ** 4
    assert measure_sparsity(images, block) == pytest.approx(measure_slowly(images, block, scales), abs=2e-5)


def test_photos_are_sparser_than_what_wrong_maps_make_of_them():
    images = cartoons(60, seed=5)
    turn = np.linalg.qr(np.eye(BLOCK**2) + 0.1 * np.random.default_rng(0).normal(size=(BLOCK**2, BLOCK**2)))[0]
    noise = np.random.default_rng(0).normal(0, 0.02, images.shape)
    sparse = measure_sparsity(images, BLOCK)
    for worse in (encrypt(images, np.repeat(turn[None], 3, axis=0)), images + noise, np.abs(noise)):
        assert measure_sparsity((worse - worse.min()) / np.ptp(worse), BLOCK) > sparse + 0.03
    assert measure_sparsity(0.1 * images, BLOCK) == pytest.approx(sparse, abs=1e-4)  # contrast is no part of it
    loud = images.copy()
    loud[::10, :, 8:12, 8:12] = 1  # a few loud blocks are hardly a gain
    assert measure_sparsity(loud, BLOCK) > sparse - 0.01


@pytest.mark.parametrize("joint", [False, True])
def test_the_gradient_over_maps(joint):
    images = cartoons(6, seed=2)
    groups, size = (1, 3 * BLOCK**2) if joint else (3, BLOCK**2)
    rng = np.random.default_rng(1)
    into, out_of, maps = (np.eye(size) + 0.1 * rng.normal(size=(groups, size, size)) for _ in range(3))
    sparsity = DecryptedSparsity(images, BLOCK, np.zeros((groups, size)), into, out_of, seed=0)
    value, gradient = sparsity(maps)
    for _ in range(4):
        direction = rng.normal(size=maps.shape)
        ends = [sparsity(maps + step * direction)[0] for step in (3e-4, -3e-4)]
        assert (ends[0] - ends[1]) / 6e-4 == pytest.approx(np.sum(gradient * direction), rel=0.05, abs=5e-3)
    through = apply_maps(images, BLOCK, into @ maps @ out_of, np.zeros((groups, size)))
    assert value == pytest.approx(measure_sparsity(0.5 + 0.01 * through, BLOCK), abs=1e-3)


def test_a_mean_that_a_cipher_adds_is_no_picture():
    images, unit = cartoons(20, seed=3), np.repeat(np.eye(BLOCK**2)[None], 3, axis=0)
    shift = np.random.default_rng(0).normal(size=(3, BLOCK**2))
    mean = block_statistics(images, BLOCK).mean
    plain = DecryptedSparsity(images, BLOCK, mean, unit, unit, seed=0)(unit)[0]
    added = DecryptedSparsity(encrypt(images, unit, shift), BLOCK, mean + shift, unit, unit, seed=0)(unit)[0]
    assert added == pytest.approx(plain, abs=1e-4)


def compare_detail(found, plain):
    """Correlation of the differences between neighbours: of what a prior knows least."""
    pairs = [np.diff(images, axis=axis).ravel() for axis in (2, 3) for images in (found.reconstruction, plain)]
    return (np.corrcoef(*pairs[:2])[0, 1] + np.corrcoef(*pairs[2:])[0, 1]) / 2


@pytest.mark.parametrize("offset", [False, True])
def test_a_map_is_refined_where_no_photos_are_known(offset):
    plain = cartoons(300, seed=2)
    shift = np.random.default_rng(0).normal(size=(3, BLOCK**2)) if offset else None
    ct = encrypt(plain, draw_matrices(3), shift)
    prior = parametric_statistics(BLOCK, 3)
    found = recover(ct, prior, BLOCK, offset=offset)
    refined = refine(found, ct, block_statistics(ct, BLOCK), prior, offset, seed=0)
    before, after = (compare_detail(one, plain) for one in (found, refined))
    assert after > before + 0.02
    np.testing.assert_allclose(refined.decrypt(ct[:5]), refined.reconstruction[:5], atol=1e-5)


def test_a_map_stays_where_the_divergence_allows_no_other(monkeypatch):
    ct = encrypt(cartoons(100, seed=2), draw_matrices(3))
    prior = parametric_statistics(BLOCK, 3)
    found = recover(ct, prior, BLOCK)
    monkeypatch.setattr(refinement, "_RISE", -1.0)
    assert refine(found, ct, block_statistics(ct, BLOCK), prior, False, seed=0) is found


def test_blurred_pictures_are_no_sparser_by_their_blur_alone():
    images = cartoons(60, seed=5)
    blurred = gaussian_filter(images, (0, 0, 1, 1)).astype(np.float32)
    assert abs(measure_sparsity(blurred, BLOCK) - measure_sparsity(images, BLOCK)) < 0.15


def test_parts_are_whole_blocks_of_the_images():
    y, x = np.mgrid[:80, :100].astype(np.float32)
    images = np.stack([np.stack([y, x, np.full_like(x, number)]) for number in range(3)])
    parts = _cut_parts(images, BLOCK, seed=0)
    assert parts.shape[1:] == (3, 64, 64) and len(parts) % 3 == 0 and len(parts) > 3
    for part in parts:
        top, left, number = part[:, 0, 0].astype(int)
        assert top % BLOCK == left % BLOCK == 0
        np.testing.assert_array_equal(part, images[number, :, top : top + 64, left : left + 64])
    assert len({tuple(part[:2, 0, 0]) for part in parts}) > 3
