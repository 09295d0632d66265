"""A separate key for every image, for the schemes with that option."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from array_api_compat import array_namespace

from cipherlens.ciphers.base import Array, BoundCipher, Cipher
from cipherlens.ciphers.structure import Shape
from cipherlens.errors import UsageError
from cipherlens.keys import Key


@dataclass(frozen=True)
class PerImageCipher(Cipher):
    """A cipher that can be used with one key for all images or with one for each."""

    per_image: bool = False

    def bind(self, key: Key, shape: Shape) -> BoundCipher:
        """As :meth:`Cipher.bind`; with ``per_image`` the bound cipher needs ``image_ids``."""
        return BoundPerImage(self, key, shape) if self.per_image else super().bind(key, shape)


class BoundPerImage(BoundCipher):
    """Every image has its own key: image k uses the subkey ``image:k``.

    ``encrypt`` and ``decrypt`` need ``image_ids``; sealed data sets use ID/SPLIT/POSITION.
    """

    def __init__(self, cipher: PerImageCipher, key: Key, shape: Shape) -> None:
        super().__init__(cipher, key, shape)
        self._key = key
        self._fixed = replace(cipher, per_image=False)
        self._like = self._bind_image(0)
        self._keeps_dtype = self._like._keeps_dtype

    def _bind_image(self, image_id: object) -> BoundCipher:
        return self._fixed.bind(self._key.subkey(f"image:{image_id}"), self.shape)

    def _encrypt_batch(self, plain: Array, image_ids: Sequence[object] | None) -> Array:
        return self._each("encrypt", plain, image_ids)

    def _decrypt_batch(self, ct: Array, dtype: str | None, image_ids: Sequence[object] | None) -> Array:
        return self._each("decrypt", ct, image_ids, dtype)

    def _each(self, method: str, images: Array, image_ids: Sequence[object] | None, *options: Any) -> Array:
        count = images.shape[0]
        if image_ids is None or len(image_ids) != count:
            raise UsageError(
                f"{self.cipher.name} with a key for every image needs the ids of all {count} images",
                hint="give image_ids=range(first, first + n)",
            )
        if not count:
            return getattr(self._like, method)(images, *options)
        # A loop, because every image has its own key schedule.
        done = [
            getattr(self._bind_image(image_id), method)(images[i : i + 1, ...], *options)
            for i, image_id in enumerate(image_ids)
        ]
        return array_namespace(images).concat(done, axis=0)

    def _encrypt(self, xp: Any, plain: Array) -> Array:
        raise NotImplementedError

    def _decrypt(self, xp: Any, ct: Array) -> Array:
        raise NotImplementedError
