"""Fold a key into a trained run: its first layer gets new weights, for images encrypted with the key."""

from dataclasses import replace
from pathlib import Path

from torch import Tensor

from cipherlens.ciphers import BoundCipher
from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.errors import DataError, ShapeError, UsageError
from cipherlens.keyed import fold
from cipherlens.keys import Key
from cipherlens.training.engine.batches import sample_statistics
from cipherlens.training.engine.normalization import Normalization
from cipherlens.training.keyed_runs.lock import read_finished
from cipherlens.training.run.checkpoint import load_tensors, save_tensors
from cipherlens.training.run.derived import write_derived
from cipherlens.training.run.load import WEIGHTS, find_weights
from cipherlens.training.run.record import RunRecord, rebuild_model


def fold_run(run: Path, out: Path, sealed: SealedDataset, key: Key) -> RunRecord:
    """Write into the new folder ``out`` the run ``run``, folded for the cipher and key of a sealed data set.

    The new run computes in float32, because bf16 rounds the large entries of a cipher's inverse too much. Raises
    UsageError for a run that is not finished, or was trained on encrypted images. Raises UsageError for a model or
    cipher that cannot be folded (see :func:`cipherlens.fold`), ShapeError for images of another size.
    """
    record, history = read_finished(run, "fold")
    if record.config.lock is not None or record.config.adapt_block is not None:
        raise UsageError(f"{run} is locked, or has an adaptation network", hint="fold a plain run")
    if record.data.shape != sealed.spec.padded_shape:
        raise ShapeError(f"{run} is for images {record.data.shape}, these are {sealed.spec.padded_shape}")
    bound = sealed.spec.bind(key)
    channels = record.data.shape[0]
    folded = replace(
        record,
        config=replace(record.config.keep_pixels(), precision="float32"),
        data=replace(record.data, dtype=sealed.spec.ct_dtype),
        normalization=Normalization((0.0,) * channels, (1.0,) * channels),
        provenance=sealed.spec.to_json(),
        folded=True,
        statistics=sample_statistics(sealed.split(next(iter(sealed.splits)))),
    )
    found = {name: find_weights(run, kind) for kind, name in WEIGHTS.items()}
    weights = {name: _fold_weights(record, path, bound) for name, path in found.items() if path.exists()}
    if not weights:
        raise DataError(f"{run} has no weights", hint="copy the run again")
    with write_derived(out, folded, history, "that of the run it was folded from") as partial:
        for name, tensors in weights.items():
            save_tensors(partial / name, tensors)
    return folded


def _fold_weights(record: RunRecord, path: Path, bound: BoundCipher) -> dict[str, Tensor]:
    model = rebuild_model(record, load_tensors(path), path.name)
    folded = fold(model, bound, record.normalization.mean, record.normalization.std).state_dict()
    if list(folded) != list(model.state_dict()):
        raise UsageError(
            f"the first layer of {record.config.model} has no bias, which a run folder cannot express",
            hint="use cipherlens.fold in Python",
        )
    return folded
