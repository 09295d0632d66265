"""Lock a trained run: the same weights, for images encrypted with a client's key."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

from cipherlens.ciphers import BoundCipher
from cipherlens.errors import DataError, UsageError
from cipherlens.train.card import write_card
from cipherlens.train.checkpoint import load_into, load_tensors
from cipherlens.train.fit import CARD, CURVES, METRICS
from cipherlens.train.metrics import EpochMetrics
from cipherlens.train.record import RunRecord, build_model, read_record, write_record
from cipherlens.train.trainer import BEST, LAST


def lock_run(run: Path, out: Path, bound: BoundCipher, inner: str) -> RunRecord:
    """Write into the new folder ``out`` the run ``run`` locked to ``bound``, a pixel permutation of its image size.

    Weights and figures stay, nothing of the key is stored but its fingerprint. Raises UsageError for a run that was
    trained on images which were already unreadable, or a model that cannot be locked.
    """
    record = read_record(run)
    if record.provenance.get("cipher") != "identity" and record.config.lock is None:
        raise UsageError(
            f"{run} was trained on {record.provenance.get('cipher')} images: it does not know plain ones",
            hint="lock a run that was trained on plain images (encrypt --cipher identity)",
        )
    scheme = {**record.provenance, "cipher": bound.cipher.name, "params": {}, "key_fingerprint": bound.fingerprint}
    locked = replace(record, config=replace(record.config, lock=inner), provenance=scheme)
    model = build_model(locked, initial_weights=False, bound=bound)  # proves that it can be locked
    for name in (BEST, LAST):
        load_into(model, load_tensors(run / name), name)
    _write(run, out, locked)
    return locked


def _write(run: Path, out: Path, record: RunRecord) -> None:
    if out.exists():
        raise UsageError(f"{out} exists", hint="choose a new run folder")
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        for name in (BEST, LAST, METRICS, CURVES):
            if (run / name).exists():
                shutil.copyfile(run / name, partial / name)
        write_record(partial, record)
        write_card(partial / CARD, record, _read_metrics(run / METRICS), "that of the run it was locked from")
        partial.rename(out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _read_metrics(path: Path) -> list[EpochMetrics]:
    try:
        return [EpochMetrics(**json.loads(line)) for line in path.read_text().splitlines()]
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"cannot read {path}: {error}", hint="the run folder is damaged") from None
