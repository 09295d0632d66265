"""Write tests/vectors/*.json with the plain-Python implementation: python -m tests.reference.make_vectors."""

import json
from pathlib import Path

import numpy as np

from tests.reference.ciphers import SCHEMES, composed, first_invertible, orthogonal_matrix, per_image
from tests.reference.keystream import Stream, fingerprint, subkey

SECRETS = (bytes(range(32)), bytes(32), b"\xff" * 32)


BLOCK = {"block": 4}
SHAPES = ((1, 3, 8, 12), (2, 1, 8, 8))
CASES = (
    ("block-scrambling", BLOCK),
    ("ele", BLOCK),
    ("etc", BLOCK),
    ("etc", {"block": 4, "grey": True}),
    ("etc-legacy", BLOCK),
    ("ffx", BLOCK),
    ("hill-mod256", BLOCK),
    ("le", BLOCK),
    ("negpos", {}),
    ("np", BLOCK),
    ("patch", BLOCK),
    ("patch", {"block": 4, "scramble": True}),
    ("patch", {"block": 4, "orthogonal": True}),
    ("patch", {"block": 4, "orthogonal": True, "scramble": True}),
    ("pe", {}),
    ("pe", {"colour": False}),
    ("pixel-permutation", {}),
    ("shf", BLOCK),
)
COMPOSED = (
    (("np", BLOCK), ("block-scrambling", BLOCK)),
    (("block-scrambling", BLOCK), ("np", BLOCK)),
    (("etc", {"block": 4, "grey": True}), ("pixel-permutation", {}), ("shf", BLOCK)),
)
NUMBERS = [7, "train/3"]
PER_IMAGE = (("negpos", {}), ("pe", {}), ("etc", BLOCK))


def make(secret: bytes) -> dict[str, object]:
    return {
        "secret": secret.hex(),
        "fingerprint": fingerprint(secret),
        "subkey": {"label": "a", "key": subkey(secret, "a").hex()},
        "bytes": Stream(secret, "bytes").bytes(100).hex(),
        "integers": {str(high): Stream(secret, "integers").integers(high, 20) for high in (1, 10, 256, 2**62 + 1)},
        "permutation": Stream(secret, "permutation").permutation(50),
        "uniforms": [u.hex() for u in Stream(secret, "uniforms").uniforms(10)],
        "pixel_order_5x7": Stream(secret, "pixel-permutation:5x7").permutation(35),
        "hill_2_first_draw": [
            [
                [u.hex() for u in row]
                for row in Stream(secret, f"hill:block=2:uniform:channel={c}").uniform_matrix(4)
            ]
            for c in range(3)
        ],
        "hill_mod256_2": [
            first_invertible(Stream(secret, f"hill-mod256:block=2:channel={c}"), 4) for c in range(3)
        ],
    }


def plain_images(shape: tuple[int, ...]) -> np.ndarray:
    """Value number i, row-major, is (7 * i) % 256."""
    return (np.arange(np.prod(shape)) * 7 % 256).astype(np.uint8).reshape(shape)


def as_text(ct: np.ndarray) -> dict[str, object]:
    values = ct.tobytes().hex() if ct.dtype == np.uint8 else [round(float(value), 6) for value in ct.reshape(-1)]
    return {"ct_shape": ct.shape, "ct": values}


def make_ciphers(secret: bytes, shape: tuple[int, ...]) -> list[dict[str, object]]:
    plain = plain_images(shape)
    start = {"secret": secret.hex(), "shape": shape}
    single = [
        {"name": name, "params": params, **start, **as_text(SCHEMES[name](secret, plain, **params))}
        for name, params in CASES
    ]
    several = [
        {
            "name": "compose",
            "params": {"ciphers": [{"name": name, **params} for name, params in parts]},
            **start,
            **as_text(composed(secret, plain, parts)),
        }
        for parts in COMPOSED
    ]
    numbers = NUMBERS[: len(plain)]
    each = [
        {"name": name, "params": params | {"per_image": True}, "numbers": numbers}
        | start
        | as_text(per_image(secret, plain, numbers, name, **params))
        for name, params in PER_IMAGE
    ]
    return single + several + each


def make_draws(secret: bytes) -> dict[str, object]:
    return {
        "secret": secret.hex(),
        "permutations": Stream(secret, "permutations").permutations(6, 5),
        "bits": Stream(secret, "bits").bits(21),
        "normals": [value.hex() for value in Stream(secret, "normals").normals(5)],
        "orthogonal": np.round(orthogonal_matrix(Stream(secret, "orthogonal"), 4), 12).tolist(),
    }


FLAGS = {
    "composition": "Several ciphers in sequence, each under a subkey of its own.",
    "float": "The ciphertext is float32, written with six decimals: compare within 5e-6.",
    "lossy": "The ciphertext cannot be decrypted.",
    "per-image": "Every image has its own key, derived from its entry in `numbers`.",
}
"""What a reader of the vectors has to know of some."""


def list_flags(vector: dict[str, object]) -> list[str]:
    """The flags of a vector."""
    flags = {
        "composition": vector["name"] == "compose",
        "float": not isinstance(vector["ct"], str),
        "lossy": vector["name"] == "etc-legacy",
        "per-image": "numbers" in vector,
    }
    return [flag for flag, holds in flags.items() if holds]


def write_ciphers() -> None:
    """One vector a line."""
    made = [vector for secret in SECRETS[:2] for shape in SHAPES for vector in make_ciphers(secret, shape)]
    vectors = [{"id": number, "flags": list_flags(vector)} | vector for number, vector in enumerate(made, start=1)]
    lines = {
        "schema": '"ciphers.schema.json"',
        "source": '"tests/reference: a second implementation in plain Python, written from docs/ciphers.md"',
        "flags": json.dumps(FLAGS),
        "count": str(len(vectors)),
        "plain": '"value number i, row-major, is (7 * i) % 256"',
        "draws": json.dumps([make_draws(secret) for secret in SECRETS[:2]]),
        "vectors": "[\n" + ",\n".join(map(json.dumps, vectors)) + "\n]",
    }
    text = ",\n".join(f'"{name}": {value}' for name, value in lines.items())
    path = Path(__file__).parents[1] / "vectors" / "ciphers.json"
    path.write_text(f"{{\n{text}\n}}\n")


if __name__ == "__main__":
    path = Path(__file__).parents[1] / "vectors" / "keys.json"
    path.write_text(json.dumps([make(secret) for secret in SECRETS], indent=1) + "\n")
    write_ciphers()
