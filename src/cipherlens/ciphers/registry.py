"""Ciphers by name: those of this package, those that others register, and compositions of all of them."""

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, cast, get_type_hints

from cipherlens.ciphers.base import Cipher
from cipherlens.ciphers.compose import ComposedCipher
from cipherlens.errors import UsageError, unknown_name
from cipherlens.plugins import Plugins

CIPHERS: dict[str, type[Cipher]] = {}
"""Classes by name. Their fields are their parameters."""
PLUGINS = Plugins("cipherlens.ciphers")
CipherClass = TypeVar("CipherClass", bound=type[Cipher])
_RESERVED = set("+?:/ ")


def register_cipher(cipher: CipherClass) -> CipherClass:
    """Class decorator: the cipher can be named from now on.

    Raises UsageError for a name that is taken or cannot be written in a composition, or for a class that is no
    frozen dataclass.
    """
    name = cipher.name
    if name in CIPHERS or name == ComposedCipher.name:
        raise UsageError(f"there is a cipher {name} already", hint="choose another name")
    if not name or set(name) & _RESERVED:
        raise UsageError(f"a cipher cannot be called {name!r}", hint="use letters, digits and hyphens")
    if not is_dataclass(cipher) or not cipher.__dataclass_params__.frozen:
        raise UsageError(
            f"the cipher {name} is no frozen dataclass", hint="decorate it with @dataclass(frozen=True)"
        )
    CIPHERS[name] = cipher
    return cipher


def get_cipher(name: str) -> type[Cipher]:
    """The class of this name, from an installed package if need be. Raises UsageError, listing the ciphers."""
    if name not in CIPHERS:
        PLUGINS.load(name)
    if name not in CIPHERS:
        raise unknown_name("cipher", name, list_ciphers())
    return CIPHERS[name]


def list_ciphers() -> list[str]:
    """Names of all ciphers, those of installed packages too. Nothing is loaded."""
    return list(dict.fromkeys([*CIPHERS, *PLUGINS.names()]))


def create_cipher(name: str, **params: Any) -> Cipher:
    """Make a cipher from its name and public parameters.

    ``"np+block-scrambling"`` composes ciphers, in this order. Each gets those of ``params`` that it has.
    Raises UsageError, listing what is valid, for an unknown name or parameter.
    """
    if name == ComposedCipher.name:
        return _create_composed(**params)
    names = name.split("+")
    known = {field for part in names for field in list_params(part)}
    unknown = sorted(set(params) - known)
    if unknown:
        raise UsageError(
            f"cipher {name!r} has no parameter {', '.join(unknown)}",
            hint=f"its parameters: {', '.join(sorted(known)) or 'none'}",
        )
    parts = tuple(
        get_cipher(part)(**{field: value for field, value in params.items() if field in list_params(part)})
        for part in names
    )
    return parts[0] if len(parts) == 1 else ComposedCipher(parts)


def parse_option(name: str, text: str) -> tuple[str, Any]:
    """``"rounds=3"`` -> ``("rounds", 3)``, by the type of that field of a cipher, or of a part of a composition.

    Raises UsageError for another field, type, or form.
    """
    field, sign, value = text.partition("=")
    kinds = {key: get_type_hints(get_cipher(part))[key] for part in name.split("+") for key in list_params(part)}
    if not sign or field not in kinds:
        raise UsageError(
            f"{name} has no option {text!r}",
            hint=f"write NAME=VALUE, with NAME one of: {', '.join(sorted(kinds)) or 'none'}",
            parameters=("cipher_option",),
        )
    try:
        return field, _READERS[kinds[field]](value)
    except (KeyError, ValueError):
        kind = getattr(kinds[field], "__name__", kinds[field])
        raise UsageError(
            f"{field} of {name} is not {value!r}",
            hint=f"give a value of type {kind}",
            parameters=("cipher_option",),
        ) from None


def _read_bool(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()]


_READERS: dict[Any, Callable[[str], Any]] = {int: int, float: float, str: str, bool: _read_bool}


def list_params(name: str) -> tuple[str, ...]:
    """Names of a cipher's parameters."""
    return tuple(field.name for field in fields(cast(Any, get_cipher(name))))


def _create_composed(ciphers: Any = (), **others: Any) -> Cipher:
    """From the parameters of a composition, as a manifest holds them."""
    if (
        others
        or not isinstance(ciphers, list | tuple)
        or not all(isinstance(part, dict) and "name" in part for part in ciphers)
    ):
        raise UsageError("a composition is given as [{'name': ..., parameters}, ...]", hint="or as name+name")
    return ComposedCipher(tuple(create_cipher(**part) for part in ciphers))
