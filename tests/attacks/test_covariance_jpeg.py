"""JPEG's grid as knowledge: pictures that were stored as JPEG are read better, others stay as they are."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy.fft import dctn

from cipherlens.attacks.covariance.jpeg.coefficients import BASIS, COUNT, list_steps, read_coefficients
from cipherlens.attacks.covariance.jpeg.edges import arrange, smooth
from cipherlens.attacks.covariance.jpeg.flat_regions import find_scale, grow
from cipherlens.attacks.covariance.jpeg.grid import follow_grid
from cipherlens.attacks.covariance.jpeg.separation import combine, renew
from cipherlens.attacks.covariance.jpeg.sources import Sources, score_values
from cipherlens.attacks.covariance.search import Recovery
from cipherlens.ciphers.blockmaps import apply_maps
from cipherlens.data.sources.registry import open_source
from cipherlens.evaluation.metrics import mean_similarity

pytest.importorskip("torch")


def store(image: np.ndarray, quality: int) -> np.ndarray:
    """An image (3, H, W) as it comes out of a JPEG file."""
    file = io.BytesIO()
    Image.fromarray(image.transpose(1, 2, 0)).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file)).transpose(2, 0, 1)


@pytest.fixture(scope="module")
def photos() -> np.ndarray:
    source = open_source("synthetic:objects?n=90&test=10&size=128")
    return np.stack([item.decode() for item in source.read("train", list(range(90)))])


@pytest.fixture(scope="module")
def stored(photos: np.ndarray) -> np.ndarray:
    """Pictures (N, 3, 128, 128) in [0, 1] that were JPEG of quality 75."""
    return np.stack([store(image, 75) for image in photos]).astype(np.float32) / 255


def make_error(images: np.ndarray, amount: float) -> np.ndarray:
    """A matrix (64, 64) that adds to each coefficient so much of the others, by their size."""
    spread = read_coefficients(images).reshape(-1, COUNT).std(axis=0) + 1e-3
    random = np.random.default_rng(0).normal(size=(COUNT, COUNT)) * (1 - np.eye(COUNT)) / np.sqrt(COUNT)
    return BASIS.T @ (np.eye(COUNT) + amount * random * spread / spread[:, None]) @ BASIS


def recover(images: np.ndarray, error: np.ndarray) -> Recovery:
    """A result of a search whose map is wrong by ``error``."""
    channels = images.shape[1]
    matrices, offsets = np.stack([error] * channels), np.zeros((channels, COUNT))
    return Recovery(apply_maps(images, 8, matrices, offsets), matrices, offsets, 8, 0.0, 1.0, (0.0,))


@pytest.mark.parametrize("quality", [25, 49, 50, 75, 92])
def test_steps_are_those_of_jpeg_files(quality: int) -> None:
    file = io.BytesIO()
    Image.new("L", (16, 16)).save(file, "JPEG", quality=quality)
    assert list(Image.open(file).quantization[0]) == list_steps(quality).tolist()


@pytest.mark.parametrize("channels", [1, 3])
def test_coefficients_are_those_of_brightness(channels: int) -> None:
    images = np.random.default_rng(1).random((2, channels, 16, 24)).astype(np.float32)
    weights = (0.299, 0.587, 0.114) if channels == 3 else (1,)
    brightness = 255 * sum(weight * images[:, c] for c, weight in enumerate(weights))
    blocks = brightness.reshape(2, 2, 8, 3, 8).transpose(0, 1, 3, 2, 4)
    expected = dctn(blocks, axes=(-2, -1), norm="ortho").reshape(2, 2, 3, COUNT)
    np.testing.assert_allclose(read_coefficients(images), expected, atol=1e-3)


def test_values_are_scored_by_how_whole_they_are() -> None:
    random = np.random.default_rng(2)
    whole = random.integers(-3, 4, 5_000)
    assert score_values(whole + 0.0) == 1
    assert score_values(whole + random.normal(0, 0.1, 5_000)) == pytest.approx(
        np.exp(-2 * (np.pi / 10) ** 2), abs=0.03
    )
    assert abs(score_values(random.normal(0, 3, 5_000))) < 0.05
    assert score_values(np.zeros(5_000)) == 0 == score_values(whole[whole != 0] + 0.0, most=0.9)


def make_sources(mixed: np.ndarray) -> tuple[np.ndarray, Sources]:
    """Whole numbers as sparse as coefficients are, (N, 8, 8, 64), and sources that start from them mixed."""
    random = np.random.default_rng(3)
    spread = 6 / (1 + np.arange(COUNT) / 3)
    values = np.round(random.laplace(0, spread, (150, 8, 8, COUNT)))
    return values, Sources(np.asarray(values @ mixed, np.float32), np.ones(COUNT), 0)


def test_sums_of_sparse_sources_are_taken_apart() -> None:
    mixed = np.eye(COUNT)
    mixed[50, 40], mixed[60, 41], mixed[55, 45] = 2, -1, 1
    mixed[:, 63] *= 3
    values, sources = make_sources(mixed)
    assert sources.whole[1:].all()
    combine(sources)
    np.testing.assert_array_equal(sources.rounded[:, 32:], values.reshape(-1, COUNT)[:, 32:])


def test_a_source_that_is_there_twice_starts_anew() -> None:
    values, sources = make_sources(np.eye(COUNT))
    sources.maps[:, 20] = sources.maps[:, 30]
    sources.look()
    renew(sources)
    known = np.corrcoef(sources.values[:, 20], values.reshape(-1, COUNT)[:, 20])[0, 1]
    assert known > 0.99


def test_flat_regions_tell_what_a_source_holds_of_others() -> None:
    mixed = np.eye(COUNT)
    mixed[0, 2], mixed[3, 2] = 0.06, -0.08
    values, sources = make_sources(mixed)
    assert not sources.whole[2]
    grow(sources)
    sources.round(3)
    assert sources.whole[2]
    np.testing.assert_array_equal(sources.rounded[:, 2], values.reshape(-1, COUNT)[:, 2])


def test_places_and_signs_are_told_by_the_start(stored: np.ndarray) -> None:
    sources = Sources(read_coefficients(stored), list_steps(75), 0)
    sources.maps[:, [10, 17]] = -sources.maps[:, [17, 10]]
    sources.look()
    arrange(sources)
    np.testing.assert_array_equal(sources.maps, np.eye(COUNT))


def test_where_the_start_tells_nothing_edges_tell_places_and_signs(stored: np.ndarray) -> None:
    sources = Sources(read_coefficients(stored), list_steps(75), 0)
    expected, pair = sources.values.copy(), [10, 17]
    mixed = np.diag(sources.start[:, pair].std(axis=0)) @ np.array([[1, 1], [1, -1]])
    sources.start[:, pair] = sources.start[:, pair] @ np.linalg.inv(mixed)
    sources.maps[np.ix_(pair, pair)] = mixed @ np.array([[0, -1], [1, 0]])
    sources.look()
    assert np.abs(sources.values[:, pair] - expected[:, pair]).max() > 5
    arrange(sources)
    np.testing.assert_allclose(sources.values[:, pair], expected[:, pair], atol=0.01)


def test_edges_tell_what_the_first_lacks(stored: np.ndarray) -> None:
    sources = Sources(read_coefficients(stored), list_steps(75), 0)
    expected = sources.values[:, 0].copy()
    sources.maps[2, 0], sources.maps[16, 0] = 0.8, -0.5
    sources.look()
    before = (sources.values[:, 0] - expected).std()
    smooth(sources, 0)
    assert (sources.values[:, 0] - expected).std() < before / 3


def test_the_scale_of_steps_is_found_in_flat_regions(stored: np.ndarray) -> None:
    sources = Sources(read_coefficients(stored), list_steps(60), 0)
    assert find_scale(sources) == pytest.approx(0.625, abs=0.05)  # quality 75 has 5 / 8 of the steps of 60


def test_pictures_of_jpeg_are_read_better(stored: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cipherlens.attacks.covariance.jpeg.grid._guess", lambda _: [75])
    check_gain(stored)


@pytest.mark.full
@pytest.mark.parametrize("quality", [65])
def test_the_quality_is_found(quality: int, photos: np.ndarray) -> None:
    check_gain(np.stack([store(image, quality) for image in photos]).astype(np.float32) / 255)


def check_gain(images: np.ndarray) -> None:
    found = recover(images, make_error(images, 0.1))
    moved = follow_grid(found, 0)
    before, after = (mean_similarity(one.reconstruction.clip(0, 1), images) for one in (found, moved))
    assert before < 0.985 and after > 0.992
    again = apply_maps(images, 8, moved.matrices, moved.offsets)
    np.testing.assert_allclose(again, moved.reconstruction, atol=1e-3)


@pytest.mark.parametrize("kind", ["never", "elsewhere"])
def test_without_a_grid_the_map_stays_as_it_is(kind: str, photos: np.ndarray, stored: np.ndarray) -> None:
    """Photos that never were JPEG, and those whose grid lies elsewhere."""
    images = photos.astype(np.float32) / 255 if kind == "never" else stored[:, :, 4:-4, 4:-4]
    found = recover(np.ascontiguousarray(images), make_error(images, 0.1))
    assert follow_grid(found, 0) is found


@pytest.mark.parametrize("kind", ["constant", "noise", "line", "few", "halves"])
def test_odd_pictures_stay_as_they_are(kind: str) -> None:
    images = np.random.default_rng(5).random((40, 1, 64, 64)).astype(np.float32)
    if kind == "constant":
        images[:] = 0.25
    elif kind == "line":
        images = images.reshape(40, 1, 8, 512)
    elif kind == "few":
        images = images[:2]
    elif kind == "halves":
        images[:, :, :, ::2] = images[:, :, :, 1::2] = np.round(images[:, :, :, ::2])
    found = recover(images, np.eye(COUNT))
    assert follow_grid(found, 0) is found
