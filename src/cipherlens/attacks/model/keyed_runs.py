"""Attacks on the run folders of keyed models: which runs hold a key, and what is missing to attack them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cipherlens.attacks.base import Attack
from cipherlens.attacks.model.keyed import FoldedModelAttack, LockedModelAttack
from cipherlens.ciphers import BoundCipher
from cipherlens.ciphers.estimated_inverse import Target
from cipherlens.errors import DataError, UsageError

LOCKED, FOLDED = LockedModelAttack.name, FoldedModelAttack.name
_FIRST_LAYER = 2
"""Tensors of a first layer, weight and bias: no others differ between a folded model and the plain one."""


@dataclass(frozen=True)
class KeyedRun:
    """A locked or folded run, and the plain run that a folded one was made of. Worker processes can be sent it."""

    attack: str
    run: Path
    plain: Path | None = None

    def create(self, bound: BoundCipher | None) -> Attack:
        """The attack on the model. ``bound`` makes a locked model work, as its user does; no attack sees it.

        Raises UsageError for a run that is not locked, or a locked one without the key.
        """
        if self.attack == LOCKED:
            return create_locked(self.run, bound)
        assert self.plain is not None
        return create_folded(self.run, self.plain)


def create_locked(run: Path, bound: BoundCipher | None) -> LockedModelAttack:
    """The attack on a locked run; the network inside is the plain one."""
    from cipherlens.training.run.load import load_run
    from cipherlens.training.run.record import read_record

    if read_record(run).config.lock is None:
        raise UsageError(f"{run} is not locked", hint="lock it, or train it with the key")
    if bound is None:
        raise UsageError("a locked model works with the key only", hint="give the key", parameters=("key",))
    return LockedModelAttack(load_run(run, "last", bound).model, load_run(run, "last", plain=True).model)


def create_folded(run: Path, plain: Path) -> FoldedModelAttack:
    """The attack on a folded run, beside the plain run that it was made of."""
    from cipherlens.attacks.model.networks import load_plain_run
    from cipherlens.training.run.load import load_run

    network = load_plain_run(plain)
    return FoldedModelAttack(load_run(run, "last").model, network.model, network.normalization.std)


def find_keyed_runs(runs: Sequence[Path], wanted: Target) -> list[KeyedRun]:
    """The locked and folded runs among ``runs`` for images sealed as ``wanted`` says.

    A folded run is known by the plain run it was made of.
    """
    if not runs:
        return []
    from cipherlens.training.run.record import read_record

    records = {run: read_record(run) for run in runs}
    plain = [run for run, record in records.items() if record.provenance.get("cipher") == "identity"]
    own = {
        run: record.config
        for run, record in records.items()
        if run not in plain and not record.owners and Target.of(record.provenance) == wanted
    }
    found = [KeyedRun(LOCKED, run) for run, config in own.items() if config.lock is not None]
    for run, config in own.items():
        if config.lock is None and config.adapt_block is None:
            alike = [one for one in plain if records[one].config.model == config.model]
            source = next((one for one in alike if _is_folded_from(run, one)), None)
            if source is not None:
                found.append(KeyedRun(FOLDED, run, source))
    return found


def _is_folded_from(run: Path, plain: Path) -> bool:
    """Whether all weights but those of one layer are the same."""
    from cipherlens.training.run.checkpoint import load_tensors
    from cipherlens.training.run.load import find_weights

    try:
        ours, theirs = (load_tensors(find_weights(folder, "last")) for folder in (run, plain))
    except DataError:  # a run that serves for its accuracy alone
        return False
    if ours.keys() != theirs.keys():
        return False
    same = [ours[name].shape == theirs[name].shape and bool((ours[name] == theirs[name]).all()) for name in ours]
    return 0 < same.count(False) <= _FIRST_LAYER
