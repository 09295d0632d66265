"""Attacks on arrays: their forms are checked before anything else runs."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.api.attack_report import AttackReport, Terms, read_blind, require_blind, score
from cipherlens.api.attackers import AttackResources, check_resources, require_map
from cipherlens.attacks.base import View, to_unit
from cipherlens.ciphers import BoundCipher, Cipher
from cipherlens.ciphers.structure import Kind, Shape
from cipherlens.data.sources.base import pick_evenly
from cipherlens.errors import KeyFailureError, ShapeError
from cipherlens.evaluation.harness import find_attack
from cipherlens.evaluation.load import NO_IMAGES
from cipherlens.evaluation.target import Target, cut_nonce

Array = Any
"""Images (N, C, H, W), or one (C, H, W), uint8 or floats; of NumPy or torch."""


def attack_arrays(
    name: str, images: Array, cipher: Cipher | None, plain: Array, terms: Terms, needs_map: bool
) -> AttackReport:
    """Attack an array of ciphertexts; ``plain`` are their originals, or None. See :func:`cipherlens.attack`."""
    check_resources(name, AttackResources(), terms.key)
    ct = to_batch(images, "ciphertexts")
    originals = None if plain is None else to_batch(plain, "plain images", pixels=True)
    photos = None if terms.public is None else to_batch(terms.public, "public images", pixels=True)
    shape = _find_shape(cipher, ct, originals)
    per_image = cipher is not None and cipher.per_image
    chosen = find_attack(name, cipher, shape, ct.shape[1:])
    if needs_map:
        require_map(chosen, per_image)
    if originals is None:
        require_blind(chosen)
        seen = ct if terms.budget is None else ct[pick_evenly(len(ct), min(len(ct), terms.budget))]
        prior = None if photos is None else to_unit(photos)
        view = View(cipher, cut_nonce(seen, shape[1]), prior, seed=terms.seed, shape=shape, key_per_image=per_image)
        return read_blind(chosen, view, terms)
    bound = None if terms.key is None or cipher is None else cipher.bind(terms.key, shape)
    if bound is not None:
        _check_key(bound, originals, ct)
    words = NO_IMAGES if photos is None else f"{len(photos)} given images"
    return score(chosen, Target(cipher, _to_bytes(originals), ct, photos, words, bound), terms)


def to_batch(images: Array, what: str, pixels: bool = False) -> NDArray[Any]:
    """Images as a NumPy array (N, C, H, W), uint8 or float32; ``pixels`` are between 0 and 1, or uint8.

    Raises ShapeError for anything else.
    """
    if hasattr(images, "detach"):  # a tensor of torch, perhaps on a GPU
        images = images.detach().cpu()
        images = images.float() if images.is_floating_point() else images
    array = np.asarray(images)
    array = array[None] if array.ndim == 3 else array
    floats = np.issubdtype(array.dtype, np.floating)
    if array.ndim != 4 or not len(array) or not (floats or array.dtype == np.uint8):
        raise ShapeError(
            f"{what} have shape {array.shape} and dtype {array.dtype}",
            hint="pass uint8, or floats, of shape (N, C, H, W)",
        )
    if pixels and floats and not (array.min() >= 0 and array.max() <= 1):
        raise ShapeError(f"{what} as floats lie between 0 and 1", hint="divide by 255, or pass uint8 pixels")
    return array.astype(np.float32) if floats else array


def _to_bytes(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Pixels of 8 bits, as they are encrypted, stored and shown."""
    return pixels if pixels.dtype == np.uint8 else np.rint(255 * pixels).astype(np.uint8)


def _find_shape(cipher: Cipher | None, ct: NDArray[Any], originals: NDArray[Any] | None) -> Shape:
    """The shape of the plain images. Raises ShapeError where ciphertexts do not fit it."""
    given = ct.shape[1:] if originals is None else originals.shape[1:]
    shape = (int(given[0]), int(given[1]), int(given[2]))
    if originals is not None and len(originals) != len(ct):
        raise ShapeError(f"{len(ct)} ciphertexts and {len(originals)} plain images", hint="give as many of each")
    if originals is None and cipher is not None:
        # A stream ciphertext is taller than its image, by the rows of its nonce.
        heights = range(shape[1], 0, -1)
        shape = next((s for h in heights if cipher.ct_shape(s := (shape[0], h, shape[2])) == ct.shape[1:]), shape)
    expected = shape if cipher is None else cipher.ct_shape(shape)
    if cipher is not None and ct.shape[1:] != expected:
        raise ShapeError(
            f"ciphertexts have shape {ct.shape[1:]}, those of {shape} images under {cipher.name} have {expected}",
            hint="give the originals of these ciphertexts, and the cipher that made them",
        )
    return shape


def _check_key(bound: BoundCipher, originals: NDArray[Any], ct: NDArray[Any]) -> None:
    """Raise KeyFailureError where the first original does not give the first ciphertext."""
    if bound.cipher.per_image or bound.cipher.structure(bound.shape).kind is Kind.FRESH:
        return
    found = to_unit(np.asarray(bound.encrypt(originals[:1])))
    if not np.allclose(found, to_unit(ct[:1]), atol=1e-3 * max(1.0, float(np.abs(found).max()))):
        raise KeyFailureError("the ciphertexts were not made with this key and cipher", hint="give the right key")
