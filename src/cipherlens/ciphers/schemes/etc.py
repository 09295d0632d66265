"""Encryption-then-compression (EtC; Chuman, Sirichotedumrong and Kiya 2019): blocks moved, rotated, inverted."""

from collections.abc import Callable
from dataclasses import dataclass
from math import log2
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cipherlens.ciphers.base import Array
from cipherlens.ciphers.blocks import BlockCipher
from cipherlens.ciphers.per_image import PerImageCipher
from cipherlens.ciphers.rearrangement import BoundRearrangement, log2_factorial, name_shape
from cipherlens.ciphers.registry import register_cipher
from cipherlens.ciphers.structure import (
    KeyStructure,
    Kind,
    Order,
    Scope,
    Shape,
    index_blocks,
    lay_anywhere,
    rearrange,
)
from cipherlens.errors import UsageError
from cipherlens.keys import Key, KeyStream

TURNS = 8
"""Rotations and reflections of a square. Definition."""


@register_cipher
@dataclass(frozen=True)
class EtcCipher(PerImageCipher, BlockCipher):
    """Blocks are moved, rotated and reflected; half of them are inverted; the colours of each are permuted.

    With blocks of 16 x 16 the result can be stored as JPEG. ``grey`` puts the channels side by side as one grey
    picture, which can be stored as JPEG with blocks of 8 x 8. It expects images in YCbCr.
    """

    block: int = 16
    grey: bool = False
    name: ClassVar[str] = "etc"
    summary: ClassVar[str] = "blocks moved, turned, inverted, colours permuted; can be stored as JPEG"
    threat_note: ClassVar[str] = "obfuscation, not encryption: blocks stay readable and are put back like a jigsaw"

    def ct_shape(self, shape: Shape) -> Shape:
        """The image's shape, or with ``grey`` that of its channels side by side."""
        channels, height, width = shape
        return (1, height, channels * width) if self.grey else shape

    def structure(self, shape: Shape) -> KeyStructure:
        """Whole blocks change places; each is turned, inverted, and its colours are exchanged."""
        return rearrange(Scope.PIECES, lay_anywhere(shape), self.block, turns=True)

    def key_bits(self, shape: Shape) -> float:
        """Positions, rotations and reflections, inversions and colour permutations of all blocks."""
        channels, height, width = self.ct_shape(shape)
        blocks = height * width // self.block**2
        return log2_factorial(blocks) + blocks * (log2(2 * TURNS) + log2_factorial(channels))

    def _bind(self, key: Key, shape: Shape) -> BoundRearrangement:
        order, mask = draw_tables(self, key, self.ct_shape(shape), draw_colours)
        if self.grey:
            side_by_side = np.arange(len(order)).reshape(shape).transpose(1, 0, 2).reshape(-1)
            order = side_by_side[order]
        return BoundRearrangement(self, key, shape, order, mask)


@register_cipher
@dataclass(frozen=True)
class EtcLegacyCipher(BlockCipher):
    """EtC with the fault of the public code, with which accuracies were published; it cannot be decrypted.

    The public code permutes the colours in place, channel after channel, so most permutations overwrite a channel
    before it is read. Its blocks are 4 x 4.
    """

    name: ClassVar[str] = "etc-legacy"
    summary: ClassVar[str] = "EtC with the public code's fault: colours are lost, cannot be decrypted"
    threat_note: ClassVar[str] = "obfuscation, not encryption; kept only to compare with published figures"

    def structure(self, shape: Shape) -> KeyStructure:
        """No rearrangement, because colours are lost."""
        return KeyStructure(Kind.OTHER, Scope.PIECES, self.block, inverts=True, turns=True)

    def key_bits(self, shape: Shape) -> float:
        """The key space of EtC."""
        return EtcCipher(block=self.block).key_bits(shape)

    def _bind(self, key: Key, shape: Shape) -> "BoundEtcLegacy":
        order, mask = draw_tables(self, key, shape, draw_colours_in_place)
        return BoundEtcLegacy(self, key, shape, order, mask)


class BoundEtcLegacy(BoundRearrangement):
    """The faulty EtC with its tables; it encrypts only."""

    def _decrypt(self, xp: Any, ct: Array) -> Array:
        raise UsageError("etc-legacy has lost colours and cannot be decrypted", hint="use etc")


def draw_tables(
    cipher: BlockCipher, key: Key, shape: Shape, colouring: Callable[[KeyStream, int, int], Order]
) -> tuple[Order, NDArray[np.uint8]]:
    """Order and mask for images of ``shape``."""
    block, channels = cipher.block, shape[0]
    places = index_blocks(shape, block)
    count = len(places)
    label = f"etc:block={block}:{name_shape(shape)}"
    sources = places[KeyStream(key, f"{label}:positions").permutation(count)].reshape(count, block**2, channels)
    turned = list_turns(block)[KeyStream(key, f"{label}:turns").integers(TURNS, count)]
    colours = colouring(KeyStream(key, f"{label}:colours"), count, channels)
    inverted = KeyStream(key, f"{label}:negatives").bits(count)
    order = np.empty(places.size, np.int64)
    mask = np.empty(places.size, np.uint8)
    block_numbers = np.arange(count)[:, None, None]
    order[places.reshape(sources.shape)] = sources[block_numbers, turned[:, :, None], colours[:, None, :]]
    mask[places] = np.where(inverted, 255, 0)[:, None]
    return order, mask


def list_turns(block: int) -> Order:
    """The eight symmetries of a square (8, block * block): t % 4 quarter turns, mirrored from t = 4 on."""
    square = np.arange(block**2).reshape(block, block)
    turns = [np.rot90(square, turn % 4) for turn in range(TURNS)]
    return np.stack([(t[:, ::-1] if number >= 4 else t).reshape(-1) for number, t in enumerate(turns)])


def draw_colours(stream: KeyStream, blocks: int, channels: int) -> Order:
    """Which channel each channel of each block comes from: (blocks, channels)."""
    return stream.permutations(blocks, channels)


def draw_colours_in_place(stream: KeyStream, blocks: int, channels: int) -> Order:
    """The same with the public code's fault: it reads channels that it has overwritten already."""
    permutations = stream.permutations(blocks, channels)
    state = np.tile(np.arange(channels), (blocks, 1))
    for channel in range(channels):
        state[:, channel] = np.take_along_axis(state, permutations[:, channel : channel + 1], axis=1)[:, 0]
    return state
