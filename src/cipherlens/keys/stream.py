"""The keystream: ChaCha20 under a labelled subkey, expanded to integers, permutations and matrices.

The results are byte-exact and do not depend on the version of any numerical library. A word is eight keystream
bytes read as an unsigned little-endian integer. Every draw below consumes words in order.
"""

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from numpy.typing import NDArray

from cipherlens.errors import UsageError
from cipherlens.keys.key import Key

WORD_BITS = 64
"""Bits of a word of eight keystream bytes. Definition."""


class KeyStream:
    """Deterministic stream of numbers for one use of a key.

    The stream is ChaCha20 (RFC 8439 block function, 64-bit counter from 0, zero nonce) keyed by
    ``key.subkey(label)``. Different labels give independent streams.
    """

    def __init__(self, key: Key, label: str) -> None:
        algorithm = ChaCha20(key.subkey(label).to_bytes(), bytes(16))
        self._encryptor = Cipher(algorithm, mode=None).encryptor()

    def bytes(self, count: int) -> bytes:
        """The next ``count`` bytes of the stream."""
        return self._encryptor.update(bytes(count))

    def words(self, count: int) -> NDArray[np.uint64]:
        """The next ``count`` words, uint64."""
        return np.frombuffer(self.bytes(8 * count), dtype="<u8").astype(np.uint64)

    def integers(self, high: int, count: int) -> NDArray[np.int64]:
        """``count`` unbiased integers in [0, high).

        Words at or above the largest multiple of ``high`` are skipped, the others taken modulo ``high``.
        """
        if not 0 < high <= 2**63:
            raise UsageError(f"cannot draw integers below {high}", hint="give a bound between 1 and 2**63")
        limit = 2**WORD_BITS - (2**WORD_BITS % high)
        parts: list[NDArray[np.uint64]] = []
        missing = count
        # Only the missing number is drawn, so that the result does not depend on the batching of draws.
        while missing:
            words = self.words(missing)
            kept = words if limit == 2**WORD_BITS else words[words < np.uint64(limit)]
            parts.append(kept)
            missing -= len(kept)
        drawn = np.concatenate(parts) if parts else np.empty(0, np.uint64)
        return (drawn % np.uint64(high)).astype(np.int64)

    def permutation(self, count: int) -> NDArray[np.int64]:
        """A uniform permutation of range(count): the stable argsort of ``count`` words, all redrawn on a tie."""
        while True:
            words = self.words(count)
            order = np.argsort(words, kind="stable")
            ranked = words[order]
            if not (ranked[1:] == ranked[:-1]).any():
                return order.astype(np.int64)

    def permutations(self, rows: int, count: int) -> NDArray[np.int64]:
        """``rows`` independent uniform permutations of range(count), as (rows, count).

        Each is the stable argsort of a row of ``rows * count`` words, all redrawn while a row holds a tie.
        """
        while True:
            words = self.words(rows * count).reshape(rows, count)
            order = np.argsort(words, axis=1, kind="stable")
            ranked = np.take_along_axis(words, order, axis=1)
            if not (ranked[:, 1:] == ranked[:, :-1]).any():
                return order.astype(np.int64)

    def bits(self, count: int) -> NDArray[np.bool_]:
        """``count`` bits: those of the next bytes, the lowest first."""
        drawn = np.frombuffer(self.bytes(-(-count // 8)), np.uint8)
        return np.unpackbits(drawn, bitorder="little")[:count].astype(bool)

    def uniforms(self, count: int) -> NDArray[np.float64]:
        """``count`` floats in [0, 1): the upper 53 bits of a word, divided by 2**53."""
        return (self.words(count) >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def uniform_matrix(self, size: int) -> NDArray[np.float64]:
        """A (size, size) float64 matrix with entries uniform in [-1, 1), row-major."""
        return (2.0 * self.uniforms(size * size) - 1.0).reshape(size, size)

    def byte_matrix(self, size: int) -> NDArray[np.uint8]:
        """A (size, size) uint8 matrix with uniform entries, row-major."""
        return np.frombuffer(self.bytes(size * size), dtype=np.uint8).reshape(size, size).copy()

    def normals(self, count: int) -> NDArray[np.float64]:
        """``count`` nearly normal floats: the sum of twelve uniforms minus six (Irwin-Hall).

        A logarithm or a cosine is not used, because their last digits differ between C libraries.
        """
        total: NDArray[np.float64] = self.uniforms(12 * count).reshape(count, 12).sum(axis=1)
        return total - 6.0

    def orthogonal_matrix(self, size: int) -> NDArray[np.float64]:
        """A (size, size) float64 orthogonal matrix, close to Haar-distributed.

        A product of Householder reflections of normal vectors of length size, size - 1, ..., 1 (Stewart 1980).
        A QR decomposition is not used, because its result depends on the LAPACK version.
        """
        matrix = np.eye(size)
        for start in range(size):
            vector = self.normals(size - start)
            norm = np.linalg.norm(vector)
            sign = 1.0 if vector[0] >= 0 else -1.0
            vector[0] += sign * norm
            vector /= np.linalg.norm(vector)
            lower = matrix[start:]
            lower -= 2.0 * np.outer(vector, vector @ lower)
            lower[0] *= -sign
        return matrix
