"""Learnable encryption: LE (Tanaka 2018) and ELE (Madono 2020) shuffle and invert the half bytes of blocks."""

from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cipherlens.ciphers.blocks import BlockCipher
from cipherlens.ciphers.rearrangement import BoundNibbleRearrangement, log2_factorial, name_shape
from cipherlens.ciphers.registry import register_cipher
from cipherlens.ciphers.structure import (
    KeyStructure,
    Order,
    Scope,
    Shape,
    index_blocks,
    lay_anywhere,
    lay_blocks,
    rearrange,
)
from cipherlens.keys import Key, KeyStream


@register_cipher
@dataclass(frozen=True)
class LeCipher(BlockCipher):
    """One permutation of the half bytes of every block; about half of them are inverted before and after it.

    The permutation determines which are inverted, so the claimed key space of 96! * 2^96 (4x4 blocks) is 96!.
    """

    name: ClassVar[str] = "le"
    summary: ClassVar[str] = "half bytes of a block permuted and inverted, in every block alike"
    threat_note: ClassVar[str] = "obfuscation, not encryption: ciphertexts, or a known picture, give the pictures"

    def structure(self, shape: Shape) -> KeyStructure:
        """Half bytes of a block change places and are inverted, in all blocks alike."""
        return rearrange(Scope.BLOCKS, lay_blocks(shape, self.block, inverts=True, halves=True), self.block)

    def key_bits(self, shape: Shape) -> float:
        """A permutation of the half bytes of a block."""
        return log2_factorial(2 * self.block**2 * shape[0])

    def _bind(self, key: Key, shape: Shape) -> BoundNibbleRearrangement:
        places = index_blocks(shape, self.block)
        count = 2 * places.shape[1]
        permutation = KeyStream(key, f"le:block={self.block}:channels={shape[0]}").permutation(count)
        keys = np.broadcast_to(permutation, (len(places), count))
        return BoundNibbleRearrangement(self, key, shape, *combine(places, places, keys, prod(shape)))


@register_cipher
@dataclass(frozen=True)
class EleCipher(BlockCipher):
    """LE with a separate key for every block, followed by a permutation of the blocks."""

    name: ClassVar[str] = "ele"
    summary: ClassVar[str] = "half bytes of a block permuted and inverted, each block differently; blocks moved"
    threat_note: ClassVar[str] = "obfuscation, not encryption: known pictures give the key"

    def structure(self, shape: Shape) -> KeyStructure:
        """Half bytes go anywhere and are inverted."""
        return rearrange(Scope.IMAGE, lay_anywhere(shape, halves=True), self.block)

    def key_bits(self, shape: Shape) -> float:
        """A permutation of the half bytes of every block, and one of the blocks."""
        blocks = shape[1] * shape[2] // self.block**2
        return blocks * log2_factorial(2 * self.block**2 * shape[0]) + log2_factorial(blocks)

    def _bind(self, key: Key, shape: Shape) -> BoundNibbleRearrangement:
        places = index_blocks(shape, self.block)
        label = f"ele:block={self.block}:{name_shape(shape)}"
        keys = KeyStream(key, f"{label}:keys").permutations(len(places), 2 * places.shape[1])
        moved = KeyStream(key, f"{label}:positions").permutation(len(places))
        return BoundNibbleRearrangement(self, key, shape, *combine(places[moved], places, keys[moved], prod(shape)))


def combine(sources: Order, targets: Order, keys: Order, values: int) -> tuple[Order, NDArray[np.uint8]]:
    """Order and mask on the half bytes of an image with ``values`` values.

    ``sources`` and ``targets`` (blocks, values of a block) are the places from and to which each block moves.
    ``keys`` (blocks, half bytes of a block) are the permutations. A half byte is inverted where the key's number is
    above the middle: once for its source place, and once for its target place.
    """
    halves = [np.concatenate([places, places + values], axis=1) for places in (sources, targets)]
    inverted = keys > keys.shape[1] // 2
    flips = inverted ^ np.take_along_axis(inverted, keys, axis=1)
    order = np.empty(2 * values, np.int64)
    mask = np.empty(2 * values, np.uint8)
    order[halves[1]] = np.take_along_axis(halves[0], keys, axis=1)
    mask[halves[1]] = 15 * flips.astype(np.uint8)
    return order, mask
