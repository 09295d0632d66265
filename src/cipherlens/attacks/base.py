"""The input of an attack (a view) and its result. Only the harness knows the plain images."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray

from cipherlens.ciphers.base import Cipher
from cipherlens.ciphers.estimated_inverse import EstimatedInverse
from cipherlens.ciphers.structure import KeyStructure, Kind, Shape
from cipherlens.ciphers.threat_models import ThreatModel
from cipherlens.errors import UsageError

Images = NDArray[np.float32]
Labels = NDArray[np.int64]
Found = tuple[Images | EstimatedInverse, dict[str, Any]]
Oracle = Callable[[NDArray[np.uint8]], Images]
Draw = Callable[[int], tuple[Images, Images]]
"""Maps the number of a training round to ciphertexts and pictures (N, C, H, W), each used once in the round."""

SAME_CLASSES = "in the same classes"
DEFAULT_BLOCK = 4
"""Block side that attacks take where the scheme has none: the report's, for small images."""
ANY = 1 << 62
"""Stands for no limit: larger than any number of images, pixels or blocks."""


def to_unit(images: NDArray[Any]) -> Images:
    """uint8 -> float32 in [0, 1]; floats as they are, as float32."""
    return images.astype(np.float32) / np.float32(255) if images.dtype == np.uint8 else images.astype(np.float32)


@dataclass(frozen=True)
class View:
    """Everything that an eavesdropper has (Kerckhoffs: scheme and parameters are public, the key is not).

    ``cipher`` is None where nobody declared the scheme. ``key_per_image``: every image has its own key.
    ``ciphertexts`` are (N, C, H, W) float32; integer ciphertexts are divided by 255. ``public_images`` (M, C, H',
    W'), float32 in [0, 1], are natural images of another source, or None. ``known_plain`` and ``known_ct`` are
    pairs, in the same units, for threat models that have them. ``oracle`` encrypts at most ``queries`` images
    (N, C, H, W) uint8 of the attacker's choice. It returns their ciphertexts in the same units. ``shape``
    (C, H, W) is the shape of the plain images, if the ciphertexts have another. ``labels`` (N,) and
    ``public_labels`` (M,) are the classes of the ciphertexts and of the public images, for the threat model that
    has them. ``starts`` is the number of random starts of a search that can end in local minima. The best result
    is kept.
    """

    cipher: Cipher | None
    ciphertexts: Images
    public_images: Images | None = None
    known_plain: Images | None = None
    known_ct: Images | None = None
    seed: int = 0
    oracle: Oracle | None = None
    queries: int = 0
    shape: Shape | None = None
    labels: Labels | None = None
    public_labels: Labels | None = None
    starts: int = 1
    key_per_image: bool = False

    @property
    def plain_shape(self) -> Shape:
        """Shape (C, H, W) of the plain images."""
        channels, height, width = self.shape or self.ciphertexts.shape[1:]
        return int(channels), int(height), int(width)

    @cached_property
    def structure(self) -> KeyStructure:
        """What the scheme may do, as everybody may know."""
        return describe_scheme(self.cipher, self.plain_shape)

    @property
    def block(self) -> int:
        """Block side of the scheme in pixels; DEFAULT_BLOCK if it has no block."""
        return self.structure.block or DEFAULT_BLOCK


def describe_scheme(cipher: Cipher | None, shape: Shape) -> KeyStructure:
    """The structure of a scheme for images of ``shape``; OTHER where nobody declared it."""
    return KeyStructure(Kind.OTHER) if cipher is None else cipher.structure(shape)


def require_public(view: View) -> Images:
    """The view's public images. Raises UsageError unless they have the size of the plain images."""
    if view.public_images is None or view.public_images.shape[1:] != view.plain_shape:
        raise UsageError(
            f"this attack needs public images of shape {view.plain_shape}, that of the plain ones",
            hint="give a prior of such images, or leave it away",
            parameters=("prior",),
        )
    return view.public_images


def require_labels(view: View) -> tuple[Labels, Labels]:
    """Labels of the view's ciphertexts and of its public images. Raises UsageError unless it has both."""
    if view.labels is None or view.public_labels is None:
        raise UsageError(
            f"this attack needs the labels of the ciphertexts and of the public images, {SAME_CLASSES}",
            hint="take a labelled data set, and leave the prior away",
            parameters=("prior",),
        )
    return view.labels, view.public_labels


@dataclass(frozen=True)
class AttackResult:
    """A reconstruction (N, C, H, W), float32, nominally in [0, 1] and not clipped, with the attack's details.

    ``inverse`` decrypts further ciphertexts under the same key; it is None where the attack finds no such map.
    """

    reconstruction: Images
    seconds: float
    details: dict[str, Any] = field(default_factory=dict)
    inverse: EstimatedInverse | None = None


@dataclass(frozen=True)
class Requirements:
    """What an attack needs besides what its threat model gives.

    With fewer than ``min_images`` it says nothing, nor about images of more than ``max_pixels`` pixels or
    ``max_blocks`` blocks. ``max_images_per_image_key``: images worth attacking, one by one, where each has its own
    key. ``public_images``: it learns from public images of the size of the plain ones. ``cost_minutes``: order of
    magnitude on one core; above 0 the attack runs only where somebody asks for it.
    """

    min_images: int = 1
    max_pixels: int = ANY
    max_blocks: int = ANY
    max_images_per_image_key: int = ANY
    public_images: bool = False
    cost_minutes: float = 0.0


class Attack(ABC):
    """A named attack: whom it stands for, what it needs, which schemes it says something about, and how it runs.

    ``alignment`` names what the attack cannot know; pictures are scored without it (evaluation/alignment.py).
    ``min_control_ssim``: minimum SSIM in the identity control; lower for inherently lossy attacks.
    ``min_control_ssim_blind``: the same without public images, where they make a difference.
    ``simulates_cipher``: it learns from ciphertexts that it makes itself, so the identity control must be declared
    to it. ``uses_prior``: public images, where there are any, tell it what pictures look like. ``finds_inverse``:
    it gives a map that reads further ciphertexts, unless every image has its own key.
    """

    name: ClassVar[str]
    threat_model: ClassVar[ThreatModel]
    summary: ClassVar[str]
    requirements: ClassVar[Requirements] = Requirements()
    alignment: ClassVar[str] = "none"
    min_control_ssim: ClassVar[float] = 0.9
    min_control_ssim_blind: ClassVar[float | None] = None
    simulates_cipher: ClassVar[bool] = False
    uses_prior: ClassVar[bool] = False
    finds_inverse: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        if "execute" in cls.__dict__:
            raise TypeError(
                f"{cls.__name__} defines execute, which checks and times alike for all attacks: define run"
            )

    @classmethod
    @abstractmethod
    def supports(cls, cipher: Cipher | None, plain_shape: Shape, sealed_shape: Shape) -> bool:
        """Whether it says anything about images (C, H, W) of these shapes under a scheme (None: not declared)."""

    @abstractmethod
    def run(self, view: View) -> Found:
        """Pictures (N, C, H, W), or a map that gives them, and details. Knows nothing but the view."""

    def without_key(self) -> "Attack":
        """The attack for the identity control, where no key is to be found. Models in hand hold none then."""
        return self

    def count_starts(self, structure: KeyStructure) -> int:
        """How many starts of its search are worth their time for this scheme."""
        return 1

    def choose_alignment(self, structure: KeyStructure, key_per_image: bool) -> str:
        """Name of the alignment before scoring for this scheme."""
        return self.alignment

    @final
    def limit_pixels(self, block: int | None) -> int:
        """Maximum pixels of an image, given the scheme's block."""
        needs = self.requirements
        return min(needs.max_pixels, needs.max_blocks * block**2 if block else ANY)

    @final
    def missing_images(self, count: int, shape: Shape, block: int | None) -> str | None:
        """What is wrong with ``count`` images of a plain ``shape``; None where the attack can take them."""
        least = self.requirements.min_images + self.threat_model.knows_pairs  # one more, to be scored on
        if count < least:
            return f"needs {least} images or more"
        if shape[1] * shape[2] > (most := self.limit_pixels(block)):
            return f"takes images of at most {most:,} pixels"
        return None

    @final
    def most_images(self, key_per_image: bool) -> int:
        """How many images are worth attacking."""
        return self.requirements.max_images_per_image_key if key_per_image else ANY

    @final
    def execute(self, view: View) -> AttackResult:
        """Check the view, run, take the time. Raises UsageError if the view lacks what the attack needs."""
        if self.threat_model.knows_pairs and (view.known_plain is None or view.known_ct is None):
            raise UsageError(
                f"{self.name} needs known pictures with their ciphertexts",
                hint="give the view pairs",
                parameters=("plain",),
            )
        if self.threat_model.chooses and view.oracle is None:
            raise UsageError(
                f"{self.name} needs somebody to encrypt chosen pictures",
                hint="give the view an oracle",
                parameters=("key",),
            )
        started = time.perf_counter()
        found, details = self.run(view)
        if isinstance(found, EstimatedInverse):
            pictures = found.apply(view.ciphertexts)
            inverse = None if view.key_per_image else found  # it reads no other image
            return AttackResult(pictures, time.perf_counter() - started, details, inverse)
        return AttackResult(found, time.perf_counter() - started, details)


class DeclaredAttack(Attack):
    """An attack that goes by what a scheme declares of itself, and by nothing else."""

    @classmethod
    @abstractmethod
    def fits(cls, structure: KeyStructure) -> bool:
        """Whether it says anything about schemes that declare this."""

    @classmethod
    def supports(cls, cipher: Cipher | None, plain_shape: Shape, sealed_shape: Shape) -> bool:
        """See ``fits``."""
        return cls.fits(describe_scheme(cipher, plain_shape))
