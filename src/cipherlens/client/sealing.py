"""What a client decides before anything is sent: whether the server's scheme is its own, and the ciphertexts."""

import logging
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.ciphers import BoundCipher
from cipherlens.data.images import Item, check_shape, pad_to
from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.data.sealed.spec import CipherSpec
from cipherlens.data.sources.python.samples import take_image
from cipherlens.data.storage.url import Url, as_place
from cipherlens.errors import DataError, KeyFailureError, UsageError
from cipherlens.keys import Key

_notes = logging.getLogger(__name__)
_NOTHING_SENT = "nothing was sent; ask its provider, or name your own sealed set (scheme) to agree"
_REQUEST_BYTES = 16 << 20
"""Ciphertexts of a request. Chosen by hand: a server takes 64 MB by default."""
_MOST_VALUES = 1 << 24
"""Values of an image that a server may ask for on its word alone. A limit on memory."""
_FEWEST_BITS = 32.0
"""Key space in bits that a scheme must have where the server alone names it. Chosen by hand."""


@dataclass(frozen=True)
class Prediction:
    """The probability of each class for one image, the highest first."""

    name: str
    probabilities: dict[str, float]

    @property
    def label(self) -> str:
        """The most probable class."""
        return next(iter(self.probabilities))


@dataclass(frozen=True)
class Sealer:
    """Prepares and encrypts images as a model's images were; nothing of the key is in what it returns."""

    scheme: CipherSpec
    classes: tuple[str, ...]
    key: Key
    model_id: str
    most: int
    """Images that the server takes at once."""
    pinned: bool

    @cached_property
    def _bound(self) -> BoundCipher:
        return self.scheme.bind(self.key)

    def fit(self, batch: int) -> int:
        """Images for one request: at most ``batch``, what the server takes, and some megabytes."""
        size = int(np.prod(self._bound.ct_shape)) * np.dtype(self._bound.ct_dtype).itemsize
        return max(1, min(batch, self.most, _REQUEST_BYTES // size))

    def seal(self, items: Sequence[Item]) -> NDArray[Any]:
        """Sealed images (N, C, H, W). Raises DataError, naming the image, for one that cannot be decoded."""
        preprocess, scheme = self.scheme.preprocess(), self.scheme
        pixels = [preprocess.apply(item) for item in items]
        for item, found in zip(items, pixels, strict=True):
            check_shape(found, scheme.plain_shape, item.name, "the model's images")
        # No two queries have the same image key.
        ids = [f"query/{secrets.token_hex(16)}" for _ in items]
        plain = pad_to(np.stack(pixels), scheme.padded_shape)
        sealed = np.asarray(self._bound.encrypt(plain, ids))
        if not self.pinned and _show_plain(plain, sealed):
            raise KeyFailureError("under the server's scheme an image stays as it is", hint=_NOTHING_SENT)
        return sealed

    def rank(self, names: Sequence[str], probabilities: NDArray[np.float32]) -> list[Prediction]:
        """Classes by name. Raises DataError for another number of classes."""
        shares = probabilities.mean((2, 3)) if probabilities.ndim == 4 else probabilities
        if shares.ndim != 2 or shares.shape[1] != len(self.classes) or not (np.abs(shares - 0.5) <= 0.501).all():
            raise DataError(
                "the server's answer is not one number for each class", hint="is it the model you meant?"
            )
        order = np.argsort(-shares, axis=1, kind="stable")
        return [
            Prediction(name, {self.classes[i]: float(row[i]) for i in ranked})
            for name, row, ranked in zip(names, shares, order, strict=True)
        ]


def choose_sealer(metadata: Any, key: Key, pinned: CipherSpec | None) -> Sealer:
    """How to seal for a model, from its metadata. The server may lie, so its word alone is not followed.

    Raises KeyFailureError where the model is for another key, or its scheme is not the ``pinned`` one. Without a
    pinned scheme the server's is taken, if it changes pixels at all. Raises DataError for metadata of another kind.
    """
    try:
        facts = metadata["parameters"]
        scheme = CipherSpec.from_json(dict(facts["scheme"]))
        classes = tuple(str(name) for name in list(facts["classes"]))
        model_id, most = str(facts["model_id"])[:64], int(facts["max_images"])
        if not classes or len(set(classes)) < len(classes) or most < 1:
            raise ValueError("its classes are not distinct names")
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise DataError(
            f"the server does not say how images are sealed: {error}", hint="ask its provider"
        ) from None
    if scheme.key_fingerprint != key.fingerprint:
        raise KeyFailureError(
            f"the model is for key {scheme.key_fingerprint}, this key is {key.fingerprint}",
            hint="give the key that its images were sealed with",
        )
    asked = scheme.create_cipher()
    if pinned is not None and scheme.to_json() != pinned.to_json():
        raise KeyFailureError(
            f"the server asks for {asked!r}, your images are sealed with {pinned.create_cipher()!r}, or otherwise",
            hint=_NOTHING_SENT,
        )
    if pinned is None:
        if int(np.prod(scheme.padded_shape)) > _MOST_VALUES or asked.key_bits(scheme.padded_shape) < _FEWEST_BITS:
            raise KeyFailureError("the server asks for images as they are, or for huge ones", hint=_NOTHING_SENT)
        _notes.info(
            "the scheme %r is the server's word: name a sealed set of yours to hold it to that", scheme.cipher
        )
    return Sealer(scheme, classes, key, model_id, most, pinned is not None)


def read_scheme(
    given: "CipherSpec | SealedDataset | str | os.PathLike[str] | Url | None", key: Key
) -> CipherSpec | None:
    """The client's own scheme: of a sealed data set of its own, whose MAC is checked with the key."""
    if given is None or isinstance(given, CipherSpec):
        return given
    root = given.root if isinstance(given, SealedDataset) else as_place(given)
    return SealedDataset.open(root, key).spec


def list_items(images: Sequence[Any]) -> list[Item]:
    """Images as items: paths, encoded bytes, images of PIL, arrays (H, W, C) or tensors (C, H, W) of uint8."""
    if isinstance(images, str | bytes | Path) or not len(images):
        raise UsageError("give a list of images", hint="one image is a list of one: [image]")
    return [
        Item(str(image), -1, Path(image))
        if isinstance(image, str | os.PathLike)
        else Item(f"image {number}", -1, take_image(image, f"image {number}"))
        for number, image in enumerate(images)
    ]


def _show_plain(plain: NDArray[np.uint8], sealed: NDArray[Any]) -> bool:
    """Whether one of the sealed images is the plain one."""
    if sealed.shape != plain.shape:
        return False
    values = sealed.astype(np.float32) * (1 if sealed.dtype == np.uint8 else 255)
    return bool((np.abs(values - plain) < 0.5).all((1, 2, 3)).any())
