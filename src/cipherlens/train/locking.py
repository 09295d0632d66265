"""Lock a trained run: the same weights, for images encrypted with a client's key."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from cipherlens.data.manifest import Scheme
from cipherlens.errors import DataError, UsageError
from cipherlens.keys import Key
from cipherlens.train.card import write_card
from cipherlens.train.checkpoint import load_into, load_tensors
from cipherlens.train.fit import CARD, CURVES, METRICS
from cipherlens.train.metrics import EpochMetrics
from cipherlens.train.record import RunRecord, build_model, read_record, write_record
from cipherlens.train.rounds import get_next
from cipherlens.train.trainer import BEST, LAST


def lock_run(run: Path, out: Path, key: Key, inner: str) -> RunRecord:
    """Write into the new folder ``out`` the run ``run``, locked to the pixel permutation that ``key`` gives.

    Weights and figures stay, nothing of the key is stored but its fingerprint. Raises UsageError for a run that is
    not finished, that was trained on images which were already unreadable, or whose model cannot be locked.
    """
    record, history = read_finished(run, "lock")
    scheme = Scheme.from_public(record.provenance)
    scheme = replace(scheme, cipher="pixel-permutation", params={}, key_fingerprint=key.fingerprint)
    locked = replace(record, config=replace(record.config, lock=inner), provenance=scheme.public())
    model = build_model(locked, initial_weights=False, bound=scheme.bind(key))  # proves that it can be locked
    for name in (BEST, LAST):
        load_into(model, load_tensors(run / name), name)
    with write_derived(run, out, locked, history, "that of the run it was locked from") as partial:
        for name in (BEST, LAST):
            if (run / name).exists():
                shutil.copyfile(run / name, partial / name)
    return locked


def read_finished(run: Path, purpose: str) -> tuple[RunRecord, list[EpochMetrics]]:
    """Record and history of a finished run on plain images (or a locked one); UsageError for any other."""
    record = read_record(run)
    if record.provenance.get("cipher") != "identity" and record.config.lock is None:
        raise UsageError(
            f"{run} was trained on {record.provenance.get('cipher')} images: it does not know plain ones",
            hint=f"{purpose} a run that was trained on plain images (encrypt --cipher identity)",
        )
    history = _read_metrics(run / METRICS)
    if get_next(record.config, history) is not None:
        raise UsageError(f"{run} is not finished", hint=f"run its training command again, then {purpose} it")
    return record, history


@contextmanager
def write_derived(
    run: Path, out: Path, record: RunRecord, history: list[EpochMetrics], hardware: str
) -> Iterator[Path]:
    """A new run folder with another record and the old figures; the caller puts the weights into what it is given.

    Nothing half-written stays behind. Raises UsageError where ``out`` exists or cannot be made.
    """
    if out.exists():
        raise UsageError(f"{out} exists", hint="choose a new run folder")
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
    except OSError as error:
        raise UsageError(f"cannot make {out}: {error.strerror}", hint="choose another folder") from None
    try:
        for name in (METRICS, CURVES):
            if (run / name).exists():
                shutil.copyfile(run / name, partial / name)
        yield partial
        write_record(partial, record)
        write_card(partial / CARD, record, history, hardware)
        partial.rename(out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _read_metrics(path: Path) -> list[EpochMetrics]:
    try:
        history = [EpochMetrics(**json.loads(line)) for line in path.read_text().splitlines()]
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"cannot read {path}: {error}", hint="the run folder is damaged") from None
    if not history:
        raise DataError(f"{path} is empty", hint="the run folder is damaged")
    return history
