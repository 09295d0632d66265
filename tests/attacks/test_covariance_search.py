"""The ciphertext-only attack: reads generated images, learns nothing from noise, and its parts equal slow ones."""

import numpy as np
import pytest

from cipherlens.attacks import ATTACKS
from cipherlens.attacks.covariance.prior import parametric_statistics
from cipherlens.attacks.covariance.search import recover
from cipherlens.attacks.covariance.statistics import block_statistics
from cipherlens.ciphers import create_cipher
from cipherlens.data.synthetic import dataset as synthetic
from cipherlens.errors import CipherlensError, UsageError
from cipherlens.evaluation.controls import run_controls
from cipherlens.evaluation.harness import evaluate
from cipherlens.evaluation.target import Target
from cipherlens.keys import Key

HILL = create_cipher("hill", block=4)


def make(indices):
    return synthetic.generate(indices).images


@pytest.fixture(scope="module")
def images():
    """300 images to attack and 300 public ones."""
    return make(range(300)), make(range(1000, 1300))


def unit(images):
    return images.astype(np.float32) / 255


def seal(plain, number=0, **params):
    return (
        create_cipher("hill", **{"block": 4, **params})
        .bind(Key(bytes([number]) * 32), plain.shape[1:])
        .encrypt(plain)
    )


def make_target(plain, public, ct):
    return Target(HILL, plain, ct, public, "other images")


@pytest.mark.parametrize("orthogonal", [False, True])
def test_reads_the_pictures_from_ciphertexts_alone(images, orthogonal):
    plain, public = images
    result = evaluate(ATTACKS["covariance"], make_target(plain, public, seal(plain, orthogonal=orthogonal)), 300)
    assert result.ssim > 0.9
    assert result.beats_guessing
    assert result.guess_ssim < 0.4


def test_controls(images):
    plain, public = images
    outcomes = {
        c.control: c for c in run_controls(ATTACKS["covariance"], make_target(plain, public, seal(plain)), 250)
    }
    assert outcomes["identity"].ssim > 0.9
    assert outcomes["stream"].ssim < 0.1
    assert all(control.passed for control in outcomes.values())


def test_the_key_does_not_matter(images):
    """Second order statistics are all the attack uses: every key gives nearly the same pictures."""
    plain, public = images
    prior = block_statistics(unit(public), 4)
    first, second = (recover(seal(plain, number), prior, 4).reconstruction for number in (1, 2))
    assert np.abs(first - second).mean() < 0.02


def test_map_decrypts_images_it_has_not_seen(images):
    plain, public = images
    ct = seal(plain)
    found = recover(ct[:200], block_statistics(unit(public), 4), 4)
    error = np.abs(found.decrypt(ct[200:]) - unit(plain[200:])).mean()
    assert error < 0.06
    assert np.abs(found.decrypt(seal(plain, number=9)[200:]) - unit(plain[200:])).mean() > 3 * error


def test_same_seed_same_result(images):
    plain, public = images
    prior, ct = block_statistics(unit(public), 4), seal(plain)
    assert np.array_equal(
        recover(ct, prior, 4, seed=3).reconstruction, recover(ct, prior, 4, seed=3).reconstruction
    )


def test_without_public_images(images):
    plain, _ = images
    target = Target(HILL, plain, seal(plain), None, "parametric, no images")
    result = evaluate(ATTACKS["covariance"], target, 300)
    assert 0.5 < result.ssim <= 1
    assert result.beats_guessing


def test_a_single_image_gives_something_finite(images):
    plain, public = images
    found = recover(seal(plain[:1]), block_statistics(unit(public), 4), 4)
    assert np.isfinite(found.reconstruction).all()


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_any_number_of_channels(images, channels):
    plain, public = (np.concatenate([part, part[:, :1, ::-1]], axis=1)[:, :channels] for part in images)
    found = recover(seal(plain), block_statistics(unit(public), 4), 4)
    assert np.corrcoef(found.reconstruction[:, 0].ravel(), unit(plain)[:, 0].ravel())[0, 1] > 0.9


def test_statistics_equal_loops():
    """Mean and displaced covariances against loops over blocks, without the activity normalisation's effect."""
    plain = unit(make(range(4)))[:, :2, :16, :12]
    statistics = block_statistics(plain, 4)
    blocks = [
        plain[n, :, y : y + 4, x : x + 4].reshape(2, 16)
        for n in range(4)
        for y in range(0, 16, 4)
        for x in range(0, 12, 4)
    ]
    np.testing.assert_allclose(statistics.mean, np.mean(blocks, axis=0), atol=1e-5)
    assert statistics.count == len(blocks)


def test_statistics_move_with_the_key_as_they_should(images):
    """C' = K^T C K for every pair of channels and every displacement: the identity that the attack rests on."""
    plain = images[0]
    bound = HILL.bind(Key(bytes(32)), plain.shape[1:])
    before, after = block_statistics(unit(plain), 4), block_statistics(bound.encrypt(plain), 4)
    for dy, dx in ((0, 0), (0, 1), (1, 0), (1, -1)):
        expected = np.einsum("cij,cidk,dkl->cjdl", bound.matrices, before.displaced(dy, dx), bound.matrices)
        np.testing.assert_allclose(after.displaced(dy, dx), expected, atol=2e-3 * np.abs(expected).max())


def test_parametric_prior_has_the_shape_of_images(images):
    """Within a channel and between two; how much colours vary differs between image sets and is not compared."""
    model, measured = parametric_statistics(4, 3), block_statistics(unit(images[1]), 4)
    for dy, dx in ((0, 0), (0, 1), (1, 0)):
        for first, second in ((0, 0), (1, 1), (2, 2), (0, 1)):
            a, b = (s.displaced(dy, dx)[first, :, second].ravel() for s in (model, measured))
            assert np.corrcoef(a, b)[0, 1] > 0.95


def test_what_cannot_work_is_refused(images):
    plain, public = images
    prior = block_statistics(unit(public), 4)
    with pytest.raises(UsageError, match="channels"):
        recover(unit(plain[:, :2]), prior, 4)
    with pytest.raises(UsageError, match="blocks of"):
        recover(unit(plain), prior, 8)
    with pytest.raises(CipherlensError):
        block_statistics(np.full((2, 3, 16, 16), np.nan, np.float32), 4)
    with pytest.raises(CipherlensError):
        block_statistics(unit(plain[:, :, :30]), 4)
