"""Coverage of an audit: the attacks that can run, and those that were not run, with the reason."""

from collections.abc import Sequence
from typing import Any

from cipherlens.attacks import list_attacks
from cipherlens.attacks.base import Attack
from cipherlens.attacks.registry import canonical_name, load_installed
from cipherlens.auditing.jobs import Job
from cipherlens.auditing.verdict import OUT_OF_TIME
from cipherlens.ciphers import Cipher
from cipherlens.errors import UsageError
from cipherlens.evaluation.target import Target

_NOT_ASKED = "not asked for"
_TOO_LONG = "takes minutes: name it among the attacks"


def choose_attacks(target: Target, names: Sequence[str]) -> list[Attack]:
    """The attacks of these names, or all that can run. Raises UsageError, listing those, for one that cannot."""
    load_installed(names)
    names = [canonical_name(name) for name in names]
    able = target.list_attacks(slow=bool(names))
    unknown = sorted(set(names) - {attack.name for attack in able})
    if unknown:
        fitting = _list_fitting(target)
        reasons = {attack.name: target.missing_requirement(attack, len(target.plain)) for attack in fitting}
        because = "; ".join(f"{name} {reasons.get(name) or 'does not apply'}" for name in unknown)
        raise UsageError(
            f"cannot run on this {name_scheme(target.cipher)} data set: {because}",
            hint=f"attacks that can: {', '.join(attack.name for attack in able) or 'none'}",
        )
    return [attack for attack in able if not names or attack.name in names]


def list_missing(target: Target, chosen: Sequence[Attack], late: Sequence[Job]) -> list[dict[str, Any]]:
    """What was not run, and why: whole attacks (no budget), and budgets and controls that exceeded the time."""
    rows = []

    def add(attack: Attack, what: str, budget: int | None, reason: str) -> None:
        model = attack.threat_model
        facts = {"attack": attack.name, "threat_model": model.name, "what": what, "budget": budget}
        rows.append(facts | {"budget_unit": model.budget_unit, "reason": reason})

    for attack in _list_fitting(target):
        if attack not in chosen:
            reason = _TOO_LONG if attack.requirements.cost_minutes else _NOT_ASKED
            add(attack, "attack", None, target.missing_requirement(attack, len(target.plain)) or reason)
        for job in late:
            if job.attack == attack.name:
                add(attack, "controls" if job.budget is None else "attack", job.budget, OUT_OF_TIME)
    return rows


def _list_fitting(target: Target) -> list[Attack]:
    """The attacks that say something about the scheme, whatever they lack."""
    return list_attacks(target.cipher, target.plain_shape, target.sealed_shape, slow=True)


def name_scheme(cipher: Cipher | None) -> str:
    """The name of a scheme, or that nobody declared it."""
    return "undeclared" if cipher is None else cipher.name
