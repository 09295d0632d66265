"""MS-SSIM and ST-LPIPS: right where they can be measured, None where they cannot."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchmetrics")
from scipy.ndimage import correlate1d  # noqa: E402
from scipy.signal import correlate  # noqa: E402

from cipherlens.attacks import ATTACKS  # noqa: E402
from cipherlens.attacks.base import Attack, to_unit  # noqa: E402
from cipherlens.ciphers import create_cipher  # noqa: E402
from cipherlens.ciphers.threat_models import CIPHERTEXT_ONLY  # noqa: E402
from cipherlens.evaluation import perceptual  # noqa: E402
from cipherlens.evaluation.harness import evaluate  # noqa: E402
from cipherlens.evaluation.metrics import (  # noqa: E402
    find_most_exposed,
    interval_within,
    mean_similarity,
    multiscale_similarity,
    score,
)
from cipherlens.evaluation.perceptual import perceptual_distance  # noqa: E402
from cipherlens.evaluation.target import Target  # noqa: E402

LAYERS = (("slice1.0", 3, 11), ("slice2.5", 4, 5), ("slice3.9", 2, 3), ("slice4.11", 3, 3), ("slice5.13", 5, 3))
WIDTHS = (4, 2, 3, 5, 2)


def pictures(count: int, side: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Smooth pictures in [0, 1]."""
    noise = np.random.default_rng(seed).normal(size=(count, channels, side, side))
    for axis in (2, 3):
        noise = correlate1d(noise, np.ones(9) / 3, axis=axis)
    return (0.5 + 0.15 * noise).clip(0, 1).astype(np.float32)


def add_noise(images: np.ndarray, deviation: float) -> np.ndarray:
    noise = np.random.default_rng(9).normal(0, deviation, images.shape)
    return (images + noise).clip(0, 1).astype(np.float32)


def compare_scales(first: np.ndarray, second: np.ndarray) -> float:
    """Wang, Simoncelli, Bovik 2003, one channel: contrast and structure at five scales, luminance at the last."""
    window = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    window /= window.sum()

    def smooth(image: np.ndarray) -> np.ndarray:
        return correlate1d(correlate1d(image, window, axis=0, mode="mirror"), window, axis=1, mode="mirror")

    total = 1.0
    for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        a, b = smooth(first), smooth(second)
        spread = smooth(first**2) - a**2 + smooth(second**2) - b**2
        structure = (2 * (smooth(first * second) - a * b) + 0.03**2) / (spread + 0.03**2)
        whole = structure * (2 * a * b + 0.01**2) / (a**2 + b**2 + 0.01**2)
        last = scale == 4
        total *= max(0.0, (whole if last else structure[5:-5, 5:-5]).mean()) ** weight
        even = [image[: len(image) // 2 * 2, : len(image) // 2 * 2] for image in (first, second)]
        first, second = (image.reshape(len(image) // 2, 2, -1, 2).mean(axis=(1, 3)) for image in even)
    return total


def test_ms_ssim_equals_a_slow_reference() -> None:
    plain = pictures(3, 180, channels=1)
    for deviation in (0.05, 0.3):
        found = multiscale_similarity(add_noise(plain, deviation), plain)
        noisy = add_noise(plain, deviation).astype(np.float64)
        slow = [compare_scales(a[0], b[0]) for a, b in zip(noisy, plain.astype(np.float64), strict=True)]
        assert found is not None and np.allclose(found, slow, atol=2e-4)
        assert 0.2 < found.min() < found.max() < 0.999


def test_ms_ssim_needs_room_for_five_scales() -> None:
    large = pictures(2, 176)
    assert score(large, large).ms_ssim == pytest.approx([1, 1], abs=1e-5)
    for height, width in ((175, 300), (300, 175), (32, 32)):
        images = np.zeros((1, 3, height, width), np.float32)
        assert score(images, images).ms_ssim is None


def test_mean_similarity_is_that_of_all_scores() -> None:
    plain = pictures(4, 24)
    found = add_noise(plain, 0.2) * 3 - 1
    found[0, 0, 0, 0] = np.nan
    assert mean_similarity(found, plain) == score(found, plain).ssim.mean()


def forget() -> None:
    perceptual._load_weights.cache_clear()


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict]:
    """A package with the weights of a small network made up at random."""
    rng = torch.Generator().manual_seed(0)
    made = {"scaling_layer.shift": torch.tensor([-0.03, -0.09, -0.19]).reshape(1, 3, 1, 1)}
    made["scaling_layer.scale"] = torch.tensor([0.46, 0.45, 0.4]).reshape(1, 3, 1, 1)
    before = 3
    for number, ((name, _, size), width) in enumerate(zip(LAYERS, WIDTHS, strict=True)):
        made[f"net.{name}.weight"] = torch.randn(width, before, size, size, generator=rng) / size
        made[f"net.{name}.bias"] = torch.rand(width, generator=rng)
        made[f"lin{number}.model.1.weight"] = torch.rand(1, width, 1, 1, generator=rng)
        before = width
    path = tmp_path / perceptual._PACKAGE / perceptual._FILE
    path.parent.mkdir(parents=True)
    torch.save(made, path)
    (tmp_path / perceptual._PACKAGE / "__init__.py").write_text("raise ImportError('its code is not run')")
    monkeypatch.syspath_prepend(str(tmp_path))
    forget()
    yield made
    forget()


def look_slowly(weights: dict, image: np.ndarray) -> list[np.ndarray]:
    """The network on one image (3, H, W) in [0, 1], with loops over channels."""
    blur = np.outer([1, 2, 1], [1, 2, 1]) / 16

    def convolve(maps: np.ndarray, name: str, padding: int) -> np.ndarray:
        kernels, biases = (weights[f"net.{name}.{part}"].numpy() for part in ("weight", "bias"))
        padded = np.pad(maps, ((0, 0), (padding, padding), (padding, padding)))
        return np.stack(
            [
                correlate(padded, k, mode="valid", method="direct")[0] + b
                for k, b in zip(kernels, biases, strict=True)
            ]
        )

    def halve(maps: np.ndarray) -> np.ndarray:
        padded = np.pad(maps, ((0, 0), (2, 2), (2, 2)), mode="reflect")
        return np.stack([correlate(one, blur, mode="valid", method="direct")[::2, ::2] for one in padded])

    def pool(maps: np.ndarray) -> np.ndarray:
        return np.lib.stride_tricks.sliding_window_view(maps, (3, 3), (1, 2)).max((3, 4))

    scaled = (2 * image - 1 - weights["scaling_layer.shift"][0].numpy()) / weights["scaling_layer.scale"][0].numpy()
    maps = [np.maximum(halve(convolve(scaled, "slice1.0", 2)), 0)]
    maps.append(np.maximum(convolve(halve(pool(maps[-1])), "slice2.5", 2), 0))
    maps.append(np.maximum(convolve(halve(pool(maps[-1])), "slice3.9", 1), 0))
    maps.append(np.maximum(convolve(maps[-1], "slice4.11", 1), 0))
    maps.append(np.maximum(convolve(maps[-1], "slice5.13", 1), 0))
    return maps


def test_st_lpips_equals_a_slow_reference(weights: dict) -> None:
    first, second = pictures(2, 23), pictures(2, 23, seed=1)
    found = perceptual_distance(first, second)
    for one, two, value in zip(first, second, found, strict=True):
        slow = 0.0
        for number, maps in enumerate(zip(look_slowly(weights, one), look_slowly(weights, two), strict=True)):
            a, b = (m / (np.sqrt((m**2).sum(0)) + 1e-10) for m in maps)
            line = weights[f"lin{number}.model.1.weight"].numpy()[0]
            slow += ((a - b) ** 2 * line).sum(0).mean()
        assert value == pytest.approx(slow, rel=1e-4)
        assert slow > 0.01


def test_st_lpips_where_it_can_be_measured(weights: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = pictures(5, 32)
    assert perceptual_distance(plain, plain).tolist() == [0] * 5
    noisy = add_noise(plain, 0.1)
    whole = perceptual_distance(noisy, plain)
    monkeypatch.setattr(perceptual, "_BATCH_PIXELS", 2 * 32 * 32)
    assert np.allclose(perceptual_distance(noisy, plain), whole, rtol=1e-5)
    grey, other = plain[:, :1], noisy[:, :1]
    assert np.array_equal(
        perceptual_distance(grey, other), perceptual_distance(*(g.repeat(3, 1) for g in (grey, other)))
    )
    assert perceptual_distance(plain[..., :21, :21], noisy[..., :21, :21]) is not None
    for images in (plain[..., :20], np.zeros((1, 2, 32, 32), np.float32), np.zeros((1, 4, 32, 32), np.float32)):
        assert perceptual_distance(images, images) is None
    monkeypatch.setattr(perceptual, "_MOST_IMAGES", 3)
    assert np.allclose(perceptual_distance(noisy, plain), whole[:3], rtol=1e-5)
    monkeypatch.setattr(perceptual, "_MOST_PIXELS", 2 * 32 * 32)
    assert len(perceptual_distance(noisy, plain)) == 2


def test_the_limits_are_what_the_network_takes(weights: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    """At 20 pixels there is nothing to reflect: the bound is neither too high nor too low."""
    monkeypatch.setattr(perceptual, "_SMALLEST", 1)
    with pytest.raises(RuntimeError, match=r"[Pp]adding"):
        perceptual_distance(pictures(1, 20), pictures(1, 20))


def evaluate_identity(side: int) -> dict:
    plain = (255 * pictures(6, side)).round().astype(np.uint8)
    target = Target(create_cipher("hill", block=4), plain, plain, None, "")
    return evaluate(ATTACKS["known-plaintext"], target, 1).to_json()


def test_in_every_record(weights: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    record = evaluate_identity(24)
    assert record["ms_ssim"] is None
    assert record["st_lpips"] == pytest.approx(0, abs=1e-3)
    assert evaluate_identity(176)["ms_ssim"] == pytest.approx(1, abs=1e-3)
    sys.path.pop(0)
    importlib.invalidate_caches()
    forget()
    if importlib.util.find_spec(perceptual._PACKAGE) is None:
        assert evaluate_identity(24)["st_lpips"] is None


@pytest.mark.skipif(
    importlib.util.find_spec(perceptual._PACKAGE) is None, reason="the extra perceptual is not there"
)
def test_with_the_published_weights() -> None:
    forget()
    plain = pictures(3, 64)
    little, much = (perceptual_distance(add_noise(plain, deviation), plain).mean() for deviation in (0.02, 0.2))
    assert 0.0005 < little < 0.05 < much < 1.2


def test_the_most_exposed_images_are_not_hidden_by_the_mean():
    values = np.zeros(1000)
    values[[3, 500]] = 1.0
    values[500] = 0.9
    assert len(find_most_exposed(values)) == 10 and find_most_exposed(values)[:2].tolist() == [3, 500]
    assert find_most_exposed(values[:100]).tolist() == [3, 0, 1]
    assert find_most_exposed(np.array([0.2, 0.4])).tolist() == [1, 0]


def test_one_image_is_judged_by_its_parts():
    plain = pictures(1, 96, channels=1)
    assert interval_within(1.0, plain, plain) == (1.0, 1.0)
    even = add_noise(plain, 0.05)
    uneven = plain.copy()
    uneven[..., :48] = add_noise(plain, 0.5)[..., :48]  # half of it is read
    widths = []
    for found in (even, uneven):
        mean = mean_similarity(found, plain)
        low, high = interval_within(mean, found, plain)
        assert low < mean < high and (low + high) / 2 == pytest.approx(mean)
        widths.append(high - low)
    assert widths[0] < 0.1 < widths[1]
    assert interval_within(0.5, plain[..., :43], plain[..., :43]) == (-1.0, 1.0)  # no two parts of 22 pixels
    corners = [plain[0, :, a : a + 24, b : b + 24] for a in range(0, 96, 24) for b in range(0, 96, 24)]
    noisy = [even[0, :, a : a + 24, b : b + 24] for a in range(0, 96, 24) for b in range(0, 96, 24)]
    scores = np.array([mean_similarity(n[None], c[None]) for n, c in zip(noisy, corners, strict=True)])
    assert widths[0] == pytest.approx(2 * 1.96 * scores.std(ddof=1) / 4, rel=1e-3)


class Copy(Attack):
    name = "copy"
    threat_model = CIPHERTEXT_ONLY
    summary = "takes the ciphertexts for the pictures"

    @classmethod
    def supports(cls, cipher, plain_shape, sealed_shape):
        return True

    def run(self, view):
        return to_unit(np.asarray(view.ciphertexts)), {}


@pytest.mark.parametrize(("side", "beats"), [(64, True), (40, False)])
def test_one_image_beats_guessing_only_where_it_has_parts(side, beats):
    plain = np.random.default_rng(0).integers(0, 256, (1, 3, side, side), dtype=np.uint8)
    result = evaluate(Copy(), Target(create_cipher("identity"), plain, plain, None, "none", None), 1)
    assert (result.n, result.ssim, result.beats_guessing) == (1, pytest.approx(1), beats)
