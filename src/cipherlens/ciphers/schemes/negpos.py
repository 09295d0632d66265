"""Negative-positive transformation of single values, and pixel-based encryption (PE)."""

from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np

from cipherlens.ciphers.per_image import PerImageCipher
from cipherlens.ciphers.rearrangement import BoundRearrangement, draw_mask, log2_factorial, name_shape
from cipherlens.ciphers.registry import register_cipher
from cipherlens.ciphers.structure import KeyStructure, Scope, Shape, lay_pixels, rearrange
from cipherlens.keys import Key, KeyStream


@register_cipher
@dataclass(frozen=True)
class NegposCipher(PerImageCipher):
    """A key bit for every pixel and channel says whether the value p becomes 255 - p."""

    name: ClassVar[str] = "negpos"
    summary: ClassVar[str] = "each value p or 255 - p, by a key bit per pixel and channel"
    threat_note: ClassVar[str] = "obfuscation, not encryption: a few ciphertexts under one key give the pictures"

    def structure(self, shape: Shape) -> KeyStructure:
        """Values stay in their places and are inverted."""
        return rearrange(Scope.PIXELS, lay_pixels(shape, moves=False))

    def key_bits(self, shape: Shape) -> float:
        """A bit for every value."""
        return float(prod(shape))

    def _bind(self, key: Key, shape: Shape) -> BoundRearrangement:
        mask = draw_mask(KeyStream(key, f"negpos:{name_shape(shape)}"), prod(shape))
        return BoundRearrangement(self, key, shape, mask=mask)


@register_cipher
@dataclass(frozen=True)
class PeCipher(PerImageCipher):
    """Pixel-based encryption (Sirichotedumrong 2019): the colours of each pixel are permuted, values inverted."""

    colour: bool = True
    name: ClassVar[str] = "pe"
    summary: ClassVar[str] = "each pixel's colours permuted and each value p or 255 - p"
    threat_note: ClassVar[str] = "obfuscation, not encryption: a few ciphertexts under one key give the pictures"

    def structure(self, shape: Shape) -> KeyStructure:
        """Values stay in their pixel and are inverted."""
        return rearrange(Scope.PIXELS, lay_pixels(shape, moves=self.colour))

    def key_bits(self, shape: Shape) -> float:
        """A bit for every value, and a permutation of the channels for every pixel."""
        channels, height, width = shape
        return prod(shape) + (height * width * log2_factorial(channels) if self.colour else 0.0)

    def _bind(self, key: Key, shape: Shape) -> BoundRearrangement:
        channels, height, width = shape
        name = name_shape(shape)
        mask = draw_mask(KeyStream(key, f"pe:negpos:{name}"), prod(shape))
        if not self.colour:
            return BoundRearrangement(self, key, shape, mask=mask)
        pixels = height * width
        colours = KeyStream(key, f"pe:colour:{name}").permutations(pixels, channels)
        order = (colours.T * pixels + np.arange(pixels)).reshape(-1)
        return BoundRearrangement(self, key, shape, order, mask)
