"""The cipher on the command line."""

from dataclasses import dataclass
from typing import Any

from cyclopts import Parameter

from cipherlens.ciphers import Cipher, create_cipher
from cipherlens.ciphers.registry import parse_option
from cipherlens.cli.options.types import CIPHER, Flag, OptionalWhole
from cipherlens.errors import UsageError


@Parameter(name="*", group=CIPHER)
@dataclass(frozen=True, kw_only=True)
class CipherOptions:
    """A cipher's name and parameters."""

    cipher: str = "hill"
    """hill, pixel-permutation, etc, ...: cipherlens ciphers lists them; a+b applies a, then b."""
    block: OptionalWhole = None
    """Block side of block ciphers."""
    orthogonal: Flag = False
    """hill, patch: draw orthogonal matrices."""
    grey: Flag = False
    """etc: put the channels side by side into one grey picture."""
    scramble: Flag = False
    """patch: move the patches too."""
    per_image: Flag = False
    """negpos, pe, etc: a key of its own for every image."""
    cipher_option: list[str] | None = None
    """NAME=VALUE: any parameter of the cipher, as those of an installed package have; may be repeated."""

    def create(self) -> Cipher:
        """The cipher. Raises UsageError for a parameter that is given twice, or that it does not have."""
        params: dict[str, Any] = {} if self.block is None else {"block": self.block}
        params |= {flag: True for flag in ("orthogonal", "grey", "scramble", "per_image") if getattr(self, flag)}
        for field, value in (parse_option(self.cipher, text) for text in self.cipher_option or ()):
            if field in params:
                raise UsageError(f"{field} is given twice", hint="give it once", parameters=("cipher_option",))
            params[field] = value
        return create_cipher(self.cipher, **params)
