"""The target of an attack: ciphertexts under one key, with the plain images that attacks never see."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.attacks import list_attacks
from cipherlens.attacks.base import SAME_CLASSES, Attack, Images, Labels, describe_scheme, to_unit
from cipherlens.ciphers import BoundCipher, Cipher
from cipherlens.ciphers.structure import KeyStructure, Shape

NOTHING, ELSEWHERE, DOMAIN = "nothing", "elsewhere", "domain"
"""What an attacker knows of pictures: what is built in, photos of another origin, or photos of the same kind."""


@dataclass(frozen=True)
class Target:
    """Ciphertexts under one key, and the plain images. ``plain`` and ``ct`` hold the same images in the same order.

    ``bound`` is the victim's cipher, where attackers can have chosen pictures encrypted. ``labels`` and
    ``public_labels`` are the classes of the images and of the public images, where both have the same classes.
    ``cipher`` is None where nobody declared the scheme. ``images_apart``: images were sealed one by one, each under
    its own key, with a cipher that has no such option. ``knowledge`` says what its public images make of an
    attacker (NOTHING, ELSEWHERE, DOMAIN; empty where nobody compares). ``numbers`` are the positions of its images
    in the audit's first target, if it holds some of these only.
    """

    cipher: Cipher | None
    plain: NDArray[np.uint8]
    ct: NDArray[Any]
    public: NDArray[np.uint8] | None
    prior: str
    bound: BoundCipher | None = None
    labels: Labels | None = None
    public_labels: Labels | None = None
    images_apart: bool = False
    knowledge: str = ""
    numbers: NDArray[np.int64] | None = None

    @cached_property
    def structure(self) -> KeyStructure:
        """What the scheme may do, as everybody may know."""
        return describe_scheme(self.cipher, self.plain_shape)

    @property
    def key_per_image(self) -> bool:
        """Whether every image has its own key."""
        return self.images_apart or (self.cipher is not None and self.cipher.per_image)

    @property
    def plain_shape(self) -> Shape:
        """Shape (C, H, W) of the plain images."""
        channels, height, width = self.plain.shape[1:]
        return channels, height, width

    @property
    def sealed_shape(self) -> Shape:
        """Shape (C, H, W) of the ciphertexts."""
        channels, height, width = self.ct.shape[1:]
        return channels, height, width

    def images(self) -> Images:
        """The plain images in [0, 1]."""
        return to_unit(self.plain)

    def ciphertexts(self) -> Images:
        """What the eavesdropper sees."""
        return cut_nonce(self.ct, self.plain.shape[2])

    def list_attacks(self, images: int | None = None, slow: bool = False) -> list[Attack]:
        """The attacks that apply to so many images (by default all here) of this size.

        Attacks that take minutes are listed only if ``slow``. Chosen-plaintext attacks are listed only with a
        ``bound`` cipher, attacks that learn from public images only with images of this size.
        """
        return [
            attack
            for attack in list_attacks(self.cipher, self.plain_shape, self.sealed_shape, slow)
            if self.missing_requirement(attack, images or len(self.plain)) is None
        ]

    def missing_requirement(self, attack: Attack, images: int) -> str | None:
        """What an attack lacks to run on so many images of this size; None if it can run."""
        needs, model = attack.requirements, attack.threat_model
        if model.chooses and self.bound is None:
            return "needs the client's key, to encrypt chosen pictures"
        if lack := attack.missing_images(images, self.plain_shape, self.structure.block):
            return lack
        if needs.public_images and (self.public is None or self.public.shape[1:] != self.plain.shape[1:]):
            return "needs public images of the same size"
        labelled = self.labels is not None and self.public_labels is not None
        if model.knows_labels and needs.public_images and not labelled:
            return f"needs labels of the ciphertexts and of the public images, {SAME_CLASSES}"
        return None


def cut_nonce(ct: NDArray[Any], height: int) -> Images:
    """Ciphertexts in units of [0, 1] without the rows of nonce that a stream ciphertext carries."""
    return to_unit(ct[:, :, :height])
