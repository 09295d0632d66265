"""Priors measured on photos: what is stored is what was measured, and the sparsest pictures decide among them."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from cipherlens.attacks.covariance.attack import CovarianceAttack
from cipherlens.attacks.covariance.candidates import (
    PARAMETRIC,
    choose,
    list_priors,
)
from cipherlens.attacks.covariance.measured import (
    BLOCKS,
    ORIGINS,
    STORED,
    _unpack,
    measured_statistics,
    pack,
    symmetries,
)
from cipherlens.attacks.covariance.prior import parametric_statistics
from cipherlens.attacks.covariance.search import Recovery
from cipherlens.attacks.covariance.statistics import SPAN, BlockStatistics

pytest.importorskip("torch")


def mirror(covariance: np.ndarray, side: int) -> np.ndarray:
    grid = covariance.reshape((side,) * 4)
    grid = (grid + grid[::-1, :, ::-1, :]) / 2
    return ((grid + grid[:, ::-1, :, ::-1]) / 2).reshape(covariance.shape)


@pytest.mark.parametrize("block", [2, 4, 5])
def test_bases_are_of_mirrored_pictures(block: int) -> None:
    side = SPAN * block
    bases = list(symmetries(block))
    assert np.allclose(np.vstack(bases) @ np.vstack(bases).T, np.eye(side**2))
    pictures = [basis.reshape(-1, side, side) for basis in bases]
    for picture, (down, across) in zip(pictures, [(1, 1), (1, -1), (-1, 1), (-1, -1)], strict=True):
        assert np.allclose(picture[:, ::-1], down * picture)
        assert np.allclose(picture[:, :, ::-1], across * picture)


@pytest.mark.parametrize("block", [2, 4])
def test_what_is_stored_comes_back(block: int) -> None:
    side, rng = SPAN * block, np.random.default_rng(block)
    drawn = rng.normal(size=(side**2, side**2))
    covariance = mirror(drawn @ drawn.T, side)
    deviations, correlations = pack(covariance, block)
    assert (deviations.dtype, correlations.dtype) == (np.float32, np.float16)
    back = _unpack(deviations, correlations.astype(np.float32), block)
    assert np.abs(back - covariance).max() < 0.002 * np.abs(covariance).max()
    assert np.linalg.eigvalsh(back)[0] > 0


def show_grid(found: BlockStatistics, channels: int) -> float:
    """How much more pixels differ across the border of two blocks than inside of one."""
    block = found.block
    rows = np.arange(block) * block

    def differ(left: np.ndarray, right: np.ndarray) -> float:
        covariance = found.covariance
        return float((covariance[left, left] + covariance[right, right] - 2 * covariance[left, right]).mean())

    inside = differ(rows + block // 2 - 1, rows + block // 2)
    return differ(rows + block - 1, rows + channels * block**2) / inside


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("block", BLOCKS)
def test_measured_statistics_are_as_others(block: int, channels: int, joint: bool) -> None:
    common = parametric_statistics(block, channels, joint)
    for origin in ORIGINS:
        photos, jpeg = (measured_statistics(origin, form, block, channels, joint) for form in STORED)
        for found in (photos, jpeg):
            assert found.covariance.shape == common.covariance.shape and found.mean.shape == common.mean.shape
            assert np.trace(found.covariance) == pytest.approx(np.trace(common.covariance))
            assert np.linalg.eigvalsh(found.covariance)[0] > 0
            near = found.covariance[0, 1] / found.covariance[0, 0]  # two pixels side by side
            assert 0.8 < near < 1
        if block == 8:  # JPEG's own grid is seen
            assert show_grid(jpeg, channels) > 1.03 * show_grid(photos, channels)


def test_priors_are_those_that_fit() -> None:
    assert list(list_priors((), 8, 3, False)) == [PARAMETRIC]
    assert list(list_priors(ORIGINS, 16, 3, False)) == [PARAMETRIC]
    assert list(list_priors(ORIGINS, 4, 4, False)) == [PARAMETRIC]
    assert list(list_priors(ORIGINS[:1], 4, 1, True)) == [PARAMETRIC, *(f"{ORIGINS[0]}, {form}" for form in STORED)]


def test_the_attacked_origin_is_left_out() -> None:
    attack = CovarianceAttack()
    assert attack.leave_out("folder/imagenette-224?size=32").origins == ["camvid"]
    assert attack.leave_out("synthetic:tiny").origins == list(ORIGINS) == list(attack.origins)


def test_the_sparsest_pictures_decide_and_the_search_goes_on_there() -> None:
    """Noise as pictures, more with each prior but one; that one's second search ends lower."""
    rng = np.random.default_rng(0)
    lines = np.repeat(rng.random((4, 3, 32, 4)), 8, axis=3).astype(np.float32)
    priors = {name: replace(parametric_statistics(4, 3), brightness=float(i)) for i, name in enumerate("abc")}
    noise = {0.0: 0.3, 1.0: 0.0, 2.0: 0.2}
    tried: list[tuple[float, int]] = []

    def begin(prior: BlockStatistics) -> Iterator[Recovery]:
        for number, objective in enumerate((5.0, 3.0, 3.005, 1.0)):
            tried.append((prior.brightness, number))
            picture = lines + noise[prior.brightness] * rng.random(lines.shape, np.float32)
            yield Recovery(picture, np.eye(16)[None], np.zeros((1, 16)), 4, objective, 0.0, ())

    settled: list[tuple[float, float]] = []

    def settle(found: Recovery, prior: BlockStatistics) -> Recovery:
        settled.append((prior.brightness, found.objective))
        return replace(found, agreement=1.0)

    found, prior, name = choose(priors, begin, settle, {})
    assert (name, prior.brightness, found.objective, found.agreement) == ("b", 1.0, 3.0, 1.0)
    assert tried == [(0.0, 0), (1.0, 0), (2.0, 0), (1.0, 1), (1.0, 2)]  # two have agreed
    assert settled == [(1.0, 5.0), (2.0, 5.0), (1.0, 3.0)]  # the noisiest is not refined
