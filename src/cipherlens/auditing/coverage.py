"""Coverage of an audit: the attacks that can run, and those that were not run, with the reason."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cipherlens.attacks import list_attacks
from cipherlens.attacks.base import Attack
from cipherlens.attacks.model.keyed import FoldedModelAttack, LockedModelAttack
from cipherlens.attacks.model.keyed_runs import KeyedRun, find_keyed_runs
from cipherlens.attacks.registry import canonical_name, load_installed
from cipherlens.auditing.jobs import Job
from cipherlens.auditing.verdict import OUT_OF_TIME
from cipherlens.ciphers import Cipher
from cipherlens.ciphers.estimated_inverse import Target as SealedWith
from cipherlens.errors import UsageError
from cipherlens.evaluation.target import Target

Refused = Mapping[type[Attack], str]
"""Attacks that hold a model and cannot run, and why."""
NOTHING_REFUSED: Refused = MappingProxyType({})
_NOT_ASKED = "not asked for"
_TOO_LONG = "takes minutes, and runs only where it is asked for"


def choose_keyed_runs(target: Target, runs: Sequence[Path], wanted: SealedWith) -> tuple[list[KeyedRun], Refused]:
    """The runs that hold the key and can be attacked, one for each attack, and why the other attacks cannot run.

    ``wanted`` says how the data set was sealed: runs of other keys or schemes are not attacked.
    """
    found = {one.attack: one for one in reversed(find_keyed_runs(runs, wanted))}
    refused: dict[type[Attack], str] = {}
    for kind, reason in _NEEDS_RUN.items():
        if kind.name not in found:
            refused[kind] = reason
        elif kind is LockedModelAttack and target.bound is None:
            refused[kind] = "needs the key, without which a locked model does not work"
    facts = (target.cipher, target.plain_shape, target.sealed_shape)
    fitting = [kind for kind in _NEEDS_RUN if kind.supports(*facts)]
    chosen = [found[kind.name] for kind in fitting if kind not in refused]
    return chosen, {kind: refused[kind] for kind in fitting if kind in refused}


_NEEDS_RUN: dict[type[Attack], str] = {
    LockedModelAttack: "needs a locked run",
    FoldedModelAttack: "needs a folded run, and the plain run that it was made of",
}


def choose_attacks(
    targets: Sequence[Target],
    names: Sequence[str],
    in_hand: Sequence[Attack] = (),
    refused: Refused = NOTHING_REFUSED,
) -> list[Attack]:
    """The attacks of these names, or all that can run, with those ``in_hand`` that hold a model.

    ``refused`` says why others that hold a model cannot run. Those that can run on later targets only come after
    those for the first.

    Raises UsageError, listing what can run, for a name that cannot.
    """
    load_installed(names)
    names = [canonical_name(name) for name in names]
    target, *others = targets
    able = [*target.list_attacks(slow=bool(names)), *in_hand]
    for other in others:
        known = {attack.name for attack in able}
        able += [attack for attack in other.list_attacks(slow=bool(names)) if attack.name not in known]
    unknown = sorted(set(names) - {attack.name for attack in able})
    if unknown:
        fitting = _list_fitting(target)
        reasons = {attack.name: target.missing_requirement(attack, len(target.plain)) for attack in fitting}
        reasons |= {kind.name: reason for kind, reason in refused.items()}
        because = "; ".join(f"{name} {reasons.get(name) or 'does not apply'}" for name in unknown)
        raise UsageError(
            f"cannot run on this {name_scheme(target.cipher)} data set: {because}",
            hint=f"attacks that can: {', '.join(attack.name for attack in able) or 'none'}",
        )
    return [attack for attack in able if not names or attack.name in names]


def list_missing(
    targets: Sequence[Target],
    chosen: Sequence[Attack],
    late: Sequence[Job],
    in_hand: Sequence[Attack],
    refused: Refused,
) -> list[dict[str, Any]]:
    """What was not run, and why: whole attacks (no budget), and budgets and controls that exceeded the time."""
    rows = []

    def add(attack: Attack | type[Attack], what: str, budget: int | None, reason: str) -> None:
        model = attack.threat_model
        facts = {"attack": attack.name, "threat_model": model.name, "what": what, "budget": budget}
        rows.append(facts | {"budget_unit": model.budget_unit, "reason": reason})

    for attack in (*_list_fitting(targets[0]), *in_hand):
        if attack not in chosen:
            reason = _TOO_LONG if attack.requirements.cost_minutes else _NOT_ASKED
            lacks = [one.missing_requirement(attack, len(one.plain)) for one in targets]
            add(attack, "attack", None, reason if None in lacks else lacks[0] or reason)
        for job in late:
            if job.attack == attack.name:
                add(attack, "controls" if job.budget is None else "attack", job.budget, OUT_OF_TIME)
    for kind, lack in refused.items():
        add(kind, "attack", None, lack)
    return rows


def _list_fitting(target: Target) -> list[Attack]:
    """The attacks that say something about the scheme, whatever they lack."""
    return list_attacks(target.cipher, target.plain_shape, target.sealed_shape, slow=True)


def name_scheme(cipher: Cipher | None) -> str:
    """The name of a scheme, or that nobody declared it."""
    return "undeclared" if cipher is None else cipher.name
