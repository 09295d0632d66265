"""A cipher holds public parameters; ``bind`` does all key work; the bound cipher is pure array functions.

Ciphers are written against the array API standard. The same code runs on NumPy arrays and on torch tensors on any
device, so a client needs NumPy only.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, ClassVar, Protocol, TypeVar, cast, overload

import numpy as np
from array_api_compat import array_namespace, device
from numpy.typing import NDArray

from cipherlens.ciphers.structure import KeyStructure, Kind, Shape
from cipherlens.errors import ShapeError, UsageError
from cipherlens.keys import Key

Array = Any  # any array of the array API standard


class ArrayLike(Protocol):
    """An array of the array API standard, as NumPy and torch have them: what users of a cipher give and get."""

    @property
    def ndim(self) -> int:
        """Number of axes."""

    @property
    def shape(self) -> Any:
        """Length of each axis."""

    def __getitem__(self, key: Any, /) -> Any:
        """A part of it."""


A = TypeVar("A", bound=ArrayLike)


class Cipher(ABC):
    """A keyed image transform and its public parameters. Subclasses are frozen dataclasses."""

    name: ClassVar[str]
    summary: ClassVar[str]
    threat_note: ClassVar[str]
    """What an eavesdropper can do to it, in one sentence; shown where a cipher is chosen."""

    @property
    def params(self) -> dict[str, Any]:
        """The public parameters, as ``create_cipher`` takes them."""
        return asdict(cast(Any, self))

    @property
    def block(self) -> int:
        """Side of the block that image sides must be multiples of; 1 where there is none."""
        return 1

    @property
    def per_image(self) -> bool:
        """Whether every image has its own key, derived from its number."""
        return False

    def ct_shape(self, shape: Shape) -> Shape:
        """Shape (C, H, W) of the ciphertext of an image of ``shape``."""
        return shape

    def structure(self, shape: Shape) -> KeyStructure:
        """What a key may do to images of ``shape``, as everybody may know. Not declared, it is OTHER."""
        return KeyStructure(Kind.OTHER)

    def key_bits(self, shape: Shape) -> float:
        """log2 of the number of different transforms of images of ``shape``. The key has 256 bits in every case."""
        raise NotImplementedError

    def bind(self, key: Key, shape: Shape) -> "BoundCipher":
        """Do all key work for images of ``shape`` (channels, height, width), once.

        Raises ShapeError if the sides are not multiples of the block.
        """
        if len(shape) != 3 or min(shape) < 1:
            raise ShapeError(f"an image shape is (channels, height, width), not {shape}")
        check_multiple(shape, self.block)
        return self._bind(key, (int(shape[0]), int(shape[1]), int(shape[2])))

    @abstractmethod
    def _bind(self, key: Key, shape: Shape) -> "BoundCipher": ...


class BoundCipher(ABC):
    """An immutable cipher bound to a key and an image shape; pure functions on batches (N, C, H, W), or one image.

    Arrays come back in the library that they came in, on their device. It cannot be pickled, and its ``repr`` shows
    no tables, because they are the key.
    """

    cipher: Cipher
    shape: Shape
    fingerprint: str

    def __init__(self, cipher: Cipher, key: Key, shape: Shape) -> None:
        self.cipher = cipher
        self.shape = shape
        self.fingerprint = key.fingerprint
        self._converted: dict[tuple[str, str, str], Array] = {}

    @property
    def ct_shape(self) -> Shape:
        """Shape (C, H, W) of one encrypted image."""
        return self.cipher.ct_shape(self.shape)

    @property
    def ct_dtype(self) -> str:
        """Dtype of the ciphertext of uint8 images."""
        return "uint8"

    @overload
    def encrypt(self, plain: NDArray[Any], image_ids: Sequence[object] | None = None) -> NDArray[Any]: ...

    @overload
    def encrypt(self, plain: A, image_ids: Sequence[object] | None = None) -> A: ...

    def encrypt(self, plain: Array, image_ids: Sequence[object] | None = None) -> Array:
        """Encrypt a batch (N, C, H, W), or one image (C, H, W).

        ``image_ids`` (N,) identify the images, and are used only where each has its own key. Raises ShapeError for
        another shape, or a dtype or range that the cipher does not take; UsageError where ids are missing.
        """
        return _apply(lambda batch: self._encrypt_batch(batch, image_ids), plain, self.shape, "plain")

    @overload
    def decrypt(
        self, ct: NDArray[Any], dtype: str | None = None, image_ids: Sequence[object] | None = None
    ) -> NDArray[Any]: ...

    @overload
    def decrypt(self, ct: A, dtype: str | None = None, image_ids: Sequence[object] | None = None) -> A: ...

    def decrypt(self, ct: Array, dtype: str | None = None, image_ids: Sequence[object] | None = None) -> Array:
        """Decrypt a batch, or one image, made by :meth:`encrypt` with the same key and parameters.

        ``dtype`` is ``"uint8"``, or ``"float32"`` for pixels in units of [0, 1]. By default, ciphers that keep
        the dtype of their input return that dtype, all others uint8.
        """
        if dtype not in (None, "uint8", "float32"):
            raise UsageError(f"decrypt cannot return {dtype!r}", hint="choose uint8 or float32")
        return _apply(lambda batch: self._decrypt_batch(batch, dtype, image_ids), ct, self.ct_shape, "ct")

    def _encrypt_batch(self, plain: Array, image_ids: Sequence[object] | None) -> Array:
        return self._encrypt(array_namespace(plain), plain)

    def _decrypt_batch(self, ct: Array, dtype: str | None, image_ids: Sequence[object] | None) -> Array:
        xp = array_namespace(ct)
        plain = self._decrypt(xp, ct)
        return plain if dtype is None and self._keeps_dtype else to_pixels(xp, plain, dtype or "uint8")

    _keeps_dtype: bool = False

    @abstractmethod
    def _encrypt(self, xp: Any, plain: Array) -> Array: ...

    @abstractmethod
    def _decrypt(self, xp: Any, ct: Array) -> Array:
        """Return uint8 pixels, or floats in units of [0, 1]."""

    def _table(self, xp: Any, like: Array, name: str, table: np.ndarray[Any, Any]) -> Array:
        """``table`` as an array of ``like``'s library on its device; converted once."""
        place = (name, xp.__name__, str(device(like)))
        if place not in self._converted:
            self._converted[place] = xp.asarray(table, device=device(like))
        return self._converted[place]

    def __repr__(self) -> str:
        return f"<{self.cipher!r} bound to key {self.fingerprint} for {self.shape}>"

    def __reduce__(self) -> Any:
        raise TypeError("a bound cipher holds key material and cannot be pickled; bind it again from the key")


def to_pixels(xp: Any, plain: Array, dtype: str) -> Array:
    """uint8 pixels or floats in [0, 1] -> ``dtype``; for uint8, floats are rounded to the nearest of 256 levels."""
    is_uint8 = plain.dtype == xp.uint8
    if dtype == "float32":
        return xp.astype(plain, xp.float32) / 255 if is_uint8 else xp.astype(plain, xp.float32)
    return plain if is_uint8 else xp.astype(xp.round(xp.clip(plain * 255, 0, 255)), xp.uint8)


def require_uint8(xp: Any, array: Array, cipher: str) -> None:
    """Raise ShapeError unless ``array`` is uint8."""
    if array.dtype != xp.uint8:
        raise ShapeError(f"{cipher} takes uint8 images, not {array.dtype}", hint="pass pixels 0..255 as uint8")


def check_multiple(shape: Shape, block: int) -> None:
    """Raise ShapeError, naming the nearest sizes, unless both sides are multiples of ``block``."""
    _, height, width = shape
    if height % block == 0 and width % block == 0:
        return
    down, up = (
        tuple(max(block, (side + extra) // block * block) for side in (height, width)) for extra in (0, block - 1)
    )
    raise ShapeError(
        f"{height}x{width} images cannot be cut into {block}x{block} blocks",
        hint=f"use {down[0]}x{down[1]} or {up[0]}x{up[1]} images, pad them, or choose another block",
        parameters=("size", "pad", "block"),
    )


def _apply(function: Callable[[Array], Array], array: Array, shape: Shape, name: str) -> Array:
    """The function of a batch, or of one image of this shape. Raises ShapeError for anything else."""
    if tuple(array.shape) == shape:
        return function(array[None, ...])[0, ...]
    if array.ndim != 4 or tuple(array.shape[1:]) != shape:
        raise ShapeError(
            f"{name} has shape {tuple(array.shape)}, but this cipher is bound to (N, {', '.join(map(str, shape))})",
            hint="pass a batch (N, C, H, W) or one image (C, H, W), or bind the cipher to this shape",
        )
    return function(array)


def check_real(xp: Any, plain: Array, cipher: str) -> None:
    """Raise ShapeError unless ``plain`` is floats in [0, 1]."""
    if not xp.isdtype(plain.dtype, "real floating"):
        raise ShapeError(
            f"{cipher} takes uint8 images or floats, not {plain.dtype}", hint="pass uint8 pixels 0..255"
        )
    if plain.shape[0] and not bool((xp.min(plain) >= 0) & (xp.max(plain) <= 1)):
        raise ShapeError(
            f"{cipher} takes float images with pixels in [0, 1]", hint="divide by 255, or pass uint8 pixels"
        )


def check_real_ct(xp: Any, ct: Array, cipher: str) -> None:
    """Raise ShapeError unless ``ct`` is floats."""
    if not xp.isdtype(ct.dtype, "real floating"):
        raise ShapeError(f"a {cipher} ciphertext is float32, not {ct.dtype}", hint="pass it as it was encrypted")
