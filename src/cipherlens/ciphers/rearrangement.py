"""Rearrangements: most keyed transforms permute the values of an image and invert some of them.

A scheme computes two tables once, for the whole image: the source of every value, and the bits that change.
Encryption is then one gather and one exclusive or in every scheme.
"""

from math import lgamma, log, prod
from typing import Any

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from cipherlens.ciphers.base import Array, BoundCipher, Cipher, require_uint8
from cipherlens.ciphers.blocks import map_images
from cipherlens.ciphers.structure import Order, Shape
from cipherlens.keys import Key, KeyStream


def invert_order(order: Order) -> Order:
    """The order that undoes ``order``."""
    inverse = np.empty_like(order)
    inverse[order] = np.arange(len(order))
    return inverse


def move_blocks(targets: Order, sources: Order) -> Order:
    """The order that moves the values at ``sources`` (blocks, values) to ``targets``, of the same shape."""
    order = np.empty(targets.size, np.int64)
    order[targets] = sources
    return order


def draw_mask(stream: KeyStream, count: int) -> NDArray[np.uint8]:
    """``count`` values, each 0 or 255, from bits of the stream."""
    return np.where(stream.bits(count), 255, 0).astype(np.uint8)


def name_shape(shape: Shape) -> str:
    """A shape as the labels of streams write it."""
    return "x".join(map(str, shape))


def log2_factorial(count: int) -> float:
    """log2(count!), for sizes of key spaces."""
    return lgamma(count + 1) / log(2)


class BoundRearrangement(BoundCipher):
    """``ct[i] = plain[order[i]] ^ mask[i]`` on flattened images.

    ``order`` (values,), or None where no value moves. ``mask`` (values,) uint8, or None where no value changes;
    then any dtype is accepted and kept.
    """

    def __init__(
        self,
        cipher: Cipher,
        key: Key,
        shape: Shape,
        order: Order | None = None,
        mask: NDArray[np.uint8] | None = None,
    ) -> None:
        super().__init__(cipher, key, shape)
        self.order, self.mask = order, mask
        self.inverse = None if order is None else invert_order(order)
        self._keeps_dtype = mask is None

    def _encrypt(self, xp: Any, plain: Array) -> Array:
        if self.order is None:
            return self._flip(xp, plain)
        return map_images(plain, lambda x: self._flip(xp, self._take(xp, x, "order", self.order, self.ct_shape)))

    def _decrypt(self, xp: Any, ct: Array) -> Array:
        if self.order is None:
            return self._flip(xp, ct)
        return map_images(ct, lambda x: self._take(xp, self._flip(xp, x), "inverse", self.inverse, self.shape))

    def _take(self, xp: Any, images: Array, name: str, order: Order | None, shape: Shape) -> Array:
        assert order is not None
        flat = xp.reshape(images, (images.shape[0], prod(images.shape[1:])))
        return xp.reshape(xp.take(flat, self._table(xp, images, name, order), axis=1), (-1, *shape))

    def _flip(self, xp: Any, images: Array) -> Array:
        if self.mask is None:
            return images
        require_uint8(xp, images, self.cipher.name)
        table = self._table(xp, images, "mask", self.mask.reshape(self.ct_shape))
        return xp.bitwise_xor(images, table)


class BoundNibbleRearrangement(BoundCipher):
    """The same on half bytes: first the lower halves of all values, then the upper halves.

    ``order`` (2 * values,) says where each half comes from, ``mask`` (2 * values,) of 0 and 15 which bits change.
    """

    def __init__(self, cipher: Cipher, key: Key, shape: Shape, order: Order, mask: NDArray[np.uint8]) -> None:
        super().__init__(cipher, key, shape)
        self.order, self.mask = order, mask
        self.inverse = invert_order(order)
        self._back = mask[self.inverse]

    def _encrypt(self, xp: Any, plain: Array) -> Array:
        return map_images(plain, lambda part: self._move(part, "order", self.order, "mask", self.mask))

    def _decrypt(self, xp: Any, ct: Array) -> Array:
        return map_images(ct, lambda part: self._move(part, "inverse", self.inverse, "back", self._back))

    def _move(self, images: Array, order_name: str, order: Order, mask_name: str, mask: NDArray[np.uint8]) -> Array:
        xp = array_namespace(images)
        require_uint8(xp, images, self.cipher.name)
        flat = xp.reshape(images, (images.shape[0], prod(images.shape[1:])))
        values = flat.shape[1]
        halves = xp.concat([flat & 15, flat >> 4], axis=1)
        moved = xp.take(halves, self._table(xp, images, order_name, order), axis=1)
        moved = xp.bitwise_xor(moved, self._table(xp, images, mask_name, mask))
        return xp.reshape((moved[:, values:] << 4) | moved[:, :values], images.shape)
