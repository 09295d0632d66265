"""Lock a trained run to a key: the weights stay, and the model takes images encrypted with the key."""

from dataclasses import replace
from pathlib import Path

from cipherlens.data.sealed.spec import PLAIN, CipherSpec
from cipherlens.errors import UsageError
from cipherlens.keys import Key
from cipherlens.training.engine.metrics import EpochMetrics, read_metrics
from cipherlens.training.engine.rounds import get_next
from cipherlens.training.run.checkpoint import load_tensors, save_tensors
from cipherlens.training.run.derived import write_derived
from cipherlens.training.run.load import WEIGHTS, find_weights
from cipherlens.training.run.record import RunRecord, read_record, rebuild_model


def lock_run(run: Path, out: Path, key: Key, inner: str) -> RunRecord:
    """Write into the new folder ``out`` the run ``run``, locked to the pixel permutation that ``key`` gives.

    Weights and figures stay the same. Only the key's fingerprint is stored. Raises UsageError for a run that is not
    finished, that was trained on encrypted images, or whose model cannot be locked.
    """
    record, history = read_finished(run, "lock")
    scheme = CipherSpec.from_json(record.provenance)
    scheme = replace(scheme, cipher="pixel-permutation", params={}, key_fingerprint=key.fingerprint)
    locked = replace(record, config=replace(record.config.keep_pixels(), lock=inner), provenance=scheme.to_json())
    weights = {name: load_tensors(find_weights(run, kind)) for kind, name in WEIGHTS.items()}
    for name, tensors in weights.items():
        rebuild_model(locked, tensors, name, scheme.bind(key))  # proves that it can be locked
    with write_derived(out, locked, history, "that of the run it was locked from") as partial:
        for name, tensors in weights.items():
            save_tensors(partial / name, tensors)
    return locked


def read_finished(run: Path, purpose: str) -> tuple[RunRecord, list[EpochMetrics]]:
    """Record and history of a finished run on plain images, or of a locked one. Raises UsageError for others."""
    record = read_record(run)
    if record.provenance.get("cipher") != PLAIN and record.config.lock is None:
        raise UsageError(
            f"{run} was trained on {record.provenance.get('cipher')} images: it does not know plain ones",
            hint=f"{purpose} a run that was trained on plain images (cipher identity)",
        )
    history = read_metrics(run)
    if get_next(record.config, history) is not None:
        raise UsageError(f"{run} is not finished", hint=f"run its training command again, then {purpose} it")
    return record, history
