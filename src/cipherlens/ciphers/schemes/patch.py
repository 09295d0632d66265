"""Keys for vision transformers and ConvMixers (Kiya lab, 2022 to 2025): one matrix for all patches of an image."""

from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

import numpy as np

from cipherlens.ciphers.base import Array, BoundCipher, check_real, check_real_ct, to_pixels
from cipherlens.ciphers.blocks import BlockCipher
from cipherlens.ciphers.rearrangement import BoundRearrangement, invert_order, log2_factorial, move_blocks
from cipherlens.ciphers.registry import register_cipher
from cipherlens.ciphers.structure import (
    KeyStructure,
    Kind,
    Scope,
    Shape,
    index_blocks,
    lay_anywhere,
    lay_blocks,
    rearrange,
)
from cipherlens.keys import Key, KeyStream

_BITS = 53
"""Bits of a drawn number, see ``KeyStream.uniforms``. Definition."""


@register_cipher
@dataclass(frozen=True)
class PatchCipher(BlockCipher):
    """Each flattened patch is multiplied by a permutation matrix, or with ``orthogonal`` by an orthogonal matrix.

    ``scramble`` also permutes the patches. A patch embedding can contain the inverse (``cl.fold``).
    """

    block: int = 16
    orthogonal: bool = False
    scramble: bool = False
    name: ClassVar[str] = "patch"
    summary: ClassVar[str] = "values of a patch permuted or times an orthogonal matrix; patches may be moved too"
    threat_note: ClassVar[str] = "obfuscation, not encryption: a few ciphertexts, or known pictures, give the key"

    def structure(self, shape: Shape) -> KeyStructure:
        """One matrix for all patches, which ``scramble`` moves too."""
        scope = Scope.IMAGE if self.scramble else Scope.BLOCKS
        if self.orthogonal:
            return KeyStructure(Kind.LINEAR, scope, self.block, orthogonal=True)
        layout = lay_anywhere(shape, inverts=False) if self.scramble else lay_blocks(shape, self.block)
        return rearrange(scope, layout, self.block)

    def key_bits(self, shape: Shape) -> float:
        """Bits of the matrix (an orthogonal one has n (n - 1) / 2 real parameters) and of the patch permutation."""
        count = self.block**2 * shape[0]
        moved = log2_factorial(shape[1] * shape[2] // self.block**2) if self.scramble else 0.0
        return moved + (_BITS * count * (count - 1) / 2 if self.orthogonal else log2_factorial(count))

    def _bind(self, key: Key, shape: Shape) -> BoundCipher:
        places = index_blocks(shape, self.block)
        label = f"patch:block={self.block}:channels={shape[0]}"
        sources = places
        if self.scramble:
            positions = KeyStream(key, f"patch:block={self.block}:{shape[1]}x{shape[2]}").permutation(len(places))
            sources = places[positions]
        if self.orthogonal:
            return BoundOrthogonalPatch(self, key, shape, sources, places)
        sources = sources[:, KeyStream(key, f"{label}:permutation").permutation(places.shape[1])]
        return BoundRearrangement(self, key, shape, move_blocks(places, sources))


class BoundOrthogonalPatch(BoundCipher):
    """Patch cipher with its orthogonal ``matrix``: ``ct = patch @ matrix``, patches as (row, column, channel)."""

    cipher: PatchCipher

    def __init__(self, cipher: PatchCipher, key: Key, shape: Shape, sources: Any, places: Any) -> None:
        super().__init__(cipher, key, shape)
        self.size = places.shape[1]
        stream = KeyStream(key, f"patch:block={cipher.block}:channels={shape[0]}:orthogonal")
        self.matrix = stream.orthogonal_matrix(self.size)
        self._tables = {
            "sources": sources.reshape(-1),
            "places": places.reshape(-1),
            "from sources": invert_order(sources.reshape(-1)),
            "from places": invert_order(places.reshape(-1)),
            "forward": self.matrix.astype(np.float32),
            "back": self.matrix.T.astype(np.float32),
        }

    @property
    def ct_dtype(self) -> str:
        """Ciphertext is float32."""
        return "float32"

    def _encrypt(self, xp: Any, plain: Array) -> Array:
        if plain.dtype != xp.uint8:
            check_real(xp, plain, "patch")
        return self._multiply(xp, to_pixels(xp, plain, "float32"), "sources", "forward", "from places")

    def _decrypt(self, xp: Any, ct: Array) -> Array:
        check_real_ct(xp, ct, "patch")
        return self._multiply(xp, xp.astype(ct, xp.float32), "places", "back", "from sources")

    def _multiply(self, xp: Any, images: Array, before: str, matrix: str, after: str) -> Array:
        before_table, matrix_table, after_table = (
            self._table(xp, images, name, self._tables[name]) for name in (before, matrix, after)
        )
        flat = xp.reshape(images, (images.shape[0], prod(images.shape[1:])))
        patches = xp.reshape(xp.take(flat, before_table, axis=1), (-1, self.size))
        product = xp.reshape(xp.matmul(patches, matrix_table), flat.shape)
        return xp.reshape(xp.take(product, after_table, axis=1), images.shape)
