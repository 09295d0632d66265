"""Add a front end for images under another key to a trained model, without training."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from cipherlens.ciphers.estimated_inverse import EstimatedInverse
from cipherlens.data.sealed.spec import PLAIN
from cipherlens.errors import UsageError
from cipherlens.models import create_adaptation
from cipherlens.training.engine.batches import ImageSet, check_same_kind
from cipherlens.training.engine.metrics import read_metrics
from cipherlens.training.engine.normalization import Normalization
from cipherlens.training.engine.owners import Owner
from cipherlens.training.engine.rounds import ADAPT_PREFIX, get_next, strip_prefix
from cipherlens.training.front_end.maps import read_maps, write_maps
from cipherlens.training.front_end.start import set_front_end
from cipherlens.training.run.checkpoint import load_tensors, save_tensors
from cipherlens.training.run.derived import refuse_existing, write_derived
from cipherlens.training.run.load import WEIGHTS, find_weights
from cipherlens.training.run.record import RunRecord, read_record, rebuild_model

_BACKBONE = "backbone."
FindMap = Callable[[], EstimatedInverse]


def adapt_run(
    run: Path, out: Path, owner: Owner, images: ImageSet, find: FindMap, start: Mapping[str, Any]
) -> RunRecord:
    """Write into the new folder ``out`` the run ``run`` with a front end for one more key; nothing is trained.

    A run on plain images gets its first front end. A run whose front ends started from maps gets another one.
    ``images`` are the owner's. ``find`` returns the map that reads them; it is called after all checks. ``start``
    are the settings of TrainConfig on the map's origin. Raises UsageError for a run that is not finished, is
    locked, or knows the key already. It is also raised where the run's adaptation network started from random
    numbers, because the input range of its backbone is then unknown.
    """
    record = read_record(run)
    history = read_metrics(run) if record.data.train_images else []  # empty for a pretrained network
    _check(run, record, get_next(record.config, history) is not None, owner, images)
    adapted, number = _add_owner(record, owner, start)
    refuse_existing(out)
    inverse = find()
    front_end = create_front_end(owner, images, inverse, adapted.picture)
    maps = None if record.picture is None else read_maps(run, record)
    with write_derived(out, adapted, history, "that of the run it was adapted from") as partial:
        for kind, name in WEIGHTS.items():
            weights = load_tensors(find_weights(run, kind))
            if number is not None and not record.owners:  # the first owner gets a number now
                weights = _number_first(weights)
            weights = join_weights(weights, front_end, number)
            rebuild_model(adapted, weights, name)  # proves that it fits
            save_tensors(partial / name, weights)
        if number is None or maps is not None:
            write_maps(partial, adapted, [*(maps or []), inverse])
    return adapted


def create_front_end(
    owner: Owner, images: ImageSet, inverse: EstimatedInverse, picture: Normalization | None
) -> nn.Module:
    """An adaptation network that decrypts an owner's images and normalises them as ``picture``."""
    assert picture is not None
    channels, height, width = images.shape
    front_end = create_adaptation(owner.adaptation, owner.adapt_block, channels, (height, width))
    set_front_end(front_end, inverse, owner.normalization, picture)
    return front_end


def _check(run: Path, record: RunRecord, unfinished: bool, owner: Owner, images: ImageSet) -> None:
    if unfinished and record.data.train_images:
        raise UsageError(f"{run} is not finished", hint="run its training command again, then adapt it")
    if record.config.lock is not None:
        raise UsageError(f"{run} is locked: it reads images itself", hint="adapt the run that was locked")
    plain = record.provenance.get("cipher") == PLAIN and record.config.adapt_block is None
    if not plain and record.picture is None:
        raise UsageError(
            f"{run} did not start from a map, so what pictures its network expects is not known",
            hint="adapt a run on plain images, or train one that starts from ciphertexts",
            parameters=("start",),
        )
    known: Sequence[Mapping[str, Any]] = [one.provenance for one in record.owners] or [record.provenance]
    if owner.provenance["key_fingerprint"] in [one.get("key_fingerprint") for one in known] and not plain:
        raise UsageError(f"{run} knows images under this key already", hint="ask it with test or predict")
    check_same_kind(images, record.data.classes, record.data.shape, "the run")


def _add_owner(record: RunRecord, owner: Owner, start: Mapping[str, Any]) -> tuple[RunRecord, int | None]:
    """The record with one more owner, and the owner's number (None: it is the only one)."""
    if record.picture is None:
        network: dict[str, Any] = {"adapt_block": owner.adapt_block, "adaptation": owner.adaptation}
        config, data = replace(record.config, **network, **start), replace(record.data, dtype=owner.dtype)
        return RunRecord(config, data, owner.normalization, owner.provenance, record.normalization), None
    owners = record.owners
    if not owners:
        config = record.config
        assert config.adapt_block is not None
        facts = (record.data.dtype, record.normalization, config.adapt_block, config.adaptation)
        owners = (Owner(record.provenance, *facts),)
    return replace(record, owners=(*owners, owner)), len(owners)


def join_weights(weights: Mapping[str, Tensor], front_end: nn.Module, number: int | None) -> dict[str, Tensor]:
    """The weights of a model with one more front end; with ``number`` None, of a bare backbone with its first."""
    own = ADAPT_PREFIX if number is None else f"{ADAPT_PREFIX}{number}."
    before = {f"{_BACKBONE}{name}": value for name, value in weights.items()} if number is None else weights
    return {**before, **{f"{own}{name}": value for name, value in front_end.state_dict().items()}}


def _number_first(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    rest = {name: value for name, value in weights.items() if not name.startswith(ADAPT_PREFIX)}
    return {
        **rest,
        **{f"{ADAPT_PREFIX}0.{name}": value for name, value in strip_prefix(weights, ADAPT_PREFIX).items()},
    }
