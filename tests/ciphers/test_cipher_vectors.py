"""The ciphers against vectors of a second implementation, written in plain Python from docs/ciphers.md."""

import json
from pathlib import Path

import numpy as np
import pytest

from cipherlens.ciphers import CIPHERS, create_cipher
from cipherlens.keys import Key, KeyStream

CONTENT = json.loads((Path(__file__).parents[1] / "vectors" / "ciphers.json").read_text())
VECTORS = CONTENT["vectors"]


def name_vector(vector):
    flags = [f"{name}={value}" for name, value in vector["params"].items() if isinstance(value, bool)]
    shape = "x".join(map(str, vector["shape"]))
    return " ".join([vector["name"], *flags, shape, vector["secret"][:4]])


def plain_of(vector):
    return (np.arange(np.prod(vector["shape"])) * 7 % 256).astype(np.uint8).reshape(vector["shape"])


@pytest.mark.parametrize("vector", VECTORS, ids=name_vector)
def test_ciphertexts_equal_the_vectors(vector):
    plain, numbers = plain_of(vector), vector.get("numbers")
    bound = create_cipher(vector["name"], **vector["params"]).bind(
        Key(bytes.fromhex(vector["secret"])), plain.shape[1:]
    )
    ct = bound.encrypt(plain, numbers)
    assert list(ct.shape) == vector["ct_shape"]
    assert list(bound.ct_shape) == vector["ct_shape"][1:]
    if isinstance(vector["ct"], str):
        assert ct.dtype == bound.ct_dtype == "uint8"
        assert ct.tobytes().hex() == vector["ct"]
    else:
        assert ct.dtype == bound.ct_dtype == "float32"
        np.testing.assert_allclose(ct.reshape(-1), vector["ct"], atol=5e-6)
    if vector["name"] != "etc-legacy":
        assert np.array_equal(bound.decrypt(ct, "uint8", numbers), plain)


@pytest.mark.parametrize("draws", CONTENT["draws"], ids=lambda draws: draws["secret"][:4])
def test_draws_equal_the_vectors(draws):
    key = Key(bytes.fromhex(draws["secret"]))
    assert KeyStream(key, "permutations").permutations(6, 5).tolist() == draws["permutations"]
    assert KeyStream(key, "bits").bits(21).astype(int).tolist() == draws["bits"]
    assert KeyStream(key, "normals").normals(5).tolist() == pytest.approx(
        [float.fromhex(value) for value in draws["normals"]], abs=1e-14
    )
    np.testing.assert_allclose(KeyStream(key, "orthogonal").orthogonal_matrix(4), draws["orthogonal"], atol=1e-11)


def test_every_keyed_cipher_has_vectors():
    """But for the real Hill cipher, whose matrices are in keys.json, and those that no key makes repeatable."""
    assert set(CIPHERS) - {vector["name"] for vector in VECTORS} == {"hill", "identity", "stream"}


def test_the_file_is_as_its_schema_says():
    jsonschema = pytest.importorskip("jsonschema")
    folder = Path(__file__).parents[1] / "vectors"
    schema = json.loads((folder / CONTENT["schema"]).read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(CONTENT, schema)
    assert [vector["id"] for vector in VECTORS] == list(range(1, CONTENT["count"] + 1))
    assert {flag for vector in VECTORS for flag in vector["flags"]} == set(CONTENT["flags"])
    wrong = {**CONTENT, "vectors": [{**VECTORS[0], "ct": "xyz"}]}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, schema)
