"""Controls for attacks: on the identity an attack must be perfect; on a real cipher it must learn nothing."""

import secrets
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from array_api_compat import device, is_torch_array
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from numpy.typing import NDArray

from cipherlens.ciphers.base import Array, BoundCipher, Cipher, require_uint8
from cipherlens.ciphers.registry import register_cipher
from cipherlens.ciphers.structure import KeyStructure, Kind, Shape
from cipherlens.errors import KeyFailureError
from cipherlens.keys import Key

_NONCE, _TAG = 12, 16
"""Bytes of nonce and tag of ChaCha20-Poly1305 (RFC 8439)."""


@register_cipher
@dataclass(frozen=True)
class IdentityCipher(Cipher):
    """No encryption: the plain baseline of training and the positive control of attacks."""

    name: ClassVar[str] = "identity"
    summary: ClassVar[str] = "control: the plain image itself"
    threat_note: ClassVar[str] = "a control, no encryption at all: everybody sees the pictures"

    def structure(self, shape: Shape) -> KeyStructure:
        """Nothing happens to an image."""
        return KeyStructure(Kind.NOTHING, per_channel=True)

    def key_bits(self, shape: Shape) -> float:
        """0, because no key has any effect."""
        return 0.0

    def _bind(self, key: Key, shape: Shape) -> "BoundIdentity":
        return BoundIdentity(self, key, shape)


class BoundIdentity(BoundCipher):
    """Returns copies."""

    _keeps_dtype = True

    def _encrypt(self, xp: Any, plain: Array) -> Array:
        return xp.asarray(plain, copy=True)

    def _decrypt(self, xp: Any, ct: Array) -> Array:
        return xp.asarray(ct, copy=True)


@register_cipher
@dataclass(frozen=True)
class StreamCipher(Cipher):
    """ChaCha20-Poly1305 with a fresh random nonce per image: authenticated encryption (RFC 8439).

    The ciphertext is a few rows taller than the image. First come the pixels XOR keystream, then rows with the
    12-byte nonce and the 16-byte tag. Neither an eavesdropper nor a provider learns anything from it but the size.
    """

    name: ClassVar[str] = "stream"
    summary: ClassVar[str] = "control: authenticated encryption, fresh nonce per image"
    threat_note: ClassVar[str] = "a control: nothing but the size leaks, and nothing can be learned from it either"

    def ct_shape(self, shape: Shape) -> Shape:
        """The image's shape plus the rows that hold nonce and tag."""
        c, h, w = shape
        return c, h + -(-(_NONCE + _TAG) // (c * w)), w

    def structure(self, shape: Shape) -> KeyStructure:
        """Every image has other randomness."""
        return KeyStructure(Kind.FRESH)

    def key_bits(self, shape: Shape) -> float:
        """The length of ChaCha20's key."""
        return 256.0

    def _bind(self, key: Key, shape: Shape) -> "BoundStream":
        return BoundStream(self, key, shape)


class BoundStream(BoundCipher):
    """Stream cipher with its key. Repeated encryptions of one image differ."""

    def __init__(self, cipher: StreamCipher, key: Key, shape: Shape) -> None:
        super().__init__(cipher, key, shape)
        self._aead = ChaCha20Poly1305(key.subkey("stream").to_bytes())

    def _encrypt(self, xp: Any, plain: Array) -> Array:
        require_uint8(xp, plain, self.cipher.name)
        c, h, w = self.shape
        images = _to_numpy(plain)
        ct = np.zeros((len(images), *self.ct_shape), np.uint8)
        # One call per image, because every image has a fresh nonce.
        for image, target in zip(images, ct, strict=True):
            nonce = secrets.token_bytes(_NONCE)
            sealed = np.frombuffer(self._aead.encrypt(nonce, image.tobytes(), None), np.uint8)
            target[:, :h] = sealed[: c * h * w].reshape(c, h, w)
            trailer = np.concatenate([np.frombuffer(nonce, np.uint8), sealed[c * h * w :]])
            target[:, h:] = _pad(trailer, target[:, h:].size).reshape(target[:, h:].shape)
        return xp.asarray(ct, device=device(plain))

    def _decrypt(self, xp: Any, ct: Array) -> Array:
        require_uint8(xp, ct, self.cipher.name)
        height = self.shape[1]
        images = _to_numpy(ct)
        plain = np.empty((len(images), *self.shape), np.uint8)
        for image, target in zip(images, plain, strict=True):
            trailer = image[:, height:].tobytes()
            nonce, tag = trailer[:_NONCE], trailer[_NONCE : _NONCE + _TAG]
            try:
                opened = self._aead.decrypt(nonce, image[:, :height].tobytes() + tag, None)
            except InvalidTag:
                raise KeyFailureError(
                    "authentication failed: another key, or an altered ciphertext",
                    hint="use the key whose fingerprint the data names",
                ) from None
            target[...] = np.frombuffer(opened, np.uint8).reshape(self.shape)
        return xp.asarray(plain, device=device(ct))


def _to_numpy(array: Array) -> NDArray[np.uint8]:
    return np.asarray(array.cpu() if is_torch_array(array) else array)


def _pad(row: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    return np.pad(row, (0, size - len(row)))
