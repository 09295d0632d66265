"""Transforms of blocks: SHF, NP and FFX treat every block alike; block scrambling moves whole blocks.

A block is flattened to (row, column, channel) order (MaungMaung and Kiya 2020).
"""

from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

import numpy as np
from array_api_compat import is_numpy_array
from numpy.typing import NDArray

from cipherlens.ciphers.base import Array, BoundCipher, require_uint8
from cipherlens.ciphers.blocks import BlockCipher, map_images
from cipherlens.ciphers.rearrangement import BoundRearrangement, draw_mask, log2_factorial, move_blocks
from cipherlens.ciphers.registry import register_cipher
from cipherlens.ciphers.structure import (
    KeyStructure,
    Kind,
    Layout,
    Scope,
    Shape,
    index_blocks,
    lay_blocks,
    rearrange,
)
from cipherlens.keys import Key, KeyStream

_DIGITS = 1000
"""Numbers of three decimal digits, which the published code encrypts."""
_LEVELS = 256
"""Values of a byte. Definition."""


@dataclass(frozen=True)
class _AlikeCipher(BlockCipher):
    """Treats every block alike: the transform depends on the channels and the block, not on the image size."""

    def _count(self, shape: Shape) -> int:
        return self.block**2 * shape[0]

    def _label(self, shape: Shape) -> str:
        return f"{self.name}:block={self.block}:channels={shape[0]}"


@register_cipher
@dataclass(frozen=True)
class ShfCipher(_AlikeCipher):
    """SHF: one permutation of the values of a block, the same for every block."""

    name: ClassVar[str] = "shf"
    summary: ClassVar[str] = "values of a block permuted, in every block alike; any dtype"
    threat_note: ClassVar[str] = "obfuscation, not encryption: a few ciphertexts give the pictures"

    def structure(self, shape: Shape) -> KeyStructure:
        """One permutation of the values of a block, for all blocks."""
        return rearrange(Scope.BLOCKS, lay_blocks(shape, self.block), self.block)

    def key_bits(self, shape: Shape) -> float:
        """A permutation of the values of a block."""
        return log2_factorial(self._count(shape))

    def _bind(self, key: Key, shape: Shape) -> BoundRearrangement:
        places = index_blocks(shape, self.block)
        shuffled = places[:, KeyStream(key, self._label(shape)).permutation(self._count(shape))]
        return BoundRearrangement(self, key, shape, move_blocks(places, shuffled))


@register_cipher
@dataclass(frozen=True)
class NpCipher(_AlikeCipher):
    """NP: a key bit for each place in a block says whether p becomes 255 - p; the same for every block."""

    name: ClassVar[str] = "np"
    summary: ClassVar[str] = "each value p or 255 - p, by a key bit per place in a block, in every block alike"
    threat_note: ClassVar[str] = "obfuscation, not encryption: a few ciphertexts give the pictures"

    def structure(self, shape: Shape) -> KeyStructure:
        """Values of a block are inverted, in all blocks alike."""
        return rearrange(Scope.BLOCKS, lay_blocks(shape, self.block, moves=False, inverts=True), self.block)

    def key_bits(self, shape: Shape) -> float:
        """A bit for every value of a block."""
        return float(self._count(shape))

    def _bind(self, key: Key, shape: Shape) -> BoundRearrangement:
        mask = np.empty(prod(shape), np.uint8)
        mask[index_blocks(shape, self.block)] = draw_mask(KeyStream(key, self._label(shape)), self._count(shape))
        return BoundRearrangement(self, key, shape, mask=mask)


@register_cipher
@dataclass(frozen=True)
class BlockScramblingCipher(BlockCipher):
    """A permutation of whole blocks, all channels together."""

    name: ClassVar[str] = "block-scrambling"
    summary: ClassVar[str] = "whole blocks moved to other places; any dtype"
    threat_note: ClassVar[str] = "obfuscation, not encryption: blocks stay readable and are put back like a jigsaw"

    def structure(self, shape: Shape) -> KeyStructure:
        """Whole blocks change places."""
        return rearrange(Scope.PIECES, Layout(index_blocks(shape, self.block).T[:, None]), self.block)

    def key_bits(self, shape: Shape) -> float:
        """A permutation of the blocks."""
        return log2_factorial(shape[1] * shape[2] // self.block**2)

    def _bind(self, key: Key, shape: Shape) -> BoundRearrangement:
        places = index_blocks(shape, self.block)
        stream = KeyStream(key, f"{self.name}:block={self.block}:{shape[1]}x{shape[2]}")
        return BoundRearrangement(self, key, shape, move_blocks(places, places[stream.permutation(len(places))]))


@register_cipher
@dataclass(frozen=True)
class FfxCipher(_AlikeCipher):
    """FFX: format-preserving encryption of the values at chosen places of a block, the same for every block.

    The published code has a fixed key, tweak and length, so its cipher on three digits is one permutation of 0 to
    999. Values that leave 0 to 255 are encrypted again (cycle walking), so that uint8 stays uint8.
    """

    name: ClassVar[str] = "ffx"
    summary: ClassVar[str] = "chosen places of a block substituted by a keyed table, in every block alike"
    threat_note: ClassVar[str] = "obfuscation, not encryption: a few ciphertexts give the whole table"

    def structure(self, shape: Shape) -> KeyStructure:
        """Values at some places of a block are substituted, in all blocks alike."""
        return KeyStructure(Kind.SUBSTITUTION, Scope.BLOCKS, self.block)

    def key_bits(self, shape: Shape) -> float:
        """A bit for every value of a block, and a table of 256 levels."""
        return self._count(shape) + log2_factorial(_LEVELS)

    def _bind(self, key: Key, shape: Shape) -> "BoundFfx":
        return BoundFfx(self, key, shape)


class BoundFfx(BoundCipher):
    """FFX with its table (256,) and the places where it is used (values,), 255 or 0."""

    cipher: FfxCipher

    def __init__(self, cipher: FfxCipher, key: Key, shape: Shape) -> None:
        super().__init__(cipher, key, shape)
        label = cipher._label(shape)
        chosen = draw_mask(KeyStream(key, f"{label}:places"), cipher._count(shape))
        self.places = np.empty(prod(shape), np.uint8)
        self.places[index_blocks(shape, cipher.block)] = chosen
        self.table = walk_cycles(KeyStream(key, "ffx:digits").permutation(_DIGITS), _LEVELS)
        self.inverse = np.argsort(self.table).astype(np.uint8)

    def _encrypt(self, xp: Any, plain: Array) -> Array:
        return self._substitute(xp, plain, "table", self.table)

    def _decrypt(self, xp: Any, ct: Array) -> Array:
        return self._substitute(xp, ct, "inverse", self.inverse)

    def _substitute(self, xp: Any, images: Array, name: str, table: NDArray[np.uint8]) -> Array:
        require_uint8(xp, images, self.cipher.name)
        chosen = self._table(xp, images, "places", self.places.reshape(self.shape))
        if is_numpy_array(images):
            return map_images(images, lambda part: _substitute_bytes(part, table, chosen))
        places = xp.reshape(xp.astype(images, xp.int64), (-1,))
        found = xp.reshape(xp.take(self._table(xp, images, name, table), places, axis=0), images.shape)
        return xp.bitwise_xor(images, xp.bitwise_and(xp.bitwise_xor(found, images), chosen))


def _substitute_bytes(
    images: NDArray[np.uint8], table: NDArray[np.uint8], chosen: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """``table[images]`` where ``chosen`` is 255, else ``images``."""
    found = np.frombuffer(images.tobytes().translate(table.tobytes()), np.uint8).reshape(images.shape)
    return images ^ ((found ^ images) & chosen)


def walk_cycles(permutation: NDArray[np.int64], levels: int) -> NDArray[np.uint8]:
    """The permutation of range(``levels``) that applies ``permutation`` until the result is below ``levels``."""
    table = permutation[:levels].copy()
    while (outside := table >= levels).any():
        table[outside] = permutation[table[outside]]
    return table.astype(np.uint8)
