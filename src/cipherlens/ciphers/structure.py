"""What everybody may know of a scheme: what the key does to an image, where it does the same, and how often.

Most keyed transforms move values and invert some of them. Where they treat all blocks alike, or all channels, one
image shows the effect of the same secret many times: these are the samples. Attacks decide by this description
whether they apply; attacks with known or chosen pictures need nothing else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from math import lcm, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

Order = NDArray[np.int64]
Bytes = NDArray[np.uint8]
Shape = tuple[int, int, int]


class Kind(Enum):
    """What a key does to the values of an image."""

    NOTHING = "nothing"
    REARRANGEMENT = "rearrangement"
    """Values, or half bytes, change places, and some are inverted."""
    LINEAR = "linear"
    """Blocks are multiplied by a real matrix, and values may be inverted before."""
    MODULAR = "modular"
    """Blocks are multiplied by a matrix modulo 256."""
    SUBSTITUTION = "substitution"
    """Values are replaced by those of a table."""
    OTHER = "other"
    """Always the same under one key, and no more is declared."""
    FRESH = "fresh"
    """Other randomness for every image: there is nothing to find."""


class Scope(Enum):
    """Where one secret acts."""

    BLOCKS = "blocks"
    """In all blocks alike, which stay in their places."""
    CHANNELS = "channels"
    """In all channels alike, over the whole image."""
    PIXELS = "pixels"
    """In every pixel differently; values stay in their pixel."""
    PIECES = "pieces"
    """Whole blocks move."""
    IMAGE = "image"
    """Over the whole image: any value may go anywhere."""


@dataclass(frozen=True)
class Layout:
    """Units of an image (C, H, W) that a scheme exchanges.

    ``places`` (samples, groups, members) are places in the flattened image: in every sample, the same secret order
    acts on the members of a group. ``halves``: units are half bytes, first all lower ones, then all upper ones.
    ``moves``: members change places. ``inverts``: some are inverted.
    """

    places: Order
    halves: bool = False
    moves: bool = True
    inverts: bool = False

    @property
    def top(self) -> int:
        """The largest value of a unit."""
        return 15 if self.halves else 255

    def split(self, images: Bytes) -> Bytes:
        """Images (N, C, H, W) -> units (N * samples, groups, members)."""
        flat = images.reshape(len(images), -1)
        if self.halves:
            flat = np.concatenate([flat & 15, flat >> 4], axis=1)
        return flat[:, self.places].reshape(-1, *self.places.shape[1:])

    def merge(self, units: Bytes, shape: Shape) -> Bytes:
        """Units (N * samples, groups, members) -> images (N, C, H, W): the inverse of :meth:`split`."""
        flat: NDArray[Any] = np.empty((len(units) // len(self.places), self.places.size), np.uint8)
        flat[:, self.places] = units.reshape(-1, *self.places.shape)
        if self.halves:
            low, high = np.split(flat, 2, axis=1)
            flat = low | (high << 4)
        return flat.reshape(-1, *shape)


@dataclass(frozen=True)
class KeyStructure:
    """What a scheme may do to images of one shape, without the key.

    ``block``: side in pixels of its blocks, None where it has none. ``per_channel``: a block has one channel.
    ``inverts``: some values are inverted. ``turns``: pieces are also turned and inverted, and their colours move.
    ``layout``: of a rearrangement, which units may change places with which. ``orthogonal``: of a linear scheme,
    whether its matrices are.
    """

    kind: Kind
    scope: Scope = Scope.IMAGE
    block: int | None = None
    per_channel: bool = False
    inverts: bool = False
    turns: bool = False
    layout: Layout | None = None
    orthogonal: bool = False

    @property
    def halves(self) -> bool:
        """Whether it acts on half bytes."""
        return self.layout is not None and self.layout.halves

    @property
    def maps_bytes_alike(self) -> bool:
        """The same for whole bytes."""
        return self.maps_blocks_alike and not self.halves

    @property
    def keeps_lengths(self) -> bool:
        """Whether an encrypted block is as long a vector as the plain one, from middle grey where values invert."""
        return self.orthogonal or self.kind is Kind.REARRANGEMENT

    @property
    def keeps_pixels(self) -> bool:
        """Whether it is a rearrangement that keeps every value in its pixel."""
        stays = self.layout is not None and not self.layout.moves
        return self.kind is Kind.REARRANGEMENT and (self.scope is Scope.PIXELS or stays)

    @property
    def maps_blocks_alike(self) -> bool:
        """Whether one affine map acts on all blocks: on their values, or on their half bytes."""
        return self.scope is Scope.BLOCKS and self.kind in (Kind.REARRANGEMENT, Kind.LINEAR)


def rearrange(scope: Scope, layout: Layout, block: int | None = None, turns: bool = False) -> KeyStructure:
    """The structure of a rearrangement."""
    return KeyStructure(Kind.REARRANGEMENT, scope, block, inverts=layout.inverts, turns=turns, layout=layout)


def index_blocks(shape: Shape, block: int) -> Order:
    """Where the values of each block lie in a flattened image (C, H, W): (blocks, block * block * C).

    Blocks row by row; within a block (row, column, channel), as the published codes flatten it.
    """
    channels, height, width = shape
    places = np.arange(prod(shape)).reshape(channels, height // block, block, width // block, block)
    return places.transpose(1, 3, 2, 4, 0).reshape(-1, block * block * channels)


def lay_blocks(shape: Shape, block: int, moves: bool = True, inverts: bool = False, halves: bool = False) -> Layout:
    """All blocks alike: values change places within their block, or (not ``moves``) stay and are inverted."""
    places = index_blocks(shape, block)
    if halves:
        places = np.concatenate([places, places + prod(shape)], axis=1)
    return Layout(places[:, None] if moves else places[:, :, None], halves, moves, inverts)


def lay_anywhere(shape: Shape, halves: bool = False, inverts: bool = True) -> Layout:
    """Any unit may go anywhere."""
    count = prod(shape) * (2 if halves else 1)
    return Layout(np.arange(count).reshape(1, 1, -1), halves, inverts=inverts)


def lay_pixels(shape: Shape, moves: bool) -> Layout:
    """Values stay in their pixel, where some are inverted; with ``moves`` they also change places there."""
    places = np.arange(prod(shape)).reshape(shape[0], -1).T
    return Layout(places[None] if moves else places.reshape(1, -1, 1), moves=moves, inverts=True)


def compose(parts: Sequence[KeyStructure], shape: Shape) -> KeyStructure:
    """The structure of several schemes applied in sequence to images of ``shape``."""
    parts = [part for part in parts if part.kind is not Kind.NOTHING] or parts[:1]
    if len(parts) == 1:
        return parts[0]
    kinds = {part.kind for part in parts}
    if kinds == {Kind.REARRANGEMENT}:
        return _compose_rearrangements(parts, shape)
    if all(part.maps_bytes_alike for part in parts):
        per_channel, inverts = all(part.per_channel for part in parts), any(part.inverts for part in parts)
        orthogonal = all(part.keeps_lengths and not part.inverts for part in parts)
        return KeyStructure(
            Kind.LINEAR, Scope.BLOCKS, _join_blocks(parts), per_channel, inverts, orthogonal=orthogonal
        )
    return KeyStructure(Kind.FRESH if Kind.FRESH in kinds else Kind.OTHER)


def _compose_rearrangements(parts: Sequence[KeyStructure], shape: Shape) -> KeyStructure:
    layouts = [part.layout for part in parts if part.layout is not None]
    moves, inverts = any(layout.moves for layout in layouts), any(layout.inverts for layout in layouts)
    halves = any(layout.halves for layout in layouts)
    if all(part.maps_bytes_alike for part in parts):
        block = _join_blocks(parts)
        return rearrange(Scope.BLOCKS, lay_blocks(shape, block, moves, inverts), block)
    if all(part.keeps_pixels for part in parts):
        return rearrange(Scope.PIXELS, lay_pixels(shape, moves))
    if all(part.scope is Scope.CHANNELS for part in parts):
        return parts[0]
    return rearrange(Scope.IMAGE, lay_anywhere(shape, halves))


def _join_blocks(parts: Sequence[KeyStructure]) -> int:
    return lcm(*(part.block for part in parts if part.block))
