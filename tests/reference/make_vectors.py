"""Write tests/vectors/keys.json with the plain-Python implementation: python -m tests.reference.make_vectors."""

import json
from pathlib import Path

from tests.reference.ciphers import determinant_is_odd
from tests.reference.keystream import Stream, fingerprint, subkey

SECRETS = (bytes(range(32)), bytes(32), b"\xff" * 32)


def first_invertible(stream: Stream, size: int) -> list[list[int]]:
    while True:
        matrix = stream.byte_matrix(size)
        if determinant_is_odd(matrix):
            return matrix


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


if __name__ == "__main__":
    path = Path(__file__).parents[1] / "vectors" / "keys.json"
    path.write_text(json.dumps([make(secret) for secret in SECRETS], indent=1) + "\n")
