"""How images were prepared and encrypted, and the plan of a data set: what everybody may know of it."""

from dataclasses import dataclass, field, fields
from typing import Annotated, Any

from msgspec import Meta

from cipherlens.ciphers import BoundCipher, Cipher, create_cipher
from cipherlens.ciphers.structure import KeyStructure
from cipherlens.data.conversion import Rules
from cipherlens.data.decoding import MAX_PIXELS
from cipherlens.data.images import Preprocess
from cipherlens.errors import DataError, KeyFailureError, UsageError
from cipherlens.holders import CLIENT, PROVIDER, Holder
from cipherlens.keys import Key
from cipherlens.schema import Count, ImageShape, Side, parse

RESTORE = "copy it again from where it was made, restore a backup, or encrypt again"
PLAIN = "identity"
"""Name of the cipher that leaves images as they are."""
NO_KEY = "0" * 32
"""Fingerprint in records of photos that nobody has sealed."""
Fingerprint = Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
SplitName = Annotated[str, Meta(pattern="^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
Dtype = Annotated[str, Meta(pattern="^(uint8|float32)$")]
SetId = Annotated[str, Meta(pattern="^([0-9a-f]{32})?$")]


@dataclass(frozen=True)
class CipherSpec:
    """Preprocessing and encryption of images: what a client needs, besides the key, to repeat them.

    ``plain_shape`` is the shape of the resized image, ``padded_shape`` the shape that was encrypted. ``window``
    maps images of more than 8 bits (see ``data/depth.py``); None: there are none.
    """

    cipher: str
    params: dict[str, Any]
    key_fingerprint: Fingerprint
    plain_shape: ImageShape
    padded_shape: ImageShape
    size: Side | None
    pad: bool
    window: Annotated[str, Meta(max_length=200)] | None = field(default=None, kw_only=True)

    def to_json(self) -> dict[str, Any]:
        """The fields of this class as JSON values, which a run folder records of its training data."""
        return {field.name: _jsonable(getattr(self, field.name)) for field in fields(CipherSpec)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "CipherSpec":
        """Inverse of :meth:`to_json`. Raises DataError if a field is missing or of the wrong type."""
        names = {field.name for field in fields(CipherSpec)}
        try:
            return parse({name: value for name, value in values.items() if name in names}, CipherSpec)
        except ValueError as error:
            raise DataError(f"how the images were encrypted is not recorded: {error}") from None

    def create_cipher(self) -> Cipher:
        """The cipher, without a key. Raises DataError where the record names no known cipher."""
        try:
            cipher = create_cipher(self.cipher, **self.params)
            repr(cipher.params)  # fails here for a composition that is nested too deeply
        except UsageError as error:
            hint = "if it is of another package, install that; else copy the data again from where it was made"
            raise DataError(f"the record names no known cipher: {error.args[0]}", hint=hint) from None
        except Exception as error:  # parameters of any type, from an untrusted file
            raise DataError(f"the record names no known cipher: {error}", hint=RESTORE) from None
        return cipher

    def structure(self) -> KeyStructure:
        """What the cipher may do to these images, as everybody may know."""
        return self.create_cipher().structure(self.padded_shape)

    @property
    def holder(self) -> Holder:
        """Who may hold the images: the client only, where the cipher leaves them as they are."""
        return CLIENT if set(self.cipher.split("+")) == {PLAIN} else PROVIDER

    def preprocess(self, max_pixels: int = MAX_PIXELS) -> Preprocess:
        """What is done with an image before it is encrypted. Raises DataError for an impossible record."""
        try:
            return Preprocess(self.size, self.pad, max_pixels, Rules(self.plain_shape[0], self.window))
        except UsageError as error:
            raise DataError(f"how images become pixels is not recorded: {error.args[0]}", hint=RESTORE) from None

    def bind(self, key: Key, check: bool = True) -> BoundCipher:
        """The bound cipher. With ``check``, raises KeyFailureError for a key of another fingerprint."""
        if check:
            check_fingerprint(self.key_fingerprint, key)
        return self.create_cipher().bind(key, self.padded_shape)


def _jsonable(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


@dataclass(frozen=True)
class DatasetSpec(CipherSpec):
    """Specification of a data set, complete before the first image is encrypted.

    ``to_json`` returns the fields of :class:`CipherSpec` only.
    """

    ct_shape: ImageShape
    ct_dtype: Dtype
    classes: tuple[str, ...]
    counts: dict[SplitName, Count]
    shard_images: Side
    source_tag: str
    """Keyed digest of the source's name and files. Only the client can compare it with a source."""
    masked: bool = False
    """Whether every image has a mask (one class per pixel), rearranged like the image."""
    augment: Count = 0
    """Variants of each training image; they follow the images themselves."""
    hold_out: Count = 0
    """Every so many images of each class of the source, which has no splits, are the test split (0: none)."""
    id: SetId = ""
    """Random name of the data set. It is part of every image's own key. Empty in format version 1."""
    store: Annotated[str, Meta(max_length=64)] = ""
    """Reserved for other ways to store ciphertexts. Empty: as the cipher makes them."""
    channels: Annotated[tuple[str, ...], Meta(max_length=64)] = ()
    """Reserved for the names of channels. Empty: grey, or red, green and blue."""


def choose_split(spec: DatasetSpec) -> str:
    """The default split of attacks: the test images, if there are any, else the first split.

    Where the client held its test images out of one folder, an eavesdropper has most use of the larger part.
    """
    if spec.hold_out:
        return max(spec.counts, key=lambda name: spec.counts[name])
    return "test" if "test" in spec.counts else next(iter(spec.counts))


def check_fingerprint(fingerprint: str, key: Key) -> None:
    """Raise KeyFailureError unless ``key`` is the one with this fingerprint."""
    if fingerprint != key.fingerprint:
        raise KeyFailureError(
            f"wrong key: the data was sealed with {fingerprint}, this key is {key.fingerprint}",
            hint="give the key file with that fingerprint (cipherlens inspect KEYFILE shows it)",
        )
