"""The attacks by name: those of this package, and those that others register."""

from collections.abc import Sequence
from typing import TypeVar

from cipherlens.attacks.base import Attack, AttackResult, View
from cipherlens.ciphers.base import Cipher
from cipherlens.ciphers.structure import Kind, Shape
from cipherlens.errors import UsageError, unknown_name
from cipherlens.plugins import Plugins

ATTACKS: dict[str, Attack] = {}
"""Attacks that need nothing but images, by name."""
ALIASES = {"hill-known-plaintext": "known-plaintext"}
"""Names of earlier versions, which records still have."""
PLUGINS = Plugins("cipherlens.attacks")
AttackClass = TypeVar("AttackClass", bound=type[Attack])


def register_attack(attack: AttackClass) -> AttackClass:
    """Class decorator: the attack can be named from now on. Raises UsageError for a name that is taken."""
    if attack.name in ATTACKS or attack.name in ALIASES:
        raise UsageError(f"there is an attack {attack.name} already", hint="choose another name")
    ATTACKS[attack.name] = attack()
    return attack


def canonical_name(name: str) -> str:
    """Today's name of an attack that had another one."""
    return ALIASES.get(name, name)


def get_attack(name: str) -> Attack:
    """The attack of this name, from an installed package if need be.

    Raises UsageError, listing the attacks, for an unknown name.
    """
    name = canonical_name(name)
    if name not in ATTACKS:
        PLUGINS.load(name)
    if name not in ATTACKS:
        raise unknown_name("attack", name, list_names())
    return ATTACKS[name]


def list_names() -> list[str]:
    """Names of all attacks, those of installed packages too. Nothing is loaded."""
    return list(dict.fromkeys([*ATTACKS, *PLUGINS.names()]))


def run_attack(name: str, view: View) -> AttackResult:
    """Run an attack by name on a view; ``result.reconstruction`` is (N, C, H, W) float32.

    Raises UsageError, listing the attacks, for an unknown name, or if the view does not fit the attack.
    """
    return get_attack(name).execute(view)


def list_attacks(
    cipher: Cipher | None, plain_shape: Shape, sealed_shape: Shape, slow: bool = False
) -> list[Attack]:
    """The attacks that say something about images of these shapes (C, H, W) under a cipher.

    Those that take minutes are included only if ``slow``. For a cipher of another package, the attacks of all
    installed packages are loaded too.
    """
    if cipher is not None and not type(cipher).__module__.startswith("cipherlens."):
        load_installed(PLUGINS.names())
    return [
        attack
        for attack in ATTACKS.values()
        if attack.supports(cipher, plain_shape, sealed_shape) and (slow or not attack.requirements.cost_minutes)
    ]


def require_applicable(attack: Attack, cipher: Cipher | None, plain_shape: Shape, sealed_shape: Shape) -> None:
    """Raise UsageError, naming those that apply, if the attack says nothing about this cipher.

    Real encryption is let through: it is the control.
    """
    if attack.supports(cipher, plain_shape, sealed_shape):
        return
    if cipher is not None and cipher.structure(plain_shape).kind is Kind.FRESH:
        return
    others = ", ".join(a.name for a in list_attacks(cipher, plain_shape, sealed_shape, slow=True)) or "none yet"
    scheme = "an undeclared scheme" if cipher is None else cipher.name
    raise UsageError(f"{attack.name} does not apply to {scheme}", hint=f"attacks that do: {others}")


def load_installed(names: Sequence[str]) -> None:
    """Load the attacks of these names that are not of this package."""
    for name in map(canonical_name, names):
        if name not in ATTACKS:
            PLUGINS.load(name)
