"""Estimated inverses of schemes that move, invert, substitute or multiply bytes."""

from dataclasses import dataclass
from math import prod
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cipherlens.ciphers.blockmaps import Images, merge_halves, split_halves
from cipherlens.ciphers.blocks import merge_blocks, split_blocks
from cipherlens.ciphers.estimated_inverse import BlockInverse, EstimatedInverse, PositionFacts
from cipherlens.ciphers.structure import Order, Shape, index_blocks
from cipherlens.schema import Side, parse

UNKNOWN = -1
"""Place of a value that the attack did not find."""
_LEVELS = 256
"""Values of a byte."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ValueInverse(EstimatedInverse):
    """Value i of a picture is value ``source[i]`` of the ciphertext, v or with ``inverted[i]`` 1 - v.

    Both count flattened images (C, H, W) of ``plain_shape``; with ``halves`` half bytes, first all lower ones.
    UNKNOWN values are ``fill``.
    """

    kind = "values"
    plain_shape: Shape
    source: Order
    inverted: NDArray[np.bool_]
    halves: bool = False
    fill: float = 0.0

    def _apply(self, ct: NDArray[Any]) -> Images:
        values = (split_halves(ct) if self.halves else ct).reshape(len(ct), -1)
        found = values[:, self.source].astype(np.float32)
        np.subtract(np.float32(1), found, out=found, where=self.inverted)
        found[:, self.source == UNKNOWN] = self.fill
        channels, height, width = self.plain_shape
        images = found.reshape(len(ct), channels * (2 if self.halves else 1), height, width)
        return merge_halves(images) if self.halves else images

    def _tensors(self) -> dict[str, NDArray[Any]]:
        return {"source": self.source.astype(np.int64), "inverted": self.inverted.astype(np.uint8)}

    def _facts(self) -> dict[str, Any]:
        more = {"plain_shape": list(self.plain_shape), "halves": self.halves, "fill": self.fill}
        return {**super()._facts(), **more}

    @classmethod
    def parse(cls, facts: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> Self:
        """Create it from the content of a file. Raises ValueError where that is inconsistent."""
        told, source, inverted = parse(facts, _ValueFacts), tensors["source"], tensors["inverted"]
        count = prod(told.plain_shape) * (2 if told.halves else 1)
        if source.dtype != np.int64 or source.shape != (count,) or inverted.shape != (count,):
            raise ValueError(f"places of {source.size} values in images {told.plain_shape}")
        if source.min() < UNKNOWN or source.max() >= prod(told.shape) * (2 if told.halves else 1):
            raise ValueError("places outside the image")
        return cls(
            shape=told.shape,
            plain_shape=told.plain_shape,
            source=source,
            inverted=inverted.astype(bool),
            halves=told.halves,
            fill=told.fill,
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class TableInverse(EstimatedInverse):
    """At the ``chosen`` (values of a block,) places of every block, byte v of the ciphertext is ``table[v]``."""

    kind = "table"
    block: int
    chosen: NDArray[np.bool_]
    table: NDArray[np.uint8]

    def _apply(self, ct: NDArray[Any]) -> Images:
        places = index_blocks(self.shape, self.block)
        flat = np.array(ct, np.float32).reshape(len(ct), -1)
        values = flat[:, places]
        levels = np.rint(np.clip(values, 0, 1) * (_LEVELS - 1)).astype(np.uint8)
        flat[:, places] = np.where(self.chosen, self.table[levels] / np.float32(_LEVELS - 1), values)
        return flat.reshape(ct.shape)

    def _tensors(self) -> dict[str, NDArray[Any]]:
        return {"chosen": self.chosen.astype(np.uint8), "table": self.table}

    def _facts(self) -> dict[str, Any]:
        return {**super()._facts(), "block": self.block}

    @classmethod
    def parse(cls, facts: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> Self:
        """Create it from the content of a file. Raises ValueError where that is inconsistent."""
        told, chosen, table = parse(facts, _BlockedFacts), tensors["chosen"], tensors["table"]
        told.require_blocks()
        if chosen.shape != (told.block**2 * told.shape[0],) or table.shape != (_LEVELS,) or table.dtype != np.uint8:
            raise ValueError(f"a table of {table.shape} for {chosen.shape} places")
        return cls(shape=told.shape, block=told.block, chosen=chosen.astype(bool), table=table)


@dataclass(frozen=True, eq=False, kw_only=True)
class ModularInverse(EstimatedInverse):
    """Blocks of each channel, as bytes, times ``matrices`` (C, n, n) uint8, modulo 256."""

    kind = "modular"
    block: int
    matrices: NDArray[np.uint8]

    def _apply(self, ct: NDArray[Any]) -> Images:
        levels = np.rint(np.clip(ct, 0, 1) * (_LEVELS - 1))
        blocks = split_blocks(np, levels.astype(np.float64), self.block)  # sums stay below 2**53
        channels, *_, size = blocks.shape
        product = np.matmul(blocks.reshape(channels, -1, size), self.matrices.astype(np.float64))
        merged: NDArray[np.float64] = merge_blocks(np, product.reshape(blocks.shape), self.block)
        return (merged.astype(np.int64) & (_LEVELS - 1)).astype(np.float32) / np.float32(_LEVELS - 1)

    def _tensors(self) -> dict[str, NDArray[Any]]:
        return {"matrices": self.matrices}

    def _facts(self) -> dict[str, Any]:
        return {**super()._facts(), "block": self.block}

    @classmethod
    def parse(cls, facts: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> Self:
        """Create it from the content of a file. Raises ValueError where that is inconsistent."""
        told, matrices = parse(facts, _BlockedFacts), tensors["matrices"]
        told.require_blocks()
        size = told.block**2
        if matrices.shape != (told.shape[0], size, size) or matrices.dtype != np.uint8:
            raise ValueError(f"matrices {matrices.shape} for blocks of {told.block} in images {told.shape}")
        return cls(shape=told.shape, block=told.block, matrices=matrices)


@dataclass(frozen=True)
class _ValueFacts(PositionFacts):
    plain_shape: tuple[Side, Side, Side]
    halves: bool
    fill: float


@dataclass(frozen=True)
class _BlockedFacts(PositionFacts):
    block: Side

    def require_blocks(self) -> None:
        """Raise ValueError unless images are made of whole blocks."""
        if self.shape[1] % self.block or self.shape[2] % self.block:
            raise ValueError(f"blocks of {self.block} in images {self.shape}")


def from_flat_blocks(
    shape: Shape, block: int, matrix: NDArray[Any], offset: NDArray[Any] | None = None
) -> BlockInverse:
    """The map of a matrix on blocks in (row, column, channel) order, as ``index_blocks`` flattens them."""
    size = block * block * shape[0]
    order = np.arange(size).reshape(shape[0], block, block).transpose(1, 2, 0).ravel()
    matrices, offsets = np.zeros((1, size, size)), np.zeros((1, size))
    matrices[0][np.ix_(order, order)] = matrix
    if offset is not None:
        offsets[0, order] = offset
    return BlockInverse(shape=shape, block=block, matrices=matrices, offsets=offsets)
