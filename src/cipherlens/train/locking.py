"""Lock a trained run: the same weights, for images encrypted with a client's key."""

import json
import shutil
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
    record = read_record(run)
    if record.provenance.get("cipher") != "identity" and record.config.lock is None:
        raise UsageError(
            f"{run} was trained on {record.provenance.get('cipher')} images: it does not know plain ones",
            hint="lock a run that was trained on plain images (encrypt --cipher identity)",
        )
    history = _read_metrics(run / METRICS)
    if get_next(record.config, history) is not None:
        raise UsageError(f"{run} is not finished", hint="run its training command again, then lock it")
    scheme = Scheme.from_public(record.provenance)
    scheme = replace(scheme, cipher="pixel-permutation", params={}, key_fingerprint=key.fingerprint)
    locked = replace(record, config=replace(record.config, lock=inner), provenance=scheme.public())
    model = build_model(locked, initial_weights=False, bound=scheme.bind(key))  # proves that it can be locked
    for name in (BEST, LAST):
        load_into(model, load_tensors(run / name), name)
    _write(run, out, locked, history)
    return locked


def _write(run: Path, out: Path, record: RunRecord, history: list[EpochMetrics]) -> None:
    if out.exists():
        raise UsageError(f"{out} exists", hint="choose a new run folder")
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
    except OSError as error:
        raise UsageError(f"cannot make {out}: {error.strerror}", hint="choose another folder") from None
    try:
        for name in (BEST, LAST, METRICS, CURVES):
            if (run / name).exists():
                shutil.copyfile(run / name, partial / name)
        write_record(partial, record)
        write_card(partial / CARD, record, history, "that of the run it was locked from")
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
