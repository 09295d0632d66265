"""Parts of the covariance attack against slow references and closed forms, on cartoon images made here."""

import numpy as np
import pytest

from cipherlens.attacks.covariance.divergence import Divergence, fit_maps
from cipherlens.attacks.covariance.moves import nearest_rotation, reflection_directions, turn_planes
from cipherlens.attacks.covariance.prior import parametric_statistics
from cipherlens.attacks.covariance.search import recover
from cipherlens.attacks.covariance.statistics import BlockStatistics, block_statistics
from cipherlens.ciphers.blockmaps import apply_maps
from cipherlens.errors import DataError, UsageError

BLOCK = 4


def cartoons(count: int, seed: int, side: int = 32, channels: int = 3) -> np.ndarray:
    """(count, channels, side, side) float32 in [0, 1]: shaded discs that hide one another (dead leaves)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    images = np.broadcast_to(rng.random((count, channels, 1, 1)), (count, channels, side, side)).copy()
    for _ in range(25):
        centre, radius = rng.uniform(0, side, (2, count, 1, 1)), 2 + 8 * rng.random((count, 1, 1)) ** 2
        slope = rng.normal(0, 0.015, (2, count, 1, 1))
        dy, dx = y - centre[0], x - centre[1]
        grey = rng.random((count, 1, 1, 1)) + 0.15 * rng.normal(size=(count, channels, 1, 1))
        shade = grey + (slope[0] * dy + slope[1] * dx)[:, None]
        edge = np.clip(radius - np.hypot(dy, dx) + 0.5, 0, 1)[:, None]
        images += edge * (shade - images)
    return np.clip(images, 0, 1).astype(np.float32)


def draw_matrices(seed: int, channels: int = 3, block: int = BLOCK) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (channels, block**2, block**2))


def encrypt(plain: np.ndarray, matrices: np.ndarray, offsets: np.ndarray | None = None) -> np.ndarray:
    shift = np.zeros(matrices.shape[:2]) if offsets is None else offsets
    return apply_maps(plain, round(matrices.shape[1] ** 0.5), matrices, shift)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


@pytest.fixture(scope="module")
def prior() -> BlockStatistics:
    return block_statistics(cartoons(600, seed=1), BLOCK)


@pytest.fixture(scope="module")
def plain() -> np.ndarray:
    return cartoons(300, seed=2)


def slow_statistics(images: np.ndarray, block: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and normalised neighbourhood covariance, one block at a time."""
    count, channels, height, width = images.shape
    rows, columns = height // block, width // block

    def cut(image: int, channel: int, row: int, column: int) -> np.ndarray:
        part = images[image, channel, row * block : (row + 1) * block, column * block : (column + 1) * block]
        return part.astype(np.float64).ravel()

    everywhere = [(i, r, c) for i in range(count) for r in range(rows) for c in range(columns)]
    mean = np.array([np.mean([cut(i, ch, r, c) for i, r, c in everywhere], axis=0) for ch in range(channels)])
    activity = dict.fromkeys(everywhere, 0.0)
    for channel in range(channels):
        centred = {place: cut(place[0], channel, *place[1:]) - mean[channel] for place in everywhere}
        precision = np.linalg.inv(np.mean([np.outer(v, v) for v in centred.values()], axis=0))
        for place, v in centred.items():
            activity[place] += v @ precision @ v / (channels * block**2)
    normalised = {}
    for image, row, column in everywhere:
        around = [
            activity[image, min(max(row + dy, 0), rows - 1), min(max(column + dx, 0), columns - 1)]
            for dy in (-1, 0, 1)
            for dx in (-1, 0, 1)
        ]
        values = np.array([cut(image, ch, row, column) - mean[ch] for ch in range(channels)])
        normalised[image, row, column] = values / np.sqrt(np.mean(around) + 0.3)
    vectors = [
        np.concatenate([normalised[i, r + dy, c + dx].ravel() for dy in (0, 1) for dx in (0, 1)])
        for i in range(count)
        for r in range(rows - 1)
        for c in range(columns - 1)
    ]
    return mean, np.mean([np.outer(v, v) for v in vectors], axis=0)


@pytest.mark.parametrize("channels", [1, 3])
def test_statistics_equal_a_slow_reference(channels):
    images = np.random.default_rng(0).random((6, channels, 8, 12)).astype(np.float32)
    statistics = block_statistics(images, 2)
    mean, covariance = slow_statistics(images, 2)
    np.testing.assert_allclose(statistics.mean, mean, rtol=1e-6)
    np.testing.assert_allclose(statistics.covariance, covariance, rtol=1e-4, atol=1e-6)
    brightness = np.mean([np.log(np.quantile(image, 0.99)) for image in images])
    assert statistics.brightness == pytest.approx(brightness, abs=1e-5)
    k = channels * 4
    pairs = covariance.reshape(4, k, 4, k)
    # Right neighbours: place 0 with 1 and 2 with 3; lower left: place 1 with 2.
    right, below_left = (pairs[0, :, 1] + pairs[2, :, 3]) / 2, pairs[1, :, 2]
    np.testing.assert_allclose(statistics.displaced(0, 1).reshape(k, k), right, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(statistics.displaced(1, -1).reshape(k, k), below_left, rtol=1e-4, atol=1e-6)


def test_plenty_of_images_are_nearly_perfect(prior, plain):
    found = recover(encrypt(plain, draw_matrices(4)), prior, BLOCK)
    assert found.reconstruction.dtype == np.float32
    assert correlation(found.reconstruction, plain) > 0.99
    assert np.sqrt(np.mean((found.reconstruction - plain) ** 2)) < 0.05
    assert found.agreement > 0.9


def test_noise_gives_no_better_than_guessing(prior, plain):
    noise = np.random.default_rng(5).random(plain.shape).astype(np.float32)
    found = recover(noise, prior, BLOCK)
    assert np.isfinite(found.reconstruction).all()
    assert abs(correlation(found.reconstruction, plain)) < 0.02
    assert found.agreement < 0.2


def test_affine_ciphers_are_recovered_with_offset(prior, plain):
    offsets = np.random.default_rng(12).normal(size=(3, BLOCK**2))
    found = recover(encrypt(plain, draw_matrices(13), offsets), prior, BLOCK, offset=True)
    assert correlation(found.reconstruction, plain) > 0.99
    assert abs(found.reconstruction.mean() - plain.mean()) < 0.05


@pytest.mark.parametrize(("channels", "side", "block"), [(1, 16, 4), (3, 16, 8), (2, 24, 2)])
def test_a_single_small_image_gives_finite_values(channels, side, block):
    prior = block_statistics(cartoons(100, seed=14, side=side, channels=channels), block)
    image = cartoons(1, seed=15, side=side, channels=channels)
    found = recover(encrypt(image, draw_matrices(16, channels, block)), prior, block)
    assert found.reconstruction.shape == image.shape
    assert np.isfinite(found.reconstruction).all()


def test_parametric_covariance_is_that_of_a_stationary_signal():
    statistics = parametric_statistics(BLOCK, 3)
    assert np.linalg.eigvalsh(statistics.covariance)[0] > 0
    near, right = (statistics.displaced(0, d).reshape(3, BLOCK, BLOCK, 3, BLOCK, BLOCK) for d in (0, 1))
    # One pixel to the right is the same distance inside a block and across its border.
    np.testing.assert_allclose(near[0, 1, 0, 1, 1, 1], right[0, 1, BLOCK - 1, 1, 1, 0], rtol=1e-6)


def test_divergence_has_its_gradient_and_its_minimum(prior):
    rng = np.random.default_rng(18)
    covariance = prior.covariance / np.linalg.norm(prior.covariance, 2) + 1e-3 * np.eye(len(prior.covariance))
    divergence = Divergence(covariance, covariance, 3, 0.0)
    identity = np.repeat(np.eye(BLOCK**2)[None], 3, axis=0)
    value, gradient = divergence(identity)
    assert np.abs(gradient).max() < 1e-8
    point, step = identity + 0.05 * rng.normal(size=identity.shape), 1e-6 * rng.normal(size=identity.shape)
    slope = (divergence(point + step)[0] - divergence(point - step)[0]) / 2
    assert slope == pytest.approx(np.sum(divergence(point)[1] * step), rel=1e-4)
    assert fit_maps(divergence, point, 200, 1e-9)[1] == pytest.approx(value, abs=1e-3)


def test_large_moves_predict_the_divergence(prior, plain):
    covariances = [s.covariance + 1e-3 * np.eye(len(s.covariance)) for s in (prior, block_statistics(plain, BLOCK))]
    divergence = Divergence(covariances[0], covariances[1], 3, 0.0)

    def value(rotation: np.ndarray) -> float:
        return divergence(np.repeat(rotation[None], 3, axis=0))[0]

    rotation = nearest_rotation(np.random.default_rng(19).normal(size=(BLOCK**2, BLOCK**2)))
    units, changes = reflection_directions(divergence, rotation, seed=0)
    for unit, change in zip(units[:3], changes[:3], strict=True):
        mirrored = value(rotation - 2 * np.outer(rotation @ unit, unit)) - value(rotation)
        assert mirrored == pytest.approx(change, rel=1e-6)
    turned, sweeps = turn_planes(divergence, rotation, 30, 1e-3)
    assert sweeps > 0
    assert value(turned) < value(rotation)
    np.testing.assert_allclose(turned @ turned.T, np.eye(BLOCK**2), atol=1e-9)


def test_constant_images_and_tiny_blocks_are_refused():
    with pytest.raises(DataError, match="do not vary"):
        block_statistics(np.full((2, 3, 8, 8), 0.5, np.float32), BLOCK)
    with pytest.raises(UsageError, match="no image statistics"):
        parametric_statistics(1, 3)
