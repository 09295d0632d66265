"""Encryption-then-compression (EtC: Chuman, Sirichotedumrong and Kiya 2019): blocks moved, turned, inverted."""

from collections.abc import Callable
from dataclasses import dataclass
from math import log2
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cipherlens.ciphers.base import Array, Shape
from cipherlens.ciphers.blocks import BlockCipher
from cipherlens.ciphers.per_image import PerImageCipher
from cipherlens.ciphers.rearrangement import BoundRearrangement, Order, index_blocks, log2_factorial, name_shape
from cipherlens.errors import UsageError
from cipherlens.keys import Key, KeyStream

TURNS = 8


@dataclass(frozen=True)
class EtcCipher(PerImageCipher, BlockCipher):
    """Blocks moved, turned and mirrored, half of them inverted, the colours of each permuted.

    With blocks of 16 x 16 the result can be stored as JPEG. ``grey`` puts the channels side by side and treats them
    as one grey picture, which can be stored as JPEG with blocks of 8 x 8; give it images in YCbCr.
    """

    block: int = 16
    grey: bool = False
    name: ClassVar[str] = "etc"
    summary: ClassVar[str] = "blocks moved, turned, inverted, colours permuted; can be stored as JPEG"
    threat_note: ClassVar[str] = "obfuscation, not encryption: blocks stay readable and are put back like a jigsaw"

    def ct_shape(self, shape: Shape) -> Shape:
        """That of the image, or of its channels side by side."""
        channels, height, width = shape
        return (1, height, channels * width) if self.grey else shape

    def key_bits(self, shape: Shape) -> float:
        """Places, turns, signs and colours of all blocks."""
        channels, height, width = self.ct_shape(shape)
        blocks = height * width // self.block**2
        return log2_factorial(blocks) + blocks * (log2(2 * TURNS) + log2_factorial(channels))

    def _bind(self, key: Key, shape: Shape) -> BoundRearrangement:
        order, mask = draw_tables(self, key, self.ct_shape(shape), draw_colours)
        if self.grey:
            side_by_side = np.arange(len(order)).reshape(shape).transpose(1, 0, 2).reshape(-1)
            order = side_by_side[order]
        return BoundRearrangement(self, key, shape, order, mask)


@dataclass(frozen=True)
class EtcLegacyCipher(BlockCipher):
    """EtC with the fault of the public code, on which published accuracies rest; it cannot be decrypted.

    Its permutation of the colours assigns channel after channel in place, so that most permutations overwrite a
    channel before it is read. Blocks are 4 x 4 there.
    """

    name: ClassVar[str] = "etc-legacy"
    summary: ClassVar[str] = "EtC with the public code's fault: colours are lost, cannot be decrypted"
    threat_note: ClassVar[str] = "obfuscation, not encryption; kept only to compare with published figures"

    def key_bits(self, shape: Shape) -> float:
        """As many keys as EtC has."""
        return EtcCipher(block=self.block).key_bits(shape)

    def _bind(self, key: Key, shape: Shape) -> "BoundEtcLegacy":
        order, mask = draw_tables(self, key, shape, draw_colours_in_place)
        return BoundEtcLegacy(self, key, shape, order, mask)


class BoundEtcLegacy(BoundRearrangement):
    """Encrypts only."""

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
    """The same, but as the public code does it: channels that were written already are read again."""
    permutations = stream.permutations(blocks, channels)
    state = np.tile(np.arange(channels), (blocks, 1))
    for channel in range(channels):
        state[:, channel] = np.take_along_axis(state, permutations[:, channel : channel + 1], axis=1)[:, 0]
    return state
