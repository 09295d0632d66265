"""Keys against the second implementation, and key files against damage."""

import copy
import json
import pickle
import stat
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cipherlens.ciphers import create_cipher
from cipherlens.errors import KeyFailureError, UsageError
from cipherlens.keys import Key, KeyStream
from tests.reference.keystream import Stream

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "keys.json").read_text())


@pytest.fixture(params=VECTORS, ids=lambda v: v["secret"][:8])
def vector(request):
    return request.param, Key(bytes.fromhex(request.param["secret"]))


def test_derivations_match_vectors(vector):
    expected, key = vector
    assert key.fingerprint == expected["fingerprint"]
    assert key.subkey(expected["subkey"]["label"]).to_bytes().hex() == expected["subkey"]["key"]


def test_stream_matches_vectors(vector):
    expected, key = vector
    assert KeyStream(key, "bytes").bytes(100).hex() == expected["bytes"]
    for high, values in expected["integers"].items():
        assert KeyStream(key, "integers").integers(int(high), 20).tolist() == values
    assert KeyStream(key, "permutation").permutation(50).tolist() == expected["permutation"]
    assert [u.hex() for u in KeyStream(key, "uniforms").uniforms(10).tolist()] == expected["uniforms"]


def test_cipher_tables_match_vectors(vector):
    expected, key = vector
    order = create_cipher("pixel-permutation").bind(key, (3, 5, 7)).order
    assert order.tolist() == expected["pixel_order_5x7"]
    hill = create_cipher("hill", block=2).bind(key, (3, 4, 4)).matrices
    assert [[[u.hex() for u in row] for row in matrix] for matrix in hill.tolist()] == expected["hill_2_first_draw"]
    modular = create_cipher("hill-mod256", block=2).bind(key, (3, 4, 4)).matrices
    assert modular.tolist() == expected["hill_mod256_2"]


@settings(max_examples=40, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.text(max_size=8), st.integers(1, 2**63), st.integers(0, 30))
def test_integers_match_reference(secret, label, high, count):
    label = label.encode("utf-8", "ignore").decode()
    drawn = KeyStream(Key(secret), label).integers(high, count)
    assert drawn.tolist() == Stream(secret, label).integers(high, count)


def test_draws_do_not_depend_on_batching():
    key = Key(bytes(range(32)))
    whole = KeyStream(key, "x").integers(2**62 + 1, 200)
    stream = KeyStream(key, "x")
    parts = [stream.integers(2**62 + 1, size) for size in (1, 7, 0, 192)]
    assert np.array_equal(whole, np.concatenate(parts))


def test_integers_are_unbiased():
    counts = np.bincount(KeyStream(Key(bytes(32)), "bias").integers(7, 70_000), minlength=7)
    assert np.abs(counts - 10_000).max() < 500  # five standard deviations are 463


def test_permutation_is_uniform():
    """Each of the 6 orders of 3 elements appears about equally often."""
    stream = KeyStream(Key(bytes(32)), "order")
    seen = np.bincount([stream.permutation(3) @ [9, 3, 1] for _ in range(6000)])
    seen = seen[seen > 0]
    assert len(seen) == 6
    assert np.abs(seen - 1000).max() < 150


@pytest.mark.parametrize("size", [1, 2, 16, 64])
def test_orthogonal_matrix(size):
    matrix = KeyStream(Key(bytes(32)), "q").orthogonal_matrix(size)
    assert np.abs(matrix @ matrix.T - np.eye(size)).max() < 1e-13


def test_orthogonal_matrices_are_spread_like_haar():
    """Entries of a Haar matrix of size n have mean 0 and variance 1/n, the first row and column included."""
    stream = KeyStream(Key(bytes(32)), "haar")
    drawn = np.stack([stream.orthogonal_matrix(4) for _ in range(3000)])
    assert np.abs(drawn.mean(axis=0)).max() < 0.05
    assert np.abs(drawn.var(axis=0) - 0.25).max() < 0.03


def test_key_is_not_shown_copied_or_pickled():
    key = Key.generate()
    secret = key.to_bytes()
    bound = create_cipher("hill").bind(key, (3, 8, 8))
    for text in (repr(key), str(key), f"{key!r}", repr(bound), repr(vars(bound).get("cipher"))):
        assert secret.hex() not in text
        assert key.fingerprint in text or text.startswith("HillCipher")
    for thing in (key, bound):
        with pytest.raises(TypeError):
            pickle.dumps(thing)
        with pytest.raises(TypeError):
            copy.deepcopy(thing)


def test_key_equality_and_length():
    key = Key(bytes(32))
    assert key == Key(bytes(32))
    assert key != Key(b"\x01" + bytes(31))
    assert key != bytes(32)
    with pytest.raises(UsageError, match="32 bytes"):
        Key(bytes(31))


@pytest.mark.parametrize("passphrase", [None, "correct horse", "ünïcode 🐎"])
def test_key_file_round_trip(tmp_path, passphrase):
    path, key = tmp_path / "a.key", Key.generate()
    key.save(path, passphrase, comment="ward 3: camera")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Key.load(path, passphrase) == key
    text = path.read_text()
    assert "ward 3: camera" in text
    if passphrase:
        assert passphrase not in text
        with pytest.raises(KeyFailureError, match="wrong passphrase"):
            Key.load(path, "wrong")
        with pytest.raises(KeyFailureError, match="protected by a passphrase"):
            Key.load(path)


def test_key_file_is_never_overwritten(tmp_path):
    path = tmp_path / "a.key"
    Key(bytes(32)).save(path)
    before = path.read_bytes()
    with pytest.raises(UsageError, match="exists already"):
        Key.generate().save(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("passphrase", [None, "p"])
def test_damaged_key_file(tmp_path, passphrase):
    path = tmp_path / "a.key"
    Key.generate().save(path, passphrase)
    lines = path.read_text().splitlines(keepends=True)
    for number, line in enumerate(lines):
        if line.startswith("#"):
            continue
        flipped = line[:-3] + ("A" if line[-3] != "A" else "B") + line[-2:]
        path.write_text("".join([*lines[:number], flipped, *lines[number + 1 :]]))
        with pytest.raises(KeyFailureError):
            Key.load(path, passphrase)
    path.write_text("".join(lines[:-1]))
    with pytest.raises(KeyFailureError):
        Key.load(path, passphrase)


def test_header_of_a_protected_file_is_authenticated(tmp_path):
    """With a repaired checksum, an altered comment still does not open."""
    from cipherlens.keys.keyfile import _checksum

    path = tmp_path / "a.key"
    Key.generate().save(path, "p", comment="mine")
    body = path.read_text().replace("comment: mine", "comment: yours").rpartition("checksum: ")[0]
    path.write_text(f"{body}checksum: {_checksum(body)}\n")
    with pytest.raises(KeyFailureError, match="altered"):
        Key.load(path, "p")


def test_hostile_cost_is_refused(tmp_path):
    from cipherlens.keys.keyfile import _checksum

    path = tmp_path / "a.key"
    Key.generate().save(path, "p")
    body = path.read_text().replace("memory-kib: 65536", "memory-kib: 999999999").rpartition("checksum: ")[0]
    path.write_text(f"{body}checksum: {_checksum(body)}\n")
    with pytest.raises(KeyFailureError, match="memory-kib"):
        Key.load(path, "p")


def test_not_a_key_file(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(b"\xff\xd8\xff\xe0 not text")
    with pytest.raises(KeyFailureError, match="not a cipherlens key file"):
        Key.load(path)
    with pytest.raises(KeyFailureError, match="cannot read"):
        Key.load(tmp_path / "missing.key")
