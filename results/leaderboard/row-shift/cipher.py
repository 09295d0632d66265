"""Row shift: every row of pixels is rotated by a secret number of columns."""

from dataclasses import dataclass
from math import log2, prod
from typing import ClassVar

import numpy as np

from cipherlens.ciphers import BoundCipher, Cipher, KeyStructure, register_cipher
from cipherlens.ciphers.rearrangement import BoundRearrangement
from cipherlens.ciphers.structure import Layout, Scope, Shape, rearrange
from cipherlens.errors import UsageError
from cipherlens.keys import Key, KeyStream


@register_cipher
@dataclass(frozen=True)
class RowShiftCipher(Cipher):
    """Rows are rotated by multiples of ``step`` columns, all channels alike."""

    step: int = 1
    name: ClassVar[str] = "row-shift"
    summary: ClassVar[str] = "each row rotated by a secret number of columns"
    threat_note: ClassVar[str] = "obfuscation, not encryption: neighbouring rows look alike and are put back"

    def __post_init__(self) -> None:
        if self.step < 1:
            raise UsageError(f"step must be at least 1, not {self.step}")

    def key_bits(self, shape: Shape) -> float:
        """One of so many shifts for every row."""
        return shape[1] * log2(self._count_shifts(shape))

    def structure(self, shape: Shape) -> KeyStructure:
        """Pixels change places within their row."""
        return rearrange(Scope.CHANNELS, Layout(np.arange(prod(shape)).reshape(shape)))

    def _count_shifts(self, shape: Shape) -> int:
        return max(1, shape[2] // self.step)

    def _bind(self, key: Key, shape: Shape) -> BoundCipher:
        _, height, width = shape
        stream = KeyStream(key, f"row-shift:step={self.step}:{height}x{width}")
        shifts = self.step * stream.integers(self._count_shifts(shape), height)
        columns = (np.arange(width) + shifts[:, None]) % width
        places = np.arange(prod(shape)).reshape(shape)
        order = np.take_along_axis(places, np.broadcast_to(columns, shape), axis=2)
        return BoundRearrangement(self, key, shape, order.reshape(-1))
