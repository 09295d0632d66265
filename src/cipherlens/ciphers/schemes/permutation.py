"""Pixel permutation: one key-derived permutation of the H*W positions, the same for every channel (PrivDL)."""

from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cipherlens.ciphers.base import Array, BoundCipher, Cipher
from cipherlens.ciphers.rearrangement import invert_order, log2_factorial
from cipherlens.ciphers.registry import register_cipher
from cipherlens.ciphers.structure import KeyStructure, Layout, Scope, Shape, rearrange
from cipherlens.keys import Key, KeyStream


@register_cipher
@dataclass(frozen=True)
class PixelPermutationCipher(Cipher):
    """Shuffle the pixels of an image (PrivDL, ICASSP 2024, section 2); keeps any dtype."""

    name: ClassVar[str] = "pixel-permutation"
    summary: ClassVar[str] = "one permutation of all pixel positions; any dtype"
    threat_note: ClassVar[str] = (
        "obfuscation, not encryption: many small ciphertexts, or a few known pictures, give the key"
    )

    def structure(self, shape: Shape) -> KeyStructure:
        """One permutation of the places of a channel, for all channels."""
        return rearrange(Scope.CHANNELS, Layout(np.arange(prod(shape)).reshape(shape[0], 1, -1)))

    def key_bits(self, shape: Shape) -> float:
        """A permutation of the positions."""
        return log2_factorial(shape[1] * shape[2])

    def _bind(self, key: Key, shape: Shape) -> "BoundPixelPermutation":
        return BoundPixelPermutation(self, key, shape)


class BoundPixelPermutation(BoundCipher):
    """``ct[..., i] = plain[..., order[i]]`` on flattened positions; ``inverse`` undoes it."""

    cipher: PixelPermutationCipher
    _keeps_dtype = True

    def __init__(self, cipher: PixelPermutationCipher, key: Key, shape: Shape) -> None:
        super().__init__(cipher, key, shape)
        self._key = key
        self.order: NDArray[np.int64] = self.order_for(shape[1:])
        self.inverse = invert_order(self.order)

    def order_for(self, size: tuple[int, int]) -> NDArray[np.int64]:
        """The order of images of another size (H, W) under the same key."""
        height, width = size
        return KeyStream(self._key, f"pixel-permutation:{height}x{width}").permutation(height * width)

    def inner_order(self, number: int, size: tuple[int, int]) -> NDArray[np.int64]:
        """The order of a locked model's feature map ``number``, of size (H, W): independent of all others."""
        height, width = size
        return KeyStream(self._key, f"feature-map:{number}:{height}x{width}").permutation(height * width)

    def _encrypt(self, xp: Any, plain: Array) -> Array:
        return self._take(xp, plain, "order", self.order)

    def _decrypt(self, xp: Any, ct: Array) -> Array:
        return self._take(xp, ct, "inverse", self.inverse)

    def _take(self, xp: Any, images: Array, name: str, order: NDArray[np.int64]) -> Array:
        n, c, h, w = images.shape
        flat = xp.reshape(images, (n, c, h * w))
        return xp.reshape(xp.take(flat, self._table(xp, images, name, order), axis=2), (n, c, h, w))
