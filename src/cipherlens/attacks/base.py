"""The input of an attack (a view) and its result. Only the harness knows the plain images."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.ciphers.base import Shape
from cipherlens.ciphers.estimated_inverse import EstimatedInverse
from cipherlens.errors import UsageError

Images = NDArray[np.float32]
Labels = NDArray[np.int64]
Oracle = Callable[[NDArray[np.uint8]], Images]
Draw = Callable[[int], tuple[Images, Images]]
"""Maps the number of a training round to ciphertexts and pictures (N, C, H, W), each used once in the round."""

THREAT_MODELS = {
    "coa": "sees only encrypted images",
    "labels": "also knows the labels of the encrypted images",
    "kpa": "also knows some original pictures with their encrypted form",
    "cpa": "can have pictures of their choice encrypted",
    "model": "holds the keyed model",
}

SAME_CLASSES = "in the same classes"
ANY = 1 << 62
"""Stands for no limit: larger than any number of images, pixels or blocks."""


def to_unit(images: NDArray[Any]) -> Images:
    """uint8 -> float32 in [0, 1]; floats as they are, as float32."""
    return images.astype(np.float32) / np.float32(255) if images.dtype == np.uint8 else images.astype(np.float32)


@dataclass(frozen=True)
class View:
    """Everything an eavesdropper has (Kerckhoffs: scheme and parameters are public, the key is not).

    ``ciphertexts`` are (N, C, H, W) float32; integer ciphertexts are divided by 255. ``public_images`` (M, C, H',
    W'), float32 in [0, 1], are natural images of another source, or None. ``known_plain`` and ``known_ct`` are
    pairs in the same units, for the threat models that have them.

    ``oracle`` encrypts at most ``queries`` images (N, C, H, W) uint8 of the attacker's choice. It returns their
    ciphertexts in the same units. ``shape`` (C, H, W) is that of the plain images, where the ciphertexts have
    another. ``labels`` (N,) and ``public_labels`` (M,) are the classes of the ciphertexts and of the public images,
    for the threat model that has them. ``starts`` is the number of random starts for a search that can end in local
    minima. The best result is kept.
    """

    cipher: str
    params: dict[str, Any]
    threat_model: str
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

    @property
    def plain_shape(self) -> Shape:
        """Shape (C, H, W) of the plain images."""
        channels, height, width = self.shape or self.ciphertexts.shape[1:]
        return int(channels), int(height), int(width)

    @property
    def block(self) -> int:
        """Block side of the scheme; 4 (the report's, for small images) where the scheme has none."""
        return int(self.params.get("block", 4))


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
class Attack:
    """A named attack: its threat model, the ciphers it breaks or may break, and the function that runs it.

    A composition is attacked if all its parts are in ``composes``.

    ``alignment`` names the ambiguity that is removed before scoring. "affine": the best affine fit per channel.
    "affine each": the best affine fit per image and channel. "symmetries": the best of the eight symmetries of the
    square, one for all images. "colours": the best order of the channels, as negatives or not, one for all images.
    "poses": the best combination of symmetry, negative and channel order, one for all images, or one per image with
    a key per image. The ciphers in ``fixed_pose_ciphers`` leave no pose open and are not aligned.

    ``min_control_ssim``: minimum SSIM in the identity control; lower for inherently lossy attacks. ``min_images``:
    minimum number of images. ``max_pixels`` and ``max_blocks``: the largest images, in pixels and in blocks.
    ``max_images_per_image_key``: number of images worth attacking, one by one, where each has its own key.
    ``cost_minutes``: order of magnitude on one core; above 0 the attack runs only on request.

    ``needs_public``: the attack learns from public images of the size of the plain ones. ``simulates_cipher``: it
    learns from ciphertexts that it makes itself, so the identity control must be declared to it. ``finds_inverse``:
    it returns a map that decrypts further ciphertexts under the same key. ``supports``: whether it applies to one
    of its ciphers with these parameters.
    """

    name: str
    threat_model: str
    ciphers: tuple[str, ...]
    summary: str
    function: Callable[[View], tuple[Images | EstimatedInverse, dict[str, Any]]]
    alignment: str = "none"
    composes: tuple[str, ...] = ()
    min_control_ssim: float = 0.9
    min_images: int = 1
    max_pixels: int = ANY
    max_blocks: int = ANY
    max_images_per_image_key: int = ANY
    fixed_pose_ciphers: tuple[str, ...] = ()
    cost_minutes: float = 0.0
    needs_public: bool = False
    simulates_cipher: bool = False
    finds_inverse: bool = False
    supports: Callable[[dict[str, Any]], bool] = lambda _: True

    def applies(self, cipher: str, params: dict[str, Any] | None = None) -> bool:
        """Whether the attack applies to this cipher; ``params`` hold the parts of a composition."""
        if cipher != "compose":
            return cipher in self.ciphers and self.supports(params or {})
        parts = (params or {}).get("ciphers", ())
        return bool(parts) and all(part["name"] in self.composes and not part.get("orthogonal") for part in parts)

    def limit_pixels(self, params: dict[str, Any]) -> int:
        """Maximum pixels of an image, given the scheme's blocks."""
        block: int | None = params.get("block")
        return min(self.max_pixels, self.max_blocks * block**2 if block else ANY)

    def most_images(self, params: dict[str, Any]) -> int:
        """Maximum number of images that are worth attacking."""
        return self.max_images_per_image_key if params.get("per_image") else ANY

    def choose_alignment(self, cipher: str, params: dict[str, Any]) -> str:
        """Name of the alignment before scoring for this scheme."""
        if self.alignment != "poses":
            return self.alignment
        return "none" if cipher in self.fixed_pose_ciphers else "poses each" if params.get("per_image") else "poses"

    def run(self, view: View) -> AttackResult:
        """Run on a view. Raises UsageError if the view lacks what the threat model gives."""
        if self.threat_model == "kpa" and (view.known_plain is None or view.known_ct is None):
            raise UsageError(
                f"{self.name} needs known pictures with their ciphertexts",
                hint="give the view pairs",
                parameters=("plain",),
            )
        if self.threat_model == "cpa" and view.oracle is None:
            raise UsageError(
                f"{self.name} needs somebody to encrypt chosen pictures",
                hint="give the view an oracle",
                parameters=("key",),
            )
        started = time.perf_counter()
        found, details = self.function(view)
        if isinstance(found, EstimatedInverse):
            pictures = found.apply(view.ciphertexts)
            return AttackResult(pictures, time.perf_counter() - started, details, found)
        return AttackResult(found, time.perf_counter() - started, details)
