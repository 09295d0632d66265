"""Which prior the covariance attack believes: forms of photos, the judge, and photos of another kind."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from cipherlens.attacks.base import View
from cipherlens.attacks.covariance import attack as attack_module
from cipherlens.attacks.covariance.attack import attack_covariance
from cipherlens.attacks.covariance.candidates import (
    FORMS,
    PARAMETRIC,
    PHOTOS,
    are_alike,
    choose,
    list_forms,
    list_priors,
)
from cipherlens.attacks.covariance.forms import pool, vary
from cipherlens.attacks.covariance.measured import ORIGINS
from cipherlens.attacks.covariance.search import Recovery, compare, recover
from cipherlens.attacks.covariance.statistics import block_statistics
from cipherlens.ciphers import create_cipher
from tests.attacks.test_covariance_parts import BLOCK, cartoons, draw_matrices, encrypt


@pytest.fixture(scope="module")
def photos():
    return cartoons(400, seed=1)


@pytest.fixture(scope="module")
def ct():
    return encrypt(cartoons(300, seed=2), draw_matrices(3))


def coarsen(images):
    """Another kind of picture: much blurred, as of another camera."""
    return gaussian_filter(images, (0, 0, 1.5, 1.5)).astype(np.float32)


def test_forms_are_whole_blocks_of_the_same_pictures(photos):
    forms = vary(photos[:20], BLOCK)
    assert [form.shape[2] for form in forms] == [32, 32, 32, 24, 16, 16]  # 0.6 of 32 are 19, 4 whole blocks
    for form in forms:
        assert form.dtype == np.float32 and form.shape[:2] == (20, 3) and form.min() >= 0 and form.max() <= 1
        kept = slice(0, round(form.shape[2] / (19.2 if form is forms[-1] else form.shape[2]) * 32))
        means = photos[:20, :, kept, kept].mean(axis=(2, 3))
        assert np.abs(form.mean(axis=(2, 3)) - means).max() < 0.06
    rough = [np.abs(np.diff(form, axis=3)).mean() for form in forms[:3]]
    assert rough[1] < rough[0] < rough[2]  # blurred, as it is, sharpened
    assert len(vary(photos[:4, :, :8, :8], BLOCK)) == 3  # reduced ones would be too small


def test_pooling_weights_forms_alike_whatever_their_contrast(photos):
    images = [photos[:200], photos[200:] * 0.2]
    pooled = pool(images, BLOCK, joint=False)
    first, second = (block_statistics(part, BLOCK) for part in images)
    shapes = [one.covariance / np.trace(one.covariance) for one in (first, second)]
    np.testing.assert_allclose(
        pooled.covariance / np.trace(pooled.covariance), (shapes[0] + shapes[1]) / 2, atol=1e-12
    )
    assert pooled.count == first.count + second.count and pooled.block == BLOCK
    np.testing.assert_allclose(pooled.mean, (first.mean + second.mean) / 2)
    alone = pool(images[:1], BLOCK, joint=True)
    np.testing.assert_allclose(alone.covariance, block_statistics(images[0], BLOCK, joint=True).covariance)


def test_photos_of_the_same_kind_are_recognised(photos, ct):
    for public, alike in ((photos, True), (coarsen(photos), False)):
        found = recover(ct, block_statistics(public, BLOCK), BLOCK)
        assert are_alike(found, public, len(ct), joint=False) == alike, found.agreement
    # With one or two photos, or ciphertexts, nothing can be told.
    assert are_alike(replace(found, agreement=0.0), photos[:1], 300, joint=False) is None
    assert are_alike(replace(found, agreement=0.0), photos[:2], 300, joint=False) is None
    assert compare(block_statistics(photos[::2], BLOCK), block_statistics(photos[1::2], BLOCK)) > 0.9


def test_the_sparsest_result_wins_and_small_photos_are_in_no_other_form(photos, ct):
    plain = cartoons(300, seed=2)

    def give(matrices):
        return Recovery(encrypt(plain, matrices), matrices, np.zeros((3, BLOCK**2)), BLOCK, 0.0, 0.5, ())

    unit = np.repeat(np.eye(BLOCK**2)[None], 3, axis=0)
    mess = np.linalg.qr(np.random.default_rng(0).normal(size=(BLOCK**2, BLOCK**2)))[0]
    wrong, right = give(np.repeat(mess[None], 3, axis=0)), give(unit)

    def keep(found, _):
        return found

    def begin(prior):
        yield results[prior.count]

    photo_prior = block_statistics(photos, BLOCK)
    priors = {PHOTOS: photo_prior} | list_forms(photo_prior, photos, plain) | list_priors((), BLOCK, 3, False)
    assert list(priors) == [PHOTOS, FORMS, PARAMETRIC]
    assert priors[FORMS].count > 2 * photo_prior.count and not list_forms(photo_prior, photos[..., :12, :12], plain)
    for name, prior in priors.items():
        results = {one.count: right if one is prior else wrong for one in priors.values()}
        known = {PHOTOS: results[photo_prior.count]}
        assert choose(priors, begin, keep, known) == (right, prior, name)
    # What refinement makes of a result decides.
    results = {one.count: wrong for one in priors.values()}
    chosen = choose(priors, begin, lambda _, prior: right if prior is photo_prior else wrong, {PHOTOS: wrong})
    assert chosen == (right, photo_prior, PHOTOS)


def test_the_attack_says_which_prior_it_believed(photos, ct, monkeypatch):
    cipher = create_cipher("hill", block=BLOCK)
    _, alike = attack_covariance(View(cipher, ct, photos))
    _, blind = attack_covariance(View(cipher, ct, None), origins=())
    assert (alike["prior"], blind["prior"]) == (PHOTOS, PARAMETRIC)
    _, blind = attack_covariance(View(cipher, ct, None))
    assert blind["prior"] in list_priors(ORIGINS, BLOCK, 3, False)
    inverse, others = attack_covariance(View(cipher, ct, coarsen(photos)))
    assert others["prior"] != PHOTOS and others["searches"] == 8  # one that agrees
    monkeypatch.setattr(attack_module, "are_alike", lambda *_: True)
    before, plainly = attack_covariance(View(cipher, ct, coarsen(photos)))
    assert plainly["prior"] == PHOTOS
    plain = cartoons(300, seed=2)
    scores = [np.corrcoef(found.apply(ct).ravel(), plain.ravel())[0, 1] for found in (before, inverse)]
    assert scores[1] >= scores[0]
