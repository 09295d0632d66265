"""What an attack is given (a view) and what it returns. Nothing here knows the truth; the harness does."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.errors import UsageError

Images = NDArray[np.float32]

THREAT_MODELS = {
    "coa": "sees only encrypted images",
    "labels": "also knows the labels, and has trained a classifier on encrypted images",
    "kpa": "also knows some original pictures with their encrypted form",
    "cpa": "can have pictures of their choice encrypted",
    "model": "holds the keyed model",
}


@dataclass(frozen=True)
class View:
    """Everything an eavesdropper has (Kerckhoffs: scheme and parameters are public, the key is not).

    ``ciphertexts`` are (N, C, H, W) float32, integer ciphertexts divided by 255. ``public_images`` (M, C, H', W'),
    float32 in [0, 1], are natural images of another source, or None. ``known_plain`` and ``known_ct`` are pairs,
    in the same units, for the threat models that have them.
    """

    cipher: str
    params: dict[str, Any]
    threat_model: str
    ciphertexts: Images
    public_images: Images | None = None
    known_plain: Images | None = None
    known_ct: Images | None = None
    seed: int = 0

    @property
    def block(self) -> int:
        """Block side of the scheme; 4 (the report's, for small images) where the scheme has none."""
        return int(self.params.get("block", 4))


@dataclass(frozen=True)
class AttackResult:
    """A reconstruction (N, C, H, W), float32, nominally in [0, 1] and not clipped, and what the attack noted."""

    reconstruction: Images
    seconds: float
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Attack:
    """A named attack: its threat model, the ciphers it breaks or may break, and the function that runs it.

    ``alignment`` "affine": what it finds has colours of its own, and is scored after the best fit per channel.
    """

    name: str
    threat_model: str
    ciphers: tuple[str, ...]
    summary: str
    function: Callable[[View], tuple[Images, dict[str, Any]]]
    alignment: str = "none"

    def run(self, view: View) -> AttackResult:
        """Run on a view; raises UsageError if the view lacks what the threat model gives."""
        if self.threat_model == "kpa" and (view.known_plain is None or view.known_ct is None):
            raise UsageError(
                f"{self.name} needs known pictures with their ciphertexts", hint="give the view pairs, or --plain"
            )
        started = time.perf_counter()
        reconstruction, details = self.function(view)
        return AttackResult(reconstruction, time.perf_counter() - started, details)
