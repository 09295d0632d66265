"""What the desk's controls choose: a scheme with its block, one key or a key for each image, the pictures' size."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from cipherlens.ciphers import Cipher, create_cipher
from cipherlens.ciphers.structure import Shape
from cipherlens.data.sealed.spec import CipherSpec
from cipherlens.errors import UsageError

SCHEMES: dict[str, str] = {
    "hill": "Hill: each block times a secret matrix (ER-CNN)",
    "pixel-permutation": "Permutation: all pixels change places (PrivDL)",
    "shf": "SHF: the values within each block change places",
    "negpos": "Negative-positive: some pixels are inverted",
    "ele": "ELE: blocks change places, their values too",
    "etc": "EtC: blocks are moved, turned and inverted",
    "stream": "Stream: real encryption, from which nobody learns",
}
"""Schemes that can be chosen, and what a person reads of them."""
BLOCKS = (4, 8, 16)
SIZES = (32, 64, 96, 128, 192, 224)
"""Sides of the pictures in pixels."""


@dataclass(frozen=True)
class Setting:
    """One choice of all controls. Raises UsageError for one that cannot be."""

    scheme: str = "hill"
    block: int = 8
    per_image: bool = False
    size: int = 128

    def __post_init__(self) -> None:
        if self.scheme not in SCHEMES or self.block not in BLOCKS or self.size not in SIZES:
            raise UsageError("there is no such setting", hint="choose among those of the page")
        if self.size % self.block:
            raise UsageError(f"{self.size} is no multiple of {self.block}", hint="take a smaller block")
        self.cipher.structure(self.shape)

    @classmethod
    def of_scheme(cls, scheme: CipherSpec) -> "Setting":
        """That of a model's images. Raises UsageError where the page cannot choose it."""
        params, sides = scheme.params, tuple(scheme.padded_shape)
        setting = cls(scheme.cipher, params.get("block", 8), bool(params.get("per_image")), sides[1])
        if not setting.fits(scheme):
            raise UsageError("the model's images were sealed otherwise than this page can", hint="cipherlens query")
        return setting

    def fits(self, scheme: CipherSpec) -> bool:
        """Whether a model of this scheme can answer on images of this setting."""
        same = scheme.cipher == self.scheme and scheme.create_cipher().params == self.cipher.params
        return same and tuple(scheme.padded_shape) == self.shape

    @property
    def shape(self) -> Shape:
        """Shape (C, H, W) of the pictures."""
        return 3, self.size, self.size

    @cached_property
    def params(self) -> dict[str, Any]:
        """Public parameters of the cipher, those that it has."""
        fields = create_cipher(self.scheme).params
        wanted = {"block": self.block, "per_image": self.per_image}
        return {name: value for name, value in wanted.items() if name in fields}

    @cached_property
    def cipher(self) -> Cipher:
        """The cipher. Raises UsageError where it has no keys for each image."""
        if self.per_image and "per_image" not in self.params:
            able = [name for name in SCHEMES if "per_image" in create_cipher(name).params]
            raise UsageError(
                f"{self.scheme} has one key for all images",
                hint=f"a key for each image have {', '.join(able)}; stream never repeats itself anyway",
            )
        return create_cipher(self.scheme, **self.params)

    def describe(self) -> str:
        """In a few words."""
        block = f", block {self.block}" if "block" in self.params else ""
        keys = ", a key for each image" if self.per_image else ""
        return f"{SCHEMES[self.scheme].partition(':')[0]}{block}{keys}, {self.size}x{self.size}"
