"""FFX: half of a block's values stay as they are, and tell what the others were."""

import numpy as np
import pytest

pytest.importorskip("torch")

from cipherlens.attacks import ATTACKS
from cipherlens.attacks.values.substitution import find_substituted
from cipherlens.ciphers import create_cipher
from cipherlens.ciphers.structure import index_blocks
from cipherlens.data.synthetic import dataset as synthetic
from cipherlens.evaluation.controls import run_controls
from cipherlens.evaluation.harness import evaluate
from cipherlens.evaluation.target import Target
from cipherlens.keys import Key

LEVELS = ATTACKS["levels"]


@pytest.fixture(scope="module")
def images():
    return synthetic.generate(range(100)).images, synthetic.generate(range(1000, 1300)).images


def bind(images, key=1):
    return create_cipher("ffx", block=4).bind(Key(bytes([key] * 32)), images[0].shape[1:])


def make_target(images, key=1):
    plain, public = images
    bound = bind(images, key)
    return Target(
        create_cipher("ffx", **bound.cipher.params), plain, bound.encrypt(plain), public, "other images", bound
    )


@pytest.mark.parametrize("key", [1, 2, 3])
def test_the_table_is_read_from_ciphertexts_alone(images, key):
    result = evaluate(LEVELS, make_target(images, key), 100)
    assert result.exact_values > 0.98
    assert result.ssim > 0.99


def test_one_picture_tells_less(images):
    one, many = (evaluate(LEVELS, make_target(images), budget) for budget in (1, 100))
    assert one.exact_values < many.exact_values


def test_substituted_places_are_the_keys_own(images):
    plain, public = (part.astype(np.float32) / 255 for part in images)
    bound, places = bind(images), index_blocks(images[0].shape[1:], 4)
    ct = bound.encrypt(images[0]).astype(np.float32) / 255
    blocks = [part.reshape(len(part), -1)[:, places].reshape(-1, 48) for part in (ct, plain, public)]
    np.testing.assert_array_equal(find_substituted(blocks[0], blocks[2]), bound.places[places[0]] > 0)
    assert not find_substituted(blocks[1], blocks[2]).any()


def test_controls(images):
    outcomes = {c.control: c for c in run_controls(LEVELS, make_target(images), 99)}
    assert outcomes["identity"].ssim > 0.999
    assert outcomes["stream"].passed
