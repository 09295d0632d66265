"""The embedded data set: deterministic, balanced, natural in its statistics, and with no short cut to a class."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from cipherlens.data.synthetic.dataset import CLASSES, NAMES, SyntheticBatch, SyntheticSpec, generate, parse_name
from cipherlens.data.synthetic.shapes import SHAPES, Floats, cover
from cipherlens.data.synthetic.textures import Layers, composite, conic, noise_fields, pixel_grid
from cipherlens.errors import UsageError


@pytest.fixture(scope="module")
def batch() -> SyntheticBatch:
    return generate(range(1000))


def same(left: SyntheticBatch, right: SyntheticBatch) -> bool:
    pairs = zip(vars(left).values(), vars(right).values(), strict=True)
    return all(np.array_equal(one, other) for one, other in pairs)


def take(batch: SyntheticBatch, rows: list[int]) -> SyntheticBatch:
    return SyntheticBatch(batch.images[rows], batch.labels[rows], batch.masks[rows])


@pytest.mark.parametrize("size", [16, 32, 45, 100])
def test_shapes_and_dtypes_at_any_size(size: int) -> None:
    made = generate([3, 1 << 40, 7], size)
    assert made.images.shape == (3, 3, size, size)
    assert made.images.dtype == np.uint8
    assert made.labels.shape == (3,)
    assert made.labels.dtype == np.int64
    assert made.masks.shape == (3, size, size)
    assert made.masks.dtype == np.uint8
    assert (made.images.std(axis=(1, 2, 3)) > 5).all()


def test_no_indices_make_an_empty_batch() -> None:
    assert generate([]).images.shape == (0, 3, 32, 32)


@pytest.mark.parametrize("size", [32, 50])
def test_an_image_depends_on_its_index_only(size: int) -> None:
    whole = generate(range(40), size, seed=5)
    for rows in ([5], [39, 0, 17], list(range(3, 38))):
        assert same(generate(rows, size, seed=5), take(whole, rows))


def test_seed_and_index_change_everything(batch: SyntheticBatch) -> None:
    other = generate(range(200), seed=1)
    assert (other.labels != batch.labels[:200]).mean() > 0.8
    distance = np.abs(other.images.astype(int) - batch.images[:200]).mean(axis=(1, 2, 3))
    assert distance.min() > 5
    flat = batch.images.reshape(len(batch.images), -1)
    assert len(np.unique(flat, axis=0)) == len(flat)


def test_the_same_scene_at_another_size() -> None:
    small, large = generate(range(50), 32), generate(range(50), 96)
    shrunk = large.masks[:, 1::3, 1::3]
    assert np.array_equal(small.labels, large.labels)
    assert (shrunk == small.masks).mean() > 0.97


def test_images_stay_what_they_are() -> None:
    """Results refer to these images: a change of the generator must be deliberate."""
    made = generate([0, 1, 6000, 1 << 40], 32)
    assert made.labels.tolist() == [6, 0, 9, 5]
    assert made.images.mean(axis=(1, 2, 3)) == pytest.approx([96.77, 179.88, 103.93, 68.16], abs=0.05)
    assert (made.masks > 0).sum(axis=(1, 2)) == pytest.approx([68, 370, 334, 185], abs=1)


def test_labels_are_balanced_in_every_slice(batch: SyntheticBatch) -> None:
    for block in batch.labels.reshape(-1, 10):
        assert sorted(block) == list(range(10))
    for start in (3, 118, 777):
        counts = np.bincount(batch.labels[start : start + 100], minlength=10)
        assert counts.min() >= 9
        assert counts.max() <= 11


def test_labels_cannot_be_read_off_the_index(batch: SyntheticBatch) -> None:
    by_position = batch.labels.reshape(-1, 10)
    for position in range(10):
        assert np.bincount(by_position[:, position], minlength=10).max() < 30


def test_masks_show_the_labelled_object(batch: SyntheticBatch) -> None:
    area = (batch.masks > 0).sum(axis=(1, 2))
    assert (area >= 30).mean() > 0.99
    assert (area < 0.7 * 32 * 32).all()
    expected = np.where(batch.masks > 0, batch.labels[:, None, None] + 1, 0)
    assert np.array_equal(batch.masks, expected)


def test_objects_stand_out_but_not_by_much(batch: SyntheticBatch) -> None:
    bright = batch.images.mean(axis=1)
    inside = batch.masks > 0
    gap = (bright * inside).sum(axis=(1, 2)) / inside.sum(axis=(1, 2))
    gap -= (bright * ~inside).sum(axis=(1, 2)) / (~inside).sum(axis=(1, 2))
    assert 40 < np.median(np.abs(gap)) < 90
    assert 0.65 < (gap > 0).mean() < 0.85
    assert 0.02 < (np.abs(gap) < 25).mean() < 0.3


def test_no_object_is_lost_in_the_clutter() -> None:
    visible = (generate(range(200), 48).masks > 0).mean(axis=(1, 2))
    assert visible.min() > 0.03


def test_power_spectrum_falls_as_in_photographs(batch: SyntheticBatch) -> None:
    grey = batch.images.mean(axis=1)
    power = np.abs(np.fft.fft2(grey - grey.mean(axis=(1, 2), keepdims=True))) ** 2
    frequency = np.fft.fftfreq(32) * 32
    rings = np.rint(np.hypot(frequency[:, None], frequency)).astype(int).ravel()
    radial = np.bincount(rings, power.mean(axis=0).ravel()) / np.bincount(rings)
    octaves = np.arange(1, 9)
    slope = np.polyfit(np.log(octaves), np.log(radial[octaves]), 1)[0]
    assert -2.4 < slope < -1.6


def test_neighbours_correlate_and_gradients_have_heavy_tails(batch: SyntheticBatch) -> None:
    values = batch.images.astype(float)
    for left, right in ((values[..., :-1], values[..., 1:]), (values[..., :-1, :], values[..., 1:, :])):
        assert 0.85 < np.corrcoef(left.ravel(), right.ravel())[0, 1] < 0.97
    gradient = np.diff(values.mean(axis=1), axis=2)
    kurtosis = (gradient**4).mean() / (gradient**2).mean() ** 2
    assert 5 < kurtosis < 15
    assert 100 < values.mean() < 150
    assert 50 < values.std() < 75


def test_channels_correlate_as_in_photographs(batch: SyntheticBatch) -> None:
    channels = np.corrcoef(batch.images.astype(float).transpose(1, 0, 2, 3).reshape(3, -1))
    assert 0.85 < channels[0, 1] < 0.97
    assert 0.85 < channels[1, 2] < 0.97
    assert 0.65 < channels[0, 2] < 0.9


def test_block_covariance_decays(batch: SyntheticBatch) -> None:
    blocks = batch.images.astype(float).reshape(-1, 3, 8, 4, 8, 4).transpose(0, 2, 4, 1, 3, 5).reshape(-1, 48)
    spectrum = np.linalg.eigvalsh(np.cov(blocks.T))[::-1]
    spectrum /= spectrum.sum()
    assert 0.65 < spectrum[0] < 0.85
    assert 0.1 < spectrum[1:4].sum() < 0.25
    assert 1e-7 < spectrum[47] < 1e-4


def test_no_short_cut_to_the_class() -> None:
    """A linear model on averaged pixels sees a little, not much: no colour or place gives a class away."""
    made = generate(range(3000))
    coarse = made.images.reshape(-1, 3, 8, 4, 8, 4).mean(axis=(3, 5)).reshape(3000, -1)
    coarse = (coarse - coarse.mean(axis=0)) / coarse.std(axis=0)
    train, test = slice(0, 2400), slice(2400, 3000)
    gram = coarse[train].T @ coarse[train] + 500 * np.eye(coarse.shape[1])
    weights = np.linalg.solve(gram, coarse[train].T @ np.eye(10)[made.labels[train]])
    accuracy = ((coarse[test] @ weights).argmax(axis=1) == made.labels[test]).mean()
    assert 0.11 < accuracy < 0.35


AREAS = {
    "disc": math.pi * 0.86**2,
    "square": 1.52**2,
    "triangle": 1.7 * 0.98,
    "star": 5 * 0.36**2 * (math.tan(math.radians(72)) - math.tan(math.radians(36))),
    "cross": 4 * 2 * 0.34 - 4 * 0.34**2,
    "ring": math.pi * (0.98**2 - 0.52**2),
    "hexagon": 2 * math.sqrt(3) * 0.84**2,
}


@pytest.mark.parametrize("name", AREAS)
def test_shape_covers_its_area(name: str) -> None:
    label = np.array([CLASSES.index(name)])
    x, y = (1.25 * grid[None] for grid in pixel_grid(200))
    coverage = cover(label, x, y, np.array([[80.0]], np.float32))
    assert coverage.mean() * 2.5**2 == pytest.approx(AREAS[name], rel=0.01)


def test_shapes_fit_their_circle_and_differ() -> None:
    x, y = (1.5 * grid[None] for grid in pixel_grid(96))
    drawn = [cover(np.array([label]), x, y, np.array([[32.0]], np.float32))[0] for label in range(10)]
    for one in drawn:
        assert np.hypot(x, y)[0][one > 0.5].max() < 1.2
    for i, one in enumerate(drawn):
        for other in drawn[:i]:
            assert np.abs(one - other).sum() / one.sum() > 0.05
    assert tuple(SHAPES) == CLASSES


def random_layers(rng: np.random.Generator, leaves: int) -> Layers:
    def draw(low: float, high: float, *shape: int) -> Floats:
        return rng.uniform(low, high, (2, leaves, *shape)).astype(np.float32)

    forms = [conic(draw(-1, 1, 2), draw(0, 3), (draw(2, 20), draw(0, 5)), draw(1, 4)) for _ in range(2)]
    return Layers(np.stack(forms, axis=2), draw(0, 1, 8))


@pytest.mark.parametrize("leaves", [1, 16, 37])
def test_composite_equals_the_painters_algorithm(leaves: int) -> None:
    layers = random_layers(np.random.default_rng(leaves), leaves)
    x, y = pixel_grid(20)
    front = np.random.default_rng(1).uniform(0, 1, (2, 400)).astype(np.float32)
    passed = front.copy()
    shown = composite(layers, x, y, passed)
    canvas, bare = np.zeros((2, 8, 400)), np.ones((2, 400))
    monomials = np.stack([x**0, x, y, x * x, x * y, y * y]).astype(float)
    for leaf in reversed(range(leaves)):
        alpha = np.clip((layers.conics[:, leaf].astype(float) @ monomials).min(axis=1), 0, 1)
        canvas += alpha[:, None] * (layers.paint[:, leaf, :, None] - canvas)
        bare *= 1 - alpha
    np.testing.assert_allclose(shown, canvas * front[:, None], atol=2e-4)
    np.testing.assert_allclose(passed, bare * front, atol=2e-4)


def test_conic_is_half_on_its_ellipse() -> None:
    center, angle = np.array([0.2, -0.1], np.float32), np.float32(0.7)
    t = np.linspace(0, 6, 20)
    x = 0.2 + 0.5 * np.cos(t) * np.cos(0.7) - 0.25 * np.sin(t) * np.sin(0.7)
    y = -0.1 + 0.5 * np.cos(t) * np.sin(0.7) + 0.25 * np.sin(t) * np.cos(0.7)
    curvatures = np.float32(1 / 0.5**2), np.float32(1 / 0.25**2)
    form = conic(center, np.asarray(angle), (np.asarray(curvatures[0]), np.asarray(curvatures[1])), np.array(7.0))
    values = form @ np.stack([x**0, x, y, x * x, x * y, y * y])
    np.testing.assert_allclose(values, 0.5, atol=1e-4)


@pytest.mark.parametrize("size", [32, 33])
def test_noise_fields_have_unit_variance_and_the_asked_slope(size: int) -> None:
    white = np.random.default_rng(0).standard_normal((600, 1, 2, size, size // 2 + 1), np.float32)
    ones = np.ones((600, 1), np.float32)
    fields = noise_fields(white, size, ones, 0 * ones, ones).reshape(600, size, size)
    assert fields.dtype == np.float32
    assert fields.var() == pytest.approx(1, abs=0.03)
    power = (np.abs(np.fft.fft2(fields)) ** 2).mean(axis=0)
    assert power[1:9, 0].sum() == pytest.approx(power[0, 1:9].sum(), rel=0.1)
    assert power[12, 0] / power[4, 0] == pytest.approx((4**2 + 4) / (12**2 + 4), rel=0.2)


def test_grain_lies_along_its_angle() -> None:
    white = np.random.default_rng(0).standard_normal((50, 1, 2, 32, 17), np.float32)
    ones = np.ones((50, 1), np.float32)
    fields = noise_fields(white, 32, ones, 0 * ones, 2 * ones).reshape(50, 32, 32)
    along_x, along_y = np.diff(fields, axis=2).var(), np.diff(fields, axis=1).var()
    assert along_y > 1.5 * along_x


def test_registry() -> None:
    assert {"tiny", "objects", "objects-64", "objects-224"} <= set(NAMES)
    assert NAMES["tiny"] == SyntheticSpec(32, {"train": 400, "test": 200})
    assert NAMES["objects-224"].size == 224
    for spec in NAMES.values():
        train, test = spec.indices("train"), spec.indices("test")
        assert (len(train), len(test)) == (spec.splits["train"], spec.splits["test"])
        assert not np.intersect1d(train, test).size


def test_splits_stay_disjoint_and_keep_their_images_as_they_grow() -> None:
    small, large = parse_name("tiny"), parse_name("objects")
    for split in ("train", "test"):
        assert np.array_equal(small.indices(split), large.indices(split)[: small.splits[split]])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("objects", SyntheticSpec(32, {"train": 6000, "test": 1000})),
        ("objects?n=500&size=64&seed=3", SyntheticSpec(64, {"train": 500, "test": 100}, 3)),
        ("tiny?n=50&test=7", SyntheticSpec(32, {"train": 50, "test": 7})),
        ("tiny?test=7", SyntheticSpec(32, {"train": 400, "test": 7})),
        ("tiny?n=3", SyntheticSpec(32, {"train": 3, "test": 1})),
    ],
)
def test_parse_name(name: str, expected: SyntheticSpec) -> None:
    assert parse_name(name) == expected


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("cats", "objects-224"),
        ("", "tiny"),
        ("objects?colour=1", "n, seed, size, test"),
        ("objects?n=0", "at least 1"),
        ("objects?n=-5", "whole number"),
        ("objects?n=many", "whole number"),
        ("objects?n=", "whole number"),
        ("objects?size=8", "at least 16"),
        ("objects?size=1e3", "whole number"),
    ],
)
def test_parse_name_refuses(name: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_name(name)


def test_unknown_split_lists_the_splits() -> None:
    with pytest.raises(UsageError, match="test, train"):
        NAMES["tiny"].indices("val")


BAD: list[tuple[object, int, int]] = [([-1], 32, 0), ([0.5], 32, 0), ([[1, 2]], 32, 0), ([1], 15, 0), ([1], 32, -1)]


@pytest.mark.parametrize(("indices", "size", "seed"), BAD)
def test_generate_refuses(indices: NDArray[np.int64], size: int, seed: int) -> None:
    with pytest.raises(UsageError):
        generate(indices, size, seed)
