"""Every cipher: round trips, equality with the slow reference, NumPy and torch, and what must be refused."""

import array_api_strict
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cipherlens.ciphers import CIPHERS, create_cipher
from cipherlens.ciphers.hill import MAX_ERROR, invert_mod256
from cipherlens.errors import CipherlensError, KeyFailure, ShapeError, UsageError
from cipherlens.keys import Key
from tests.reference import ciphers as reference

KEY = Key(bytes(range(32)))
OTHER = Key(bytes(32))
DETERMINISTIC = sorted(set(CIPHERS) - {"stream"})


@st.composite
def batches(draw):
    """A block size and uint8 images whose sides are multiples of it."""
    block = draw(st.sampled_from([2, 3, 4, 8]))
    n, channels = draw(st.integers(0, 3)), draw(st.integers(1, 4))
    rows, columns = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return block, rng.integers(0, 256, (n, channels, rows * block, columns * block), dtype=np.uint8)


def create(name, block):
    return create_cipher(name, **({"block": block} if name.startswith("hill") else {}))


@pytest.mark.parametrize("name", sorted(CIPHERS))
@settings(max_examples=25, deadline=None)
@given(case=batches())
def test_round_trip_is_exact(name, case):
    block, plain = case
    bound = create(name, block).bind(KEY, plain.shape[1:])
    ct = bound.encrypt(plain)
    assert ct.shape == (len(plain), *bound.ct_shape)
    assert ct.dtype == bound.ct_dtype
    back = bound.decrypt(ct)
    assert back.dtype == np.uint8
    assert np.array_equal(back, plain)


@settings(max_examples=25, deadline=None)
@given(case=batches(), orthogonal=st.booleans(), secret=st.binary(min_size=32, max_size=32))
def test_hill_equals_loop_and_keeps_its_stated_error(case, orthogonal, secret):
    block, plain = case
    bound = create_cipher("hill", block=block, orthogonal=orthogonal).bind(Key(secret), plain.shape[1:])
    ct = bound.encrypt(plain)
    np.testing.assert_allclose(ct, reference.hill(plain / 255, bound.matrices, block), atol=2e-5)
    np.testing.assert_allclose(bound.encrypt((plain / 255).astype(np.float32)), ct, atol=2e-5)
    back = bound.decrypt(ct, dtype="float32")
    assert bound.error_bound < MAX_ERROR
    if plain.size:
        assert np.abs(back - plain / 255).max() <= bound.error_bound + 1e-6


@settings(max_examples=25, deadline=None)
@given(case=batches())
def test_hill_mod256_equals_loop(case):
    block, plain = case
    bound = create_cipher("hill-mod256", block=block).bind(KEY, plain.shape[1:])
    assert np.array_equal(bound.encrypt(plain), reference.hill_mod256(plain, bound.matrices, block))


@settings(max_examples=25, deadline=None)
@given(case=batches())
def test_pixel_permutation_equals_loop(case):
    _, plain = case
    bound = create_cipher("pixel-permutation").bind(KEY, plain.shape[1:])
    assert np.array_equal(bound.encrypt(plain), reference.permute_pixels(plain, bound.order))


@pytest.mark.parametrize("block", [16, 17])
def test_hill_mod256_is_exact_for_large_blocks(block):
    """Sums pass 2**24 at block 17: float32 products would lose the last bits."""
    plain = np.full((1, 1, block, block), 255, np.uint8)
    bound = create_cipher("hill-mod256", block=block).bind(KEY, plain.shape[1:])
    assert np.array_equal(bound.encrypt(plain), reference.hill_mod256(plain, bound.matrices, block))
    assert np.array_equal(bound.decrypt(bound.encrypt(plain)), plain)


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_numpy_torch_and_strict_arrays_agree(name):
    plain = np.random.default_rng(0).integers(0, 256, (2, 3, 8, 16), dtype=np.uint8)
    bound = create(name, 4).bind(KEY, plain.shape[1:])
    expected = bound.encrypt(plain)
    for convert in (torch.from_numpy, array_api_strict.asarray):
        given = convert(plain)
        ct = bound.encrypt(given)
        assert type(ct) is type(given)
        np.testing.assert_allclose(np.asarray(ct), expected, atol=2e-6 if name == "hill" else 0)
        assert np.array_equal(np.asarray(bound.decrypt(ct)), plain)


def test_stream_on_torch():
    plain = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    bound = create_cipher("stream").bind(KEY, (3, 8, 8))
    assert torch.equal(bound.decrypt(bound.encrypt(plain)), plain)


@pytest.mark.parametrize("name", sorted(set(CIPHERS) - {"identity"}))
def test_wrong_key_does_not_restore(name):
    plain = np.random.default_rng(1).integers(0, 256, (4, 3, 16, 16), dtype=np.uint8)
    ct = create(name, 4).bind(KEY, plain.shape[1:]).encrypt(plain)
    wrong = create(name, 4).bind(OTHER, plain.shape[1:])
    if name == "stream":
        with pytest.raises(KeyFailure, match="authentication failed"):
            wrong.decrypt(ct)
    else:
        assert np.mean(wrong.decrypt(ct) == plain) < 0.05


def test_stream_is_fresh_and_authenticated():
    plain = np.zeros((2, 3, 8, 8), np.uint8)
    bound = create_cipher("stream").bind(KEY, (3, 8, 8))
    first, second = bound.encrypt(plain), bound.encrypt(plain)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first[0], first[1])
    first[1, 0, 0, 0] ^= 1
    with pytest.raises(KeyFailure, match="altered"):
        bound.decrypt(first)


def test_hill_keys_differ_by_channel_and_do_not_depend_on_size():
    small = create_cipher("hill").bind(KEY, (3, 4, 4)).matrices
    large = create_cipher("hill").bind(KEY, (3, 64, 32)).matrices
    assert np.array_equal(small, large)
    assert not np.array_equal(small[0], small[1])


@pytest.mark.parametrize("orthogonal", [False, True])
def test_hill_as_strided_convolution(orthogonal):
    plain = torch.rand(2, 3, 16, 24)
    bound = create_cipher("hill", block=4, orthogonal=orthogonal).bind(KEY, (3, 16, 24))

    def convolve(images, inverse):
        weights = torch.from_numpy(bound.convolution_weights(inverse))
        maps = torch.nn.functional.conv2d(images, weights, stride=4, groups=3)
        return torch.nn.functional.pixel_shuffle(maps, 4)

    ct = bound.encrypt(plain)
    torch.testing.assert_close(convolve(plain, inverse=False), ct, atol=1e-5, rtol=0)
    torch.testing.assert_close(convolve(ct, inverse=True), plain, atol=1e-4, rtol=0)


def test_ill_conditioned_keys_are_redrawn():
    """Over many keys some first draws must be refused, and every accepted one holds the bound."""
    from cipherlens.keys import KeyStream

    redrawn = 0
    for number in range(8):
        key = Key(number.to_bytes(32))
        bound = create_cipher("hill", block=16).bind(key, (1, 16, 16))
        first = KeyStream(key, "hill:block=16:uniform:channel=0").uniform_matrix(256)
        redrawn += not np.array_equal(first, bound.matrices[0])
        assert bound.error_bound < MAX_ERROR
    assert 0 < redrawn < 8


def test_hopeless_block_size_names_the_way_out():
    with pytest.raises(KeyFailure, match="orthogonal"):
        create_cipher("hill", block=28).bind(KEY, (1, 28, 28))


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 6), st.integers(0, 2**32))
def test_inverse_modulo_256(size, seed):
    matrix = np.random.default_rng(seed).integers(0, 256, (size, size), dtype=np.uint8)
    inverse = invert_mod256(matrix)
    assert (inverse is not None) == reference.determinant_is_odd(matrix.tolist())
    if inverse is not None:
        product = matrix.astype(int) @ inverse.astype(int) % 256
        assert np.array_equal(product, np.eye(size, dtype=int))


@pytest.mark.parametrize(
    ("shape", "sizes"), [((3, 30, 32), "28x32 or 32x32"), ((3, 33, 2), "32x4 or 36x4"), ((1, 1, 1), "4x4 or 4x4")]
)
def test_sides_that_are_no_multiples_name_the_nearest_sizes(shape, sizes):
    with pytest.raises(ShapeError, match=sizes):
        create_cipher("hill", block=4).bind(KEY, shape)


@pytest.mark.parametrize("name", sorted(CIPHERS))
def test_wrong_shapes_are_refused(name):
    bound = create_cipher(name).bind(KEY, (3, 8, 8))
    for shape in ((3, 8, 8), (2, 1, 8, 8), (2, 3, 8, 16)):
        with pytest.raises(ShapeError, match="bound to"):
            bound.encrypt(np.zeros(shape, np.uint8))


def test_wrong_dtypes_and_ranges_are_refused():
    plain = np.zeros((1, 3, 8, 8))
    for name in ("hill-mod256", "stream"):
        with pytest.raises(ShapeError, match="uint8"):
            create_cipher(name).bind(KEY, (3, 8, 8)).encrypt(plain)
    hill = create_cipher("hill").bind(KEY, (3, 8, 8))
    for bad in (plain + 1.01, plain - 0.01, plain + np.nan, plain.astype(np.int64)):
        with pytest.raises(ShapeError):
            hill.encrypt(bad)
    with pytest.raises(ShapeError, match="float32"):
        hill.decrypt(np.zeros((1, 3, 8, 8), np.uint8))
    with pytest.raises(UsageError, match="int8"):
        hill.decrypt(plain, dtype="int8")


def test_rearrangements_keep_floats():
    plain = np.random.default_rng(0).random((1, 3, 8, 8), dtype=np.float32)
    for name in ("pixel-permutation", "identity"):
        bound = create_cipher(name).bind(KEY, (3, 8, 8))
        assert np.array_equal(bound.decrypt(bound.encrypt(plain)), plain)


def test_unknown_names_list_the_valid_ones():
    with pytest.raises(UsageError, match="hill-mod256"):
        create_cipher("caesar")
    with pytest.raises(UsageError, match="block, orthogonal"):
        create_cipher("hill", blocks=4)
    with pytest.raises(CipherlensError, match="block"):
        create_cipher("hill", block=1)
