"""Ciphers after one another, and a key for every image."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import lcm
from typing import Any, ClassVar

from array_api_compat import array_namespace

from cipherlens.ciphers.base import Array, BoundCipher, Cipher, Shape
from cipherlens.errors import UsageError
from cipherlens.keys import Key


@dataclass(frozen=True)
class ComposedCipher(Cipher):
    """The first of ``ciphers`` first; number k works with the subkey ``compose:k``."""

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

    def key_bits(self, shape: Shape) -> float:
        """The sum of all: an upper bound, for different keys may do the same together."""
        total = 0.0
        for cipher in self.ciphers:
            total += cipher.key_bits(shape)
            if getattr(cipher, "grey", False):
                shape = (1, shape[1], shape[0] * shape[2])
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
            bound = part.bind(key.subkey(f"compose:{number}"), self.ct_shape)
            if self.ct_dtype != "uint8" and not bound._keeps_dtype:
                raise UsageError(
                    f"{part.name} takes uint8 images, but the cipher before it gives {self.ct_dtype}",
                    hint="put real ciphers (hill, orthogonal patch) last; only pure rearrangements may follow them",
                )
            self.parts.append(bound)
        self._keeps_dtype = all(part._keeps_dtype for part in self.parts)

    @property
    def ct_shape(self) -> Shape:
        """That of the last cipher."""
        return self.parts[-1].ct_shape if self.parts else self.shape

    @property
    def ct_dtype(self) -> str:
        """float32 if any of them is real."""
        return "float32" if any(part.ct_dtype == "float32" for part in self.parts) else "uint8"

    def _encrypt(self, xp: Any, plain: Array) -> Array:
        for part in self.parts:
            plain = part.encrypt(plain)
        return plain

    def _decrypt(self, xp: Any, ct: Array) -> Array:
        for number in reversed(range(len(self.parts))):
            # Only what a uint8 cipher gave is rounded to levels.
            real = self.parts[number].ct_dtype == "float32"
            exact = real and all(before._keeps_dtype for before in self.parts[:number])
            ct = self.parts[number].decrypt(ct, "float32" if exact else None)
        return ct


class BoundPerImage(BoundCipher):
    """Every image under a key of its own: image k under the subkey ``image:k``.

    ``encrypt`` and ``decrypt`` need the images' ``numbers``; sealed data sets use SPLIT/POSITION, as train/17.
    """

    def __init__(self, cipher: Cipher, key: Key, shape: Shape) -> None:
        super().__init__(cipher, key, shape)
        self._key = key
        self._fixed: Cipher = replace(cipher, per_image=False)  # type: ignore[type-var]
        self._like = self._bind_image(0)
        self._keeps_dtype = self._like._keeps_dtype

    def _bind_image(self, number: object) -> BoundCipher:
        return self._fixed.bind(self._key.subkey(f"image:{number}"), self.shape)

    @property
    def ct_shape(self) -> Shape:
        """As with one key."""
        return self._like.ct_shape

    def encrypt(self, plain: Array, numbers: Sequence[object] | None = None) -> Array:
        """Encrypt a batch; ``numbers`` (N,) says which images they are."""
        return self._each("encrypt", plain, numbers)

    def decrypt(self, ct: Array, dtype: str | None = None, numbers: Sequence[object] | None = None) -> Array:
        """Decrypt a batch; ``numbers`` (N,) as at encryption."""
        return self._each("decrypt", ct, numbers, dtype)

    def _each(self, method: str, images: Array, numbers: Sequence[object] | None, *options: Any) -> Array:
        count = images.shape[0]
        if numbers is None or len(numbers) != count:
            raise UsageError(
                f"{self.cipher.name} with a key for every image needs the numbers of all {count} images",
                hint="give numbers=range(first, first + n)",
            )
        if not count:
            return getattr(self._like, method)(images, *options)
        # A loop, because a key for every image is a key schedule for every image.
        done = [
            getattr(self._bind_image(number), method)(images[i : i + 1, ...], *options)
            for i, number in enumerate(numbers)
        ]
        return array_namespace(images).concat(done, axis=0)

    def _encrypt(self, xp: Any, plain: Array) -> Array:
        raise NotImplementedError

    def _decrypt(self, xp: Any, ct: Array) -> Array:
        raise NotImplementedError
