"""Compositions: several ciphers applied in sequence."""

from dataclasses import dataclass
from math import lcm
from typing import Any, ClassVar

from cipherlens.ciphers.base import Array, BoundCipher, Cipher
from cipherlens.ciphers.structure import KeyStructure, Shape, compose
from cipherlens.errors import UsageError
from cipherlens.keys import Key


@dataclass(frozen=True)
class ComposedCipher(Cipher):
    """Applies ``ciphers`` in order; number k uses the subkey ``compose:k``."""

    ciphers: tuple[Cipher, ...]
    name: ClassVar[str] = "compose"
    summary: ClassVar[str] = "several ciphers after one another, each with a subkey of its own (a+b)"
    threat_note: ClassVar[str] = "obfuscation, not encryption: transforms of a kind add up to one more of that kind"

    def __post_init__(self) -> None:
        if len(self.ciphers) < 2:
            raise UsageError("a composition has two or more ciphers", hint="write them as np+block-scrambling")
        if any(cipher.per_image for cipher in self.ciphers):
            raise UsageError("per_image ciphers cannot be composed", hint="leave per_image away")

    @property
    def params(self) -> dict[str, Any]:
        """The ciphers with their names and parameters."""
        return {"ciphers": [{"name": cipher.name, **cipher.params} for cipher in self.ciphers]}

    @property
    def block(self) -> int:
        """Image sides must be multiples of all blocks."""
        return lcm(*(cipher.block for cipher in self.ciphers))

    def ct_shape(self, shape: Shape) -> Shape:
        """The ciphertext shape of the last cipher."""
        for cipher in self.ciphers:
            shape = cipher.ct_shape(shape)
        return shape

    def structure(self, shape: Shape) -> KeyStructure:
        """What the ciphers do together."""
        parts = []
        for cipher in self.ciphers:
            parts.append(cipher.structure(shape))
            shape = cipher.ct_shape(shape)
        return compose(parts, shape)

    def key_bits(self, shape: Shape) -> float:
        """The sum over all ciphers: an upper bound, because different keys may give the same transform."""
        total = 0.0
        for cipher in self.ciphers:
            total += cipher.key_bits(shape)
            shape = cipher.ct_shape(shape)
        return total

    def _bind(self, key: Key, shape: Shape) -> "BoundComposition":
        return BoundComposition(self, key, shape)


class BoundComposition(BoundCipher):
    """Bound ciphers in the order of encryption."""

    cipher: ComposedCipher

    def __init__(self, cipher: ComposedCipher, key: Key, shape: Shape) -> None:
        super().__init__(cipher, key, shape)
        self.parts: list[BoundCipher] = []
        for number, part in enumerate(cipher.ciphers):
            bound = part.bind(key.subkey(f"compose:{number}"), shape)
            if self.ct_dtype != "uint8" and not bound._keeps_dtype:
                raise UsageError(
                    f"{part.name} takes uint8 images, but the cipher before it gives {self.ct_dtype}",
                    hint="put real ciphers (hill, orthogonal patch) last; only pure rearrangements may follow them",
                )
            self.parts.append(bound)
            shape = bound.ct_shape
        self._keeps_dtype = all(part._keeps_dtype for part in self.parts)

    @property
    def ct_dtype(self) -> str:
        """float32 if any of the ciphers gives float32."""
        return "float32" if any(part.ct_dtype == "float32" for part in self.parts) else "uint8"

    def _encrypt(self, xp: Any, plain: Array) -> Array:
        for part in self.parts:
            plain = part.encrypt(plain)
        return plain

    def _decrypt(self, xp: Any, ct: Array) -> Array:
        for number in reversed(range(len(self.parts))):
            # Only the output of a uint8 cipher is rounded to 256 levels.
            real = self.parts[number].ct_dtype == "float32"
            exact = real and all(before._keeps_dtype for before in self.parts[:number])
            ct = self.parts[number].decrypt(ct, "float32" if exact else None)
        return ct
