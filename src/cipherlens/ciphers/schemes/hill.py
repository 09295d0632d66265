"""The Hill cipher on blocks, over the reals (as in the CAS771 report) and over the integers modulo 256.

Both split every channel into b x b blocks and flatten a block row-major to a row vector p of length n = b*b. They
replace it by ``c = p @ K[channel]``.
"""

from dataclasses import dataclass
from math import log2
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cipherlens.ciphers.base import Array, BoundCipher, check_real, check_real_ct, require_uint8
from cipherlens.ciphers.blocks import BlockCipher, map_blocks
from cipherlens.ciphers.registry import register_cipher
from cipherlens.ciphers.structure import KeyStructure, Kind, Scope, Shape
from cipherlens.errors import KeyFailureError
from cipherlens.keys import Key, KeyStream

MAX_ERROR = 1 / 510
"""Half a grey level: a round trip with a smaller error returns every uint8 pixel exactly."""
_MAX_DRAWS = 256
"""Matrices that are drawn before bind gives up. Chosen by hand."""
_BITS = 53
"""Bits of a drawn number, see ``KeyStream.uniforms``. Definition."""


@register_cipher
@dataclass(frozen=True)
class HillCipher(BlockCipher):
    """Real Hill cipher: per-channel key, entries uniform in [-1, 1) (CAS771 report, section 1).

    ``orthogonal=True`` draws orthogonal matrices instead, whose condition number is 1.
    """

    orthogonal: bool = False
    name: ClassVar[str] = "hill"
    summary: ClassVar[str] = "real matrix per channel on b x b blocks; float32 ciphertext"
    threat_note: ClassVar[str] = (
        "obfuscation, not encryption: who only sees ciphertexts recovers the pictures from their block statistics"
    )

    def structure(self, shape: Shape) -> KeyStructure:
        """One matrix for all blocks of a channel."""
        return KeyStructure(Kind.LINEAR, Scope.BLOCKS, self.block, per_channel=True, orthogonal=self.orthogonal)

    def key_bits(self, shape: Shape) -> float:
        """53 bits for each real parameter; an orthogonal n x n matrix has n (n - 1) / 2 of them."""
        size = self.block**2
        return float(_BITS * shape[0] * (size * (size - 1) // 2 if self.orthogonal else size**2))

    def _bind(self, key: Key, shape: Shape) -> "BoundHill":
        return BoundHill(self, key, shape)


class BoundHill(BoundCipher):
    """Hill cipher with its matrices. ``error_bound`` is the stated error of a round trip, in units of [0, 1]."""

    cipher: HillCipher

    def __init__(self, cipher: HillCipher, key: Key, shape: Shape) -> None:
        super().__init__(cipher, key, shape)
        drawn = [_draw_matrix(cipher, key, channel) for channel in range(shape[0])]
        self.matrices: NDArray[np.float64] = np.stack([matrix for matrix, _ in drawn])
        self.inverses: NDArray[np.floating[Any]] = np.linalg.inv(self.matrices)
        self.condition = max(condition for _, condition in drawn)
        self.error_bound = round_trip_error(cipher.block, self.condition)

    @property
    def ct_dtype(self) -> str:
        """Ciphertext is float32."""
        return "float32"

    def _encrypt(self, xp: Any, plain: Array) -> Array:
        if plain.dtype == xp.uint8:
            # The matrix contains the factor 1/255, so the pixels are not divided.
            return self._multiply(xp, plain, "uint8", self.matrices / 255)
        check_real(xp, plain, "hill")
        return self._multiply(xp, plain, "float", self.matrices)

    def _decrypt(self, xp: Any, ct: Array) -> Array:
        check_real_ct(xp, ct, "hill")
        return self._multiply(xp, ct, "inverse", self.inverses)

    def _multiply(self, xp: Any, images: Array, name: str, matrices: NDArray[np.floating[Any]]) -> Array:
        table = self._table(xp, images, name, matrices.astype(np.float32))

        def multiply(blocks: Array) -> Array:
            return _row_times_matrix(xp, xp.astype(blocks, xp.float32, copy=False), table)

        return map_blocks(xp, images, self.cipher.block, multiply, "float32")

    def convolution_weights(self, inverse: bool = False) -> NDArray[np.float32]:
        """The same map as a strided convolution (CAS771 report, section 3.1): weights (C*n, 1, b, b), float32.

        ``conv2d(x, weights, stride=b, groups=C)`` gives the n ciphertext values of each block as n maps;
        ``pixel_shuffle(maps, b)`` puts them back in the block's place.
        """
        matrices = self.inverses if inverse else self.matrices
        channels, size, _ = matrices.shape
        columns = matrices.transpose(0, 2, 1).reshape(channels * size, 1, self.cipher.block, self.cipher.block)
        return np.ascontiguousarray(columns, dtype=np.float32)


def round_trip_error(block: int, condition: float) -> float:
    """Stated error of a float32 round trip of pixels in [0, 1], in units of [0, 1].

    A block has norm at most b. A product's relative error is about the unit roundoff, 2**-24. The inverse amplifies
    it at most by the condition number. The factor 2 covers rounding in the sums of the products. Tests check the
    bound on random keys and images.
    """
    return 2 * 2.0**-24 * block * condition


def _draw_matrix(cipher: HillCipher, key: Key, channel: int) -> tuple[NDArray[np.float64], float]:
    """The first matrix from the channel's stream whose round trip loses less than half a grey level."""
    size = cipher.block**2
    kind = "orthogonal" if cipher.orthogonal else "uniform"
    stream = KeyStream(key, f"hill:block={cipher.block}:{kind}:channel={channel}")
    # A random n x n matrix has a condition number below n in 2 % of cases, and practically never far below n
    # (Edelman 1988). Where a number below n is required, drawing would not end.
    hopeless = not cipher.orthogonal and round_trip_error(cipher.block, size) > MAX_ERROR
    for _ in range(0 if hopeless else _MAX_DRAWS):
        matrix = stream.orthogonal_matrix(size) if cipher.orthogonal else stream.uniform_matrix(size)
        condition = _condition_number(matrix)
        if round_trip_error(cipher.block, condition) < MAX_ERROR:
            return matrix, condition
    raise KeyFailureError(
        f"random {size}x{size} matrices cannot be inverted to within half a grey level in float32",
        hint="use a smaller block, or orthogonal matrices",
        parameters=("block", "orthogonal"),
    )


def _condition_number(matrix: NDArray[np.float64]) -> float:
    """Spectral condition number from the eigenvalues of K^T K: accurate below 10**7, and faster than an SVD."""
    eigenvalues = np.linalg.eigvalsh(matrix.T @ matrix)
    return float(np.sqrt(eigenvalues[-1] / max(eigenvalues[0], 1e-14 * eigenvalues[-1])))


@register_cipher
@dataclass(frozen=True)
class HillMod256Cipher(BlockCipher):
    """Hill cipher modulo 256: uint8 in, uint8 out, exact. The matrix is uniform among the invertible ones."""

    name: ClassVar[str] = "hill-mod256"
    summary: ClassVar[str] = "matrix modulo 256 per channel on b x b blocks; exact uint8 ciphertext"
    threat_note: ClassVar[str] = (
        "obfuscation, not encryption: a few known pictures give the whole key by linear algebra modulo 256"
    )

    def structure(self, shape: Shape) -> KeyStructure:
        """One matrix modulo 256 for all blocks of a channel."""
        return KeyStructure(Kind.MODULAR, Scope.BLOCKS, self.block, per_channel=True)

    def key_bits(self, shape: Shape) -> float:
        """log2 of the number of invertible matrices modulo 256: 2^(7 n^2) times those modulo 2."""
        size = self.block**2
        odd = sum(size + log2(1 - 2.0 ** (row - size)) for row in range(size))
        return shape[0] * (7 * size**2 + odd)

    def _bind(self, key: Key, shape: Shape) -> "BoundHillMod256":
        return BoundHillMod256(self, key, shape)


class BoundHillMod256(BoundCipher):
    """Modular Hill cipher with its matrices."""

    cipher: HillMod256Cipher

    def __init__(self, cipher: HillMod256Cipher, key: Key, shape: Shape) -> None:
        super().__init__(cipher, key, shape)
        drawn = [_draw_invertible(key, cipher.block, channel) for channel in range(shape[0])]
        self.matrices: NDArray[np.uint8] = np.stack([matrix for matrix, _ in drawn])
        self.inverses: NDArray[np.uint8] = np.stack([inverse for _, inverse in drawn])

    def _encrypt(self, xp: Any, plain: Array) -> Array:
        require_uint8(xp, plain, self.cipher.name)
        return self._multiply(xp, plain, "matrices", self.matrices)

    def _decrypt(self, xp: Any, ct: Array) -> Array:
        require_uint8(xp, ct, self.cipher.name)
        return self._multiply(xp, ct, "inverses", self.inverses)

    def _multiply(self, xp: Any, images: Array, name: str, matrices: NDArray[np.uint8]) -> Array:
        block = self.cipher.block
        # Floating-point products are exact while sums stay below 2**24 (float32, n <= 258) or 2**53. They use the
        # fast matrix product, which integer types lack.
        real, integer = (xp.float32, xp.int32) if block <= 16 else (xp.float64, xp.int64)
        table = xp.astype(self._table(xp, images, name, matrices), real)

        def multiply(blocks: Array) -> Array:
            product = xp.astype(_row_times_matrix(xp, xp.astype(blocks, real), table), integer)
            return xp.astype(product & 255, xp.uint8)

        return map_blocks(xp, images, block, multiply, "uint8")


def _row_times_matrix(xp: Any, blocks: Array, table: Array) -> Array:
    """(C, ..., n) times (C, n, n): one product per channel."""
    channels, *_, size = blocks.shape
    return xp.reshape(xp.matmul(xp.reshape(blocks, (channels, -1, size)), table), blocks.shape)


def _draw_invertible(key: Key, block: int, channel: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The first matrix from the channel's stream that is invertible modulo 256 (29 % of all are)."""
    stream = KeyStream(key, f"hill-mod256:block={block}:channel={channel}")
    while True:
        matrix = stream.byte_matrix(block**2)
        inverse = invert_mod256(matrix)
        if inverse is not None:
            return matrix, inverse


def invert_mod256(matrix: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """Inverse of a square uint8 matrix modulo 256 by Gauss-Jordan elimination, or None if there is none."""
    size = len(matrix)
    work = np.hstack([matrix, np.eye(size, dtype=np.uint8)])
    return work[:, size:].copy() if len(reduce_mod256(work, size)) == size else None


def reduce_mod256(rows: NDArray[np.uint8], columns: int) -> list[int]:
    """Reduce a uint8 matrix in place, modulo 256, by Gauss-Jordan elimination of its first ``columns`` columns.

    Returns the pivot columns; the k-th of them is a unit vector with its one in row k. A number has an inverse
    modulo 256 exactly if it is odd, so each pivot must be odd.
    """
    pivots: list[int] = []
    for column in range(columns):
        rank = len(pivots)
        odd = np.flatnonzero(rows[rank:, column] & 1)
        if not len(odd):
            continue
        pivot = rank + int(odd[0])
        rows[[rank, pivot]] = rows[[pivot, rank]]
        rows[rank] *= np.uint8(pow(int(rows[rank, column]), -1, 256))
        factors = rows[:, column].copy()
        factors[rank] = 0
        rows -= np.multiply.outer(factors, rows[rank])
        pivots.append(column)
    return pivots
