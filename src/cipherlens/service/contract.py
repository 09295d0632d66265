"""What a served model takes: a request for another key, scheme, shape or range is refused, never answered."""

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.data.sealed.spec import PLAIN
from cipherlens.data.statistics import Statistics
from cipherlens.files import canonical_json
from cipherlens.inference import IMAGES, LOGITS, PROBABILITIES
from cipherlens.service.errors import RequestError, unfit
from cipherlens.service.protocol import Input, Parameters

OUTPUTS = (LOGITS, PROBABILITIES)
VERSION = "1"
_OIP = {"uint8": ("UINT8",), "float32": ("FP32", "FP16", "BF16")}
"""Datatypes in which images of a dtype may come."""
_NAMED = ("key_fingerprint", "cipher", "model_id")
"""What a request may say of the model that it is for."""


@dataclass(frozen=True)
class Contract:
    """The public facts of a model. ``shape`` (C, H, W) and ``dtype`` are those of sealed images.

    ``scheme`` are the fields of a CipherSpec: cipher, params, key_fingerprint, ... ``statistics``: of its training
    ciphertexts (None: not recorded). ``weights``: a hash of them.
    """

    name: str
    shape: tuple[int, int, int]
    dtype: str
    classes: tuple[str, ...]
    scheme: dict[str, Any] = field(default_factory=dict)
    masked: bool = False
    statistics: Statistics | None = None
    weights: str = ""
    platform: str = "cipherlens"

    @cached_property
    def id(self) -> str:
        """A name for exactly this model: two differ where classes, scheme, shape or weights do."""
        facts = [self.shape, self.dtype, self.classes, self.scheme, self.weights]
        return hashlib.sha256(canonical_json(facts)).hexdigest()

    def describe(self, most: int) -> dict[str, Any]:
        """Model metadata of the protocol; ``parameters`` say how images are sealed, and how ``most`` may come."""
        answer = [-1, len(self.classes), *(self.shape[1:] if self.masked else ())]
        parameters = {"classes": list(self.classes), "scheme": self.scheme, "masked": self.masked}
        return {
            "name": self.name,
            "versions": [VERSION],
            "platform": self.platform,
            "inputs": [{"name": IMAGES, "datatype": _OIP[self.dtype][0], "shape": [-1, *self.shape]}],
            "outputs": [{"name": name, "datatype": "FP32", "shape": answer} for name in OUTPUTS],
            "parameters": parameters | {"model_id": self.id, "max_images": most},
        }

    def check_announced(self, given: Input, asked: Parameters, outputs: tuple[str, ...], most: int) -> None:
        """Raise RequestError where what is announced does not fit, before any value is read."""
        self._check_scheme(asked)
        if given.name != IMAGES:
            raise unfit(f"no input {given.name[:40]!r}: the model takes {IMAGES!r}")
        unknown = [name for name in outputs if name not in OUTPUTS]
        if unknown:
            raise unfit(f"no output {unknown[0][:40]!r}: {', '.join(OUTPUTS)}")
        if given.datatype not in _OIP[self.dtype]:
            raise unfit(f"{given.datatype[:40]} given, sealed images are {' or '.join(_OIP[self.dtype])}")
        if len(given.shape) != 4 or tuple(given.shape[1:]) != self.shape or not given.shape[0]:
            wanted = ", ".join(map(str, self.shape))
            raise unfit(f"shape {given.shape} given, sealed images are [N, {wanted}]")
        if given.shape[0] > most:
            raise RequestError(413, "too large", f"{given.shape[0]} images in one request, at most {most}")

    def _check_scheme(self, asked: Parameters) -> None:
        known = {"model_id": self.id} | self.scheme
        wrong = [
            name for name in _NAMED if getattr(asked, name) not in (None, known.get(name, getattr(asked, name)))
        ]
        if not wrong:
            return
        wanted = f"cipher {self.scheme.get('cipher')}, key {self.scheme.get('key_fingerprint')}"
        raise RequestError(409, "another key or scheme", f"another {wrong[0]} than the model's; it is for {wanted}")

    def check_values(self, images: NDArray[Any], allow_plain: bool) -> None:
        """Raise RequestError (422) for values that no ciphertext has."""
        if images.dtype != np.uint8 and not np.isfinite([images.min(), images.max()]).all():
            raise unfit("the images hold numbers that are not finite")
        if self.statistics is None or self.scheme.get("cipher") == PLAIN:
            return
        outlier = self.statistics.find_outlier(images)
        if outlier is not None:
            raise unfit(f"image {outlier} has values far outside those of sealed images")
        smooth = None if allow_plain else self.statistics.find_smooth(images)
        if smooth is not None:
            raise unfit(
                f"image {smooth} is smooth as a plain photo, which sealed images are not; seal it first, or send "
                "the parameter allow_plain"
            )


def to_probabilities(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """The softmax of logits over axis 1. In NumPy: threads of torch would wait for those that compute."""
    shares: NDArray[np.float32] = np.exp(logits - logits.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    return shares
