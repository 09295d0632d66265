"""Keys with orthogonal matrices keep lengths: what that tells of maps, and of colours."""

from itertools import permutations

import numpy as np
import pytest

pytest.importorskip("torch")

from cipherlens.attacks.base import View
from cipherlens.attacks.covariance import attack as attack_module
from cipherlens.attacks.covariance.attack import attack_covariance
from cipherlens.attacks.covariance.orthogonal.colours import find_turn, order_colours
from cipherlens.attacks.covariance.orthogonal.lengths import keep_lengths, measure_lengths
from cipherlens.attacks.covariance.search import Recovery
from cipherlens.ciphers import create_cipher
from cipherlens.ciphers.blockmaps import apply_maps
from cipherlens.ciphers.estimated_inverse import BlockInverse
from cipherlens.keys import Key
from tests.attacks.test_covariance_parts import BLOCK, cartoons

SIZE = 3 * BLOCK**2
KEY = Key(bytes(range(32)))
AXES = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])


def paint(images):
    """Cartoons with colours as in photos: mostly grey, warm ones stronger than cold ones."""
    grey, warm = images.mean(axis=1), images[:, 0] - images[:, 1]
    warm = np.where(warm > 0, 0.6, 0.4) * warm
    red_and_blue = (images[:, 2] - images[:, :2].mean(axis=1)) * np.where(warm > 0, 0.4, 0.1) + 0.01
    return np.einsum("knhw,kc->nchw", np.stack([np.sqrt(3) * grey, warm, red_and_blue]), AXES).astype(np.float32)


@pytest.fixture(scope="module")
def plain():
    return paint(cartoons(300, seed=2))


def likeness(one, other):
    return np.corrcoef(one.ravel(), other.ravel())[0, 1]


def seal(plain, name, **params):
    cipher = create_cipher(name, block=BLOCK, **params)
    return cipher, cipher.bind(KEY, plain.shape[1:]).encrypt(plain)


def test_colours_are_turned_as_in_photos(plain):
    for number in range(5):
        mixed = np.linalg.qr(np.random.default_rng(number).normal(size=(3, 3)))[0]
        turn = find_turn(np.einsum("nchw,cd->ndhw", plain, mixed))
        np.testing.assert_allclose(turn.T @ turn, np.eye(3), atol=1e-9)
        assert np.trace(mixed @ turn) > 2.95


def test_exchanged_colours_are_put_in_order(plain):
    for order in permutations(range(3)):
        places = np.arange(SIZE).reshape(3, -1)[list(order)].ravel()
        inverse = BlockInverse(
            shape=plain.shape[1:], block=BLOCK, matrices=np.eye(SIZE)[None], offsets=np.arange(SIZE)[None] / 1e9
        )
        found = order_colours(inverse, plain[:, list(order)])
        np.testing.assert_allclose(found.apply(plain[:, list(order)]), plain, atol=1e-6)
        np.testing.assert_array_equal(np.round(found.offsets[0] * 1e9)[places], np.arange(SIZE))


def test_the_nearest_orthogonal_map_has_the_colours_of_photos(plain):
    random = np.random.default_rng(0)
    key = np.linalg.qr(random.normal(size=(SIZE, SIZE)))[0]
    ct = apply_maps(plain, BLOCK, key[None], np.zeros((1, SIZE)))
    mix = np.linalg.qr(random.normal(size=(3, 3)))[0] * [1, 0.5, 0.4]
    wrong = key.T @ np.kron(mix, np.eye(BLOCK**2)) @ (np.eye(SIZE) + 0.005 * random.normal(size=(SIZE, SIZE)))
    found = Recovery(ct, wrong[None], np.ones((1, SIZE)), BLOCK, 0.0, 0.5, ())
    moments = measure_lengths(ct, BLOCK, joint=True, centre=0.0)
    np.testing.assert_allclose(np.trace(moments[0]), np.mean(ct.astype(np.float64) ** 2) * SIZE, rtol=1e-5)
    kept, turned = (keep_lengths(found, ct, moments, how, centre=0.0) for how in (False, True))
    for one in (kept, turned):
        np.testing.assert_allclose(one.matrices[0].T @ one.matrices[0], np.eye(SIZE), atol=1e-9)
        np.testing.assert_allclose(one.decrypt(ct), one.reconstruction, atol=1e-6)
    assert likeness(turned.reconstruction, plain) > 0.99
    assert likeness(kept.reconstruction, plain) < 0.9
    right = Recovery(ct, 3 * key.T[None], np.zeros((1, SIZE)), BLOCK, 0.0, 0.5, ())
    np.testing.assert_allclose(keep_lengths(right, ct, moments, False, centre=0.0).reconstruction, plain, atol=1e-4)


def test_inverted_values_keep_lengths_about_the_middle_grey(plain):
    random = np.random.default_rng(1)
    signs, order = random.choice([-1.0, 1.0], SIZE), random.permutation(SIZE)
    key = np.diag(signs)[:, order]  # an inverted value is 1 - x
    ct = apply_maps(plain, BLOCK, key[None], np.where(signs < 0, 1.0, 0.0)[order][None])
    moments = measure_lengths(ct, BLOCK, joint=True, centre=0.5)
    wrong = 0.7 * key.T @ (np.eye(SIZE) + 0.005 * random.normal(size=(SIZE, SIZE)))
    found = Recovery(ct, wrong[None], np.ones((1, SIZE)), BLOCK, 0.0, 0.5, ())
    kept = keep_lengths(found, ct, moments, settle_colours=False, centre=0.5)
    assert np.abs(kept.reconstruction - plain).mean() < 0.02
    np.testing.assert_allclose(kept.decrypt(ct), kept.reconstruction, atol=1e-6)
    about_black = keep_lengths(found, ct, measure_lengths(ct, BLOCK, True, 0.0), False, centre=0.0)
    assert np.abs(about_black.reconstruction - plain).mean() > 0.1


@pytest.mark.parametrize(
    ("name", "params", "least"), [("patch", {"orthogonal": True}, 0.95), ("shf", {}, 0.999), ("np", {}, 0.999)]
)
def test_without_photos_lengths_and_colours_tell_the_rest(plain, monkeypatch, name, params, least):
    pictures = np.clip(np.rint(plain * 255), 0, 255).astype(np.uint8)
    cipher, ct = seal(pictures, name, **params)
    ct = ct.astype(np.float32) / 255 if ct.dtype == np.uint8 else ct
    view = View(cipher, ct, None)
    found, _ = attack_covariance(view, origins=())
    reached = likeness(found.apply(ct), pictures)
    assert least < reached
    monkeypatch.setattr(attack_module, "keep_lengths", lambda found, *_: found)
    monkeypatch.setattr(attack_module, "order_colours", lambda inverse, _: inverse)
    before, _ = attack_covariance(view, origins=())
    assert likeness(before.apply(ct), pictures) < reached - 0.02


def is_orthogonal(name, **params):
    return create_cipher(name, block=4, **params).structure((3, 8, 8)).orthogonal


def test_which_schemes_keep_lengths():
    assert is_orthogonal("hill", orthogonal=True) and is_orthogonal("patch", orthogonal=True)
    assert is_orthogonal("shf+hill", orthogonal=True)
    assert not is_orthogonal("hill") and not is_orthogonal("shf+hill")
    kept = {name: create_cipher(name, block=4).structure((3, 8, 8)).keeps_lengths for name in ("shf", "np", "hill")}
    assert kept == {"shf": True, "np": True, "hill": False}
    assert not is_orthogonal("np+hill", orthogonal=True)  # about an unknown middle
