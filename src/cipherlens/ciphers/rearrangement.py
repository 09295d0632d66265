"""What most keyed transforms are: values moved to other places, some of them inverted.

A scheme only says where every value of an image comes from and which bits of it change; both are computed once, for
the whole image. Encryption is then one gather and one exclusive or, whatever the scheme.
"""

from math import lgamma, log, prod
from typing import Any

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from cipherlens.ciphers.base import Array, BoundCipher, Cipher, Shape, require_uint8
from cipherlens.ciphers.blocks import map_images
from cipherlens.keys import Key, KeyStream

Order = NDArray[np.int64]


def invert_order(order: Order) -> Order:
    """The order that undoes ``order``."""
    inverse = np.empty_like(order)
    inverse[order] = np.arange(len(order))
    return inverse


def index_blocks(shape: Shape, block: int) -> Order:
    """Where the values of each block lie in a flattened image (C, H, W): (blocks, block * block * C).

    Blocks row by row; within a block (row, column, channel), as the published codes flatten it.
    """
    channels, height, width = shape
    places = np.arange(prod(shape)).reshape(channels, height // block, block, width // block, block)
    return places.transpose(1, 3, 2, 4, 0).reshape(-1, block * block * channels)


def move_blocks(targets: Order, sources: Order) -> Order:
    """The order in which the values at ``targets`` (blocks, values) come from ``sources``, of the same shape."""
    order = np.empty(targets.size, np.int64)
    order[targets] = sources
    return order


def draw_mask(stream: KeyStream, count: int) -> NDArray[np.uint8]:
    """``count`` values 0 or 255."""
    return np.where(stream.bits(count), 255, 0).astype(np.uint8)


def name_shape(shape: Shape) -> str:
    """A shape as it stands in the labels of streams."""
    return "x".join(map(str, shape))


def log2_factorial(count: int) -> float:
    """log2(count!), for sizes of key spaces."""
    return lgamma(count + 1) / log(2)


class BoundRearrangement(BoundCipher):
    """``ct[i] = plain[order[i]] ^ mask[i]`` on flattened images.

    ``order`` (values,) or None: all stay in place. ``mask`` (values,) uint8 or None: none is changed; any dtype is
    taken then, and kept.
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
    """The same on half bytes: first the lower ones of all values, then the upper ones.

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
