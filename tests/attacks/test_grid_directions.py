"""Large permutations of pixels: a grid is found from the nearest relations of its places."""

import numpy as np
import pytest

from cipherlens.attacks import View
from cipherlens.attacks.positions.grid_directions import arrange_lattice, find_nearest
from cipherlens.attacks.positions.phases import fill_grid, snap, unwrap
from cipherlens.attacks.positions.pixel_correlation import attack_correlation
from cipherlens.ciphers import create_cipher

HEIGHT, WIDTH = 64, 80


def clouds(count: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Pictures with a power-law spectrum, (count, height * width), with independent noise."""
    rng = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(2 * height)[:, None], np.fft.fftfreq(2 * width)[None]) + 0.01
    drawn = np.fft.ifft2(np.fft.fft2(rng.normal(size=(count, 2 * height, 2 * width))) * frequency**-1.4).real
    drawn = drawn[:, :height, :width].reshape(count, -1)
    drawn -= drawn.mean(axis=1, keepdims=True)
    return (drawn / drawn.std(axis=1, keepdims=True) + rng.normal(0, 0.02, drawn.shape)).astype(np.float32)


def shuffle(pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.random.default_rng(1).permutation(pictures.shape[1])
    return pictures[:, order], order


def count_right(laid: np.ndarray, height: int, width: int) -> float:
    """The share of places that are right, in the best of the ways to lay the picture."""
    laid, truth = laid.reshape(height, width), np.arange(height * width).reshape(height, width)
    ways = [np.rot90(view, turns) for view in (laid, laid[:, ::-1]) for turns in range(4)]
    return max(float((way == truth).mean()) for way in ways if way.shape == truth.shape)


@pytest.mark.parametrize(("height", "width"), [pytest.param(72, 72, marks=pytest.mark.full), (64, 80), (80, 64)])
def test_pixels_are_put_in_their_places(height: int, width: int) -> None:
    pictures, order = shuffle(clouds(800, height, width))
    view = View(create_cipher("pixel-permutation"), pictures.reshape(-1, 1, height, width))
    inverse, details = attack_correlation(view)
    found = inverse.apply(view.ciphertexts)
    assert details["regularity"] > 0.9
    numbers = order.astype(np.float32).reshape(1, 1, height, width)
    told, _ = attack_correlation(
        View(create_cipher("pixel-permutation"), np.concatenate([view.ciphertexts, numbers]))
    )
    assert count_right(told.apply(numbers)[0], height, width) > 0.9
    assert np.array_equal(np.sort(found[0].ravel()), np.sort(pictures[0]))


def test_fewer_pictures_tell_less() -> None:
    pictures, order = shuffle(clouds(800))
    found = [arrange(part) for part in (pictures[:30], pictures[:60], pictures)]
    shares, regular = [order_right(order, source) for source, _ in found], [coherence for _, coherence in found]
    assert shares == sorted(shares)
    assert regular == sorted(regular)
    assert shares[0] < 0.8 < shares[-1]


def arrange(pictures: np.ndarray) -> tuple[np.ndarray, float]:
    pictures = pictures - pictures.mean(axis=0)
    return arrange_lattice(pictures / np.linalg.norm(pictures, axis=0), HEIGHT, WIDTH)


def order_right(order: np.ndarray, source: np.ndarray) -> float:
    return count_right(order[source], HEIGHT, WIDTH)


def test_noise_is_left_as_it_is() -> None:
    noise = np.random.default_rng(2).normal(size=(300, HEIGHT * WIDTH)).astype(np.float32)
    source, regular = arrange(noise)
    assert np.array_equal(source, np.arange(HEIGHT * WIDTH))
    assert regular == 0


def test_the_nearest_are_those_that_a_full_comparison_finds() -> None:
    vectors = np.random.default_rng(3).normal(size=(1500, 8)).astype(np.float32)
    alike = vectors @ vectors.T
    np.fill_diagonal(alike, -np.inf)
    slow = np.argsort(-alike, axis=1)[:, :12]
    assert np.array_equal(find_nearest(vectors), slow)


@pytest.mark.parametrize("shape", [(40, 40), (30, 52)])
def test_a_smooth_field_is_unwrapped(shape: tuple[int, int]) -> None:
    rows, columns = np.indices(shape)
    field = 3 * np.sin(rows / 14) + 0.002 * columns**2 - 0.1 * columns
    found = unwrap(field - np.rint(field))
    assert np.allclose(found - found.mean(), field - field.mean(), atol=1e-9)


def test_a_bent_map_is_made_whole() -> None:
    """Bent by up to two pixels, with scatter, moved as a whole, and in any order."""
    rng = np.random.default_rng(4)
    truth = np.indices((HEIGHT, WIDTH)).reshape(2, -1).T.astype(float)
    bent = truth + 2 * np.sin(truth[:, ::-1] / 18) + rng.normal(0, 0.08, truth.shape) + [2.3, -1.4]
    order = rng.permutation(len(truth))
    plane, regular = snap(bent[order], HEIGHT, WIDTH)
    source = fill_grid(plane, HEIGHT, WIDTH)
    assert np.array_equal(np.sort(source), np.arange(len(truth)))
    assert (order[source] == np.arange(len(truth))).mean() > 0.99
    assert regular > 0.8


def test_what_is_left_over_fills_the_holes() -> None:
    plane = np.array([[0.0, 0.1], [0.1, 0.3], [0.0, 2.0], [0.9, 0.0], [1.0, 1.0], [1.0, 2.0]])
    assert fill_grid(plane, 2, 3).tolist() == [0, 1, 2, 3, 4, 5]
