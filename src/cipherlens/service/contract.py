"""What a served model takes: a request for another key, scheme, shape or range is refused, never answered."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.data.roughness import measure_roughness
from cipherlens.data.sealed.spec import PLAIN
from cipherlens.service.errors import RequestError, unfit
from cipherlens.service.protocol import Request

IMAGES = "images"
OUTPUTS = ("logits", "probabilities")
VERSION = "1"
_OIP = {"uint8": ("UINT8",), "float32": ("FP32", "FP16", "BF16")}
"""Datatypes in which images of a dtype may come."""


@dataclass(frozen=True)
class Contract:
    """The public facts of a model. ``shape`` (C, H, W) and ``dtype`` are those of sealed images.

    ``scheme`` are the fields of a CipherSpec: cipher, params, key_fingerprint, ... ``roughness``: the smallest that
    its training ciphertexts had (0: not recorded).
    """

    name: str
    shape: tuple[int, int, int]
    dtype: str
    classes: tuple[str, ...]
    scheme: dict[str, Any] = field(default_factory=dict)
    masked: bool = False
    roughness: float = 0.0
    platform: str = "cipherlens"

    def describe(self) -> dict[str, Any]:
        """Model metadata of the protocol; ``parameters`` say how images are sealed for it."""
        answer = [-1, len(self.classes), *(self.shape[1:] if self.masked else ())]
        return {
            "name": self.name,
            "versions": [VERSION],
            "platform": self.platform,
            "inputs": [{"name": IMAGES, "datatype": _OIP[self.dtype][0], "shape": [-1, *self.shape]}],
            "outputs": [{"name": name, "datatype": "FP32", "shape": answer} for name in OUTPUTS],
            "parameters": {"classes": list(self.classes), "scheme": self.scheme, "masked": self.masked},
        }

    def check(self, request: Request, most: int) -> NDArray[Any]:
        """The images of a request, (N, C, H, W) of the model's dtype. Raises RequestError where they do not fit."""
        self._check_scheme(request)
        if request.name != IMAGES:
            raise unfit(f"no input {request.name[:40]!r}: the model takes {IMAGES!r}")
        unknown = [name for name in request.outputs if name not in OUTPUTS]
        if unknown:
            raise unfit(f"no output {unknown[0][:40]!r}: {', '.join(OUTPUTS)}")
        if request.datatype not in _OIP[self.dtype]:
            raise unfit(f"{request.datatype} given, sealed images are {' or '.join(_OIP[self.dtype])}")
        images = request.images
        if images.ndim != 4 or images.shape[1:] != self.shape or not len(images):
            wanted = ", ".join(map(str, self.shape))
            raise unfit(f"shape {list(images.shape)} given, sealed images are [N, {wanted}]")
        if len(images) > most:
            raise RequestError(413, "too large", f"{len(images)} images in one request, at most {most}")
        if images.dtype != np.uint8 and not np.isfinite(images).all():
            raise unfit("the images hold numbers that are not finite")
        if self.roughness and not request.parameters.allow_plain:
            self._refuse_plain(images)
        return images

    def _check_scheme(self, request: Request) -> None:
        asked, known = request.parameters, self.scheme
        for name, given in (("key_fingerprint", asked.key_fingerprint), ("cipher", asked.cipher)):
            if given is not None and name in known and given != known[name]:
                word = "under another key" if name == "key_fingerprint" else f"with {given[:80]}"
                raise RequestError(
                    409,
                    "another key or scheme",
                    f"the images were sealed {word}; {self.name} is for "
                    f"cipher {known.get('cipher')}, key {known.get('key_fingerprint')}",
                )

    def _refuse_plain(self, images: NDArray[Any]) -> None:
        smooth = measure_roughness(images) < self.roughness / 2
        if self.scheme.get("cipher") != PLAIN and smooth.any():
            raise unfit(
                f"image {int(smooth.argmax())} is smooth as a plain photo, which sealed images are not; "
                "seal it first, or send the parameter allow_plain"
            )
