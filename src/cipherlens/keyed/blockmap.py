"""The block map of a bound cipher, determined from a few encryptions instead of from each cipher's code.

A cipher may apply one affine map to all blocks, and move whole blocks. A few constructed images determine the map
and the moves. Random images then test that the cipher does nothing else.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cipherlens.ciphers.base import BoundCipher
from cipherlens.ciphers.structure import index_blocks
from cipherlens.errors import UsageError

_LEVELS = 256
"""Values of a byte: base of the digits that number the blocks. Definition."""
_TOLERANCE = 1e-3
"""Largest deviation that counts as rounding, in units of [0, 1] or of the largest ciphertext. Chosen by hand."""
_PROOFS = 2
"""Random images on which the map is tested. Chosen by hand."""


@dataclass(frozen=True)
class BlockMap:
    """``new block j = old block order[j] @ matrix + shift``, pixels in [0, 1], (row, column, channel) order.

    ``matrix`` (L, L) and ``shift`` (L,) float64 with L = block * block * channels; ``order`` (blocks,).
    """

    block: int
    matrix: NDArray[np.float64]
    shift: NDArray[np.float64]
    order: NDArray[np.int64]

    @property
    def moves(self) -> bool:
        """Whether blocks are permuted."""
        return bool((self.order != np.arange(len(self.order))).any())


def find_block_map(bound: BoundCipher) -> BlockMap:
    """The block map of a bound cipher. Raises UsageError, with the reason, for a cipher without one."""
    if bound.cipher.per_image:
        raise UsageError(f"{bound.cipher.name} has a key for every image: no fixed map undoes it")
    if bound.ct_shape != bound.shape:
        raise UsageError(f"{bound.cipher.name} gives images of another shape, {bound.ct_shape}")
    probe = _Probe(bound)
    dark, bright = probe.encrypt_constant(0), probe.encrypt_constant(1)
    order = probe.find_order(dark, bright - dark)
    matrix = probe.find_matrix(dark, order)
    found = BlockMap(bound.cipher.block, matrix, dark, order)
    probe.prove(found)
    return found


class _Probe:
    def __init__(self, bound: BoundCipher) -> None:
        self._bound = bound
        self._places = index_blocks(bound.shape, bound.cipher.block)
        self._real = bound.ct_dtype != "uint8"

    def encrypt(self, blocks: NDArray[np.float64]) -> NDArray[np.float64]:
        """Encrypt images given as blocks (N, blocks, L) of pixels in [0, 1]; return the ciphertext's blocks."""
        flat = np.empty((len(blocks), self._places.size))
        flat[:, self._places] = blocks
        plain = np.rint(255 * flat).astype(np.uint8).reshape(-1, *self._bound.shape)
        ct = np.asarray(self._bound.encrypt(plain), np.float64).reshape(len(plain), -1)
        return (ct if self._real else ct / 255)[:, self._places]

    def encrypt_constant(self, value: float) -> NDArray[np.float64]:
        blocks = self.encrypt(np.full((1, *self._places.shape), value))[0]
        if np.abs(blocks - blocks[0]).max() > _TOLERANCE:
            raise self._refuse("does something else to every block (one whose pixels are all alike shows it)")
        constant: NDArray[np.float64] = blocks[0]
        return constant

    def find_order(self, shift: NDArray[np.float64], slope: NDArray[np.float64]) -> NDArray[np.int64]:
        """Find the order of blocks; two probe images hold the digits of each block's number as its brightness."""
        numbers = np.arange(len(self._places))
        digits = [numbers % _LEVELS, numbers // _LEVELS]
        blocks = np.stack([np.broadcast_to(d[:, None] / 255, self._places.shape) for d in digits])
        levels = (self.encrypt(blocks) - shift) @ slope / (slope @ slope)
        found = np.rint(255 * levels).astype(np.int64)
        order: NDArray[np.int64] = found[0] + _LEVELS * found[1]
        if not np.array_equal(np.sort(order), numbers):
            raise self._refuse("is no affine map of blocks")
        return order

    def find_matrix(self, shift: NDArray[np.float64], order: NDArray[np.int64]) -> NDArray[np.float64]:
        """Find the matrix; every block of the probe images holds one unit vector, or zeros."""
        blocks, size = self._places.shape
        probes = np.zeros((-(-size // blocks), blocks, size))
        rows = np.arange(size)
        probes[rows // blocks, rows % blocks, rows] = 1
        answers = self.encrypt(probes)
        target = np.argsort(order)[rows % blocks]
        matrix: NDArray[np.float64] = answers[rows // blocks, target] - shift
        return matrix

    def prove(self, found: BlockMap) -> None:
        generator = np.random.default_rng(0)
        blocks = generator.integers(0, 256, (_PROOFS, *self._places.shape)) / 255
        expected = blocks[:, found.order] @ found.matrix + found.shift
        if np.abs(self.encrypt(blocks) - expected).max() > _TOLERANCE * max(1.0, np.abs(expected).max()):
            raise self._refuse("is no affine map of blocks, the same for all")

    def _refuse(self, reason: str) -> UsageError:
        return UsageError(
            f"{self._bound.cipher.name} {reason}",
            hint="what folds is the same affine map of every block: hill, shf, np, patch and compositions of these",
        )
