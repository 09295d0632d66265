"""Every cipher behind one interface: ``create_cipher(name, **params).bind(key, shape)``."""

from dataclasses import fields
from typing import Any, cast

from cipherlens.ciphers.base import BoundCipher, Cipher
from cipherlens.ciphers.blockwise import BlockScramblingCipher, FfxCipher, NpCipher, ShfCipher
from cipherlens.ciphers.compose import ComposedCipher
from cipherlens.ciphers.schemes.control import IdentityCipher, StreamCipher
from cipherlens.ciphers.schemes.etc import EtcCipher, EtcLegacyCipher
from cipherlens.ciphers.schemes.hill import HillCipher, HillMod256Cipher
from cipherlens.ciphers.schemes.learnable import EleCipher, LeCipher
from cipherlens.ciphers.schemes.negpos import NegposCipher, PeCipher
from cipherlens.ciphers.schemes.patch import PatchCipher
from cipherlens.ciphers.schemes.permutation import PixelPermutationCipher
from cipherlens.errors import UsageError, unknown_name

CIPHERS: dict[str, type[Cipher]] = {
    kind.name: kind
    for kind in (
        *(HillCipher, HillMod256Cipher, PixelPermutationCipher, BlockScramblingCipher, NegposCipher, PeCipher),
        *(LeCipher, EleCipher, EtcCipher, EtcLegacyCipher, ShfCipher, NpCipher, FfxCipher, PatchCipher),
        *(IdentityCipher, StreamCipher),
    )
}


def create_cipher(name: str, **params: Any) -> Cipher:
    """Make a cipher from its name and public parameters.

    ``"np+block-scrambling"`` composes ciphers, the first one first; each gets those of ``params`` that it has.
    Raises UsageError, listing what is valid, for an unknown name or parameter.
    """
    if name == ComposedCipher.name:
        return _create_composed(**params)
    names = name.split("+")
    known = {field for part in names for field in _list_params(part)}
    unknown = sorted(set(params) - known)
    if unknown:
        raise UsageError(
            f"cipher {name!r} has no parameter {', '.join(unknown)}",
            hint=f"its parameters: {', '.join(sorted(known)) or 'none'}",
        )
    parts = tuple(
        CIPHERS[part](**{field: value for field, value in params.items() if field in _list_params(part)})
        for part in names
    )
    return parts[0] if len(parts) == 1 else ComposedCipher(parts)


def _list_params(name: str) -> tuple[str, ...]:
    if name not in CIPHERS:
        raise unknown_name("cipher", name, list(CIPHERS))
    return tuple(field.name for field in fields(cast(Any, CIPHERS[name])))


def _create_composed(ciphers: Any = (), **others: Any) -> Cipher:
    """From the parameters of a composition, as a manifest holds them."""
    if (
        others
        or not isinstance(ciphers, list | tuple)
        or not all(isinstance(part, dict) and "name" in part for part in ciphers)
    ):
        raise UsageError("a composition is given as [{'name': ..., parameters}, ...]", hint="or as name+name")
    return ComposedCipher(tuple(create_cipher(**part) for part in ciphers))


__all__ = ["CIPHERS", "BoundCipher", "Cipher", "create_cipher"]
