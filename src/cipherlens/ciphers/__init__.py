"""Every cipher behind one interface: ``create_cipher(name, **params).bind(key, shape)``."""

from typing import Any

from cipherlens.ciphers.base import BoundCipher, Cipher
from cipherlens.ciphers.control import IdentityCipher, StreamCipher
from cipherlens.ciphers.hill import HillCipher, HillMod256Cipher
from cipherlens.ciphers.permutation import PixelPermutationCipher
from cipherlens.errors import UsageError, unknown_name

CIPHERS: dict[str, type[Cipher]] = {
    "hill": HillCipher,
    "hill-mod256": HillMod256Cipher,
    "pixel-permutation": PixelPermutationCipher,
    "identity": IdentityCipher,
    "stream": StreamCipher,
}


def create_cipher(name: str, **params: Any) -> Cipher:
    """Make a cipher from its name and public parameters.

    Raises UsageError, listing what is valid, for an unknown name or parameter.
    """
    if name not in CIPHERS:
        raise unknown_name("cipher", name, list(CIPHERS))
    known = list(getattr(CIPHERS[name], "__dataclass_fields__", {}))
    unknown = sorted(set(params) - set(known))
    if unknown:
        raise UsageError(
            f"cipher {name!r} has no parameter {', '.join(unknown)}",
            hint=f"its parameters: {', '.join(known) or 'none'}",
        )
    return CIPHERS[name](**params)


__all__ = ["CIPHERS", "BoundCipher", "Cipher", "create_cipher"]
