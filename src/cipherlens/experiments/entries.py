"""Schemes and attacks of others on the leaderboard: found, held to the rules, named with their package."""

import hashlib
import importlib
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from importlib.metadata import Distribution, distribution, entry_points, packages_distributions
from pathlib import Path
from typing import Any

from cipherlens.attacks import ATTACKS, get_attack, register_attack
from cipherlens.attacks.base import Attack
from cipherlens.ciphers import CIPHERS, Cipher, create_cipher, register_cipher
from cipherlens.ciphers.registry import get_cipher, parse_option
from cipherlens.errors import CipherlensError, UsageError
from cipherlens.experiments.settings import Settings
from cipherlens.testing import CheckError, check_attack, check_cipher


@dataclass(frozen=True)
class Entry:
    """What somebody wants measured: a scheme with its parameters, an attack, or both.

    Each is a name, or ``module:Class``. ``options`` are parameters of the scheme, as NAME=VALUE.
    """

    scheme: str | None = None
    options: tuple[str, ...] = ()
    attack: str | None = None

    @property
    def places(self) -> tuple[str, ...]:
        """What workers import before they can name it."""
        return tuple(place for place in (self.scheme, self.attack) if place and ":" in place)


def enter(settings: Settings, entry: Entry) -> Settings:
    """The experiment with this entry in place of its own schemes or attacks.

    Raises UsageError where the entry cannot be loaded or breaks a rule, or where the experiment takes none.
    """
    if settings.kind != "leakage":
        raise UsageError(
            f"{settings.name} takes no scheme or attack of yours",
            hint="reproduce leakage",
            parameters=("scheme", "attack"),
        )
    cipher, attack = _load_cipher(entry), _load_attack(entry)
    if cipher is not None:
        _hold(check_cipher, cipher, "scheme")
    if attack is not None:
        _hold(lambda checked: check_attack(checked, cipher), attack, "attack")
    options = dict(settings.options)
    facts: dict[str, Any] = {}
    if cipher is not None:
        options["ciphers"] = [{"name": cipher.name, **cipher.params}]
        facts["scheme"] = options["ciphers"][0] | _describe_code(type(cipher))
    if attack is not None:
        options["attacks"] = [attack.name]
        facts["attack"] = {"name": attack.name} | _describe_code(type(attack))
    return replace(settings, options=options, entry=facts, places=entry.places)


def load_places(places: Iterable[str]) -> None:
    """Register what lies at ``module:Class``, unless its module does so itself."""
    for place in places:
        found = _import(place)
        if issubclass(found, Cipher) and CIPHERS.get(found.name) is not found:
            register_cipher(found)
        elif issubclass(found, Attack) and type(ATTACKS.get(found.name)) is not found:
            register_attack(found)


def _load_cipher(entry: Entry) -> Cipher | None:
    if entry.scheme is None:
        if entry.options:
            raise UsageError("there is no scheme for these options", hint="name it", parameters=("scheme",))
        return None
    name = _name(entry.scheme, Cipher, "cipher")
    if "+" not in name:
        get_cipher(name)
    return create_cipher(name, **dict(parse_option(name, option) for option in entry.options))


def _load_attack(entry: Entry) -> Attack | None:
    return None if entry.attack is None else get_attack(_name(entry.attack, Attack, "attack"))


def _name(place: str, base: type[Any], kind: str) -> str:
    """The name under which a cipher or an attack is registered. Raises UsageError where there is none."""
    if ":" not in place:
        return place
    found = _import(place)
    if not issubclass(found, base):
        raise UsageError(f"{place} is no {kind}", hint=f"name a subclass of {base.__module__}.{base.__name__}")
    load_places([place])
    return str(found.name)


def _import(place: str) -> type[Any]:
    """The class at ``module:Class``. Raises UsageError where there is none."""
    module, _, name = place.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:  # somebody else's code may raise anything
        raise UsageError(
            f"cannot load {place}: {error!r}", hint="install its package, or set PYTHONPATH to its folder"
        ) from error
    if not inspect.isclass(found):
        raise UsageError(f"{place} is no class", hint="write module:Class")
    return found


def _hold(check: Callable[[Any], None], subject: Any, kind: str) -> None:
    """Hold an entry to the rules. Raises UsageError, saying which of them it breaks."""
    try:
        check(subject)
    except CheckError as error:
        message = f"{error}"
    except CipherlensError as error:
        message = f"{subject.name} cannot be checked: {error}"
    except Exception as error:  # somebody else's code may raise anything
        message = f"{subject.name} cannot be checked: {error!r}"
    else:
        return
    rules = f"cipherlens.testing.check_{'cipher' if kind == 'scheme' else 'attack'}"
    raise UsageError(message, hint=f"make it pass {rules}; nothing was measured", parameters=(kind,))


def _describe_code(kind: type[Any]) -> dict[str, Any]:
    """Package, version, and the file that was measured, so that a reader can tell whether it is the same."""
    module = kind.__module__
    found = _find_distribution(module.partition(".")[0])
    file = Path(inspect.getfile(kind))
    return {
        "class": f"{module}:{kind.__name__}",
        "package": found.name if found else None,
        "version": found.version if found else None,
        "file": file.name,
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
    }


def _find_distribution(package: str) -> Distribution | None:
    """The installed distribution of an importable package; None where it is only on the path."""
    names = packages_distributions().get(package)
    if names:
        return distribution(names[0])
    if package == "cipherlens":
        return distribution(package)
    # An editable install lists no files, but it may offer a name.
    offered = (*entry_points(group="cipherlens.ciphers"), *entry_points(group="cipherlens.attacks"))
    return next((entry.dist for entry in offered if entry.module.partition(".")[0] == package), None)
