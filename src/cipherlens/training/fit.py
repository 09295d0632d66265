"""Train a model into a run folder, or continue an interrupted run."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cipherlens.ciphers import BoundCipher
from cipherlens.ciphers.estimated_inverse import EstimatedInverse
from cipherlens.data.output_lock import hold_folder
from cipherlens.data.partial import PRIVATE_FOLDER
from cipherlens.data.run_files import CARD, CHECKPOINT, CURVES, METRICS
from cipherlens.data.sealed.spec import PLAIN
from cipherlens.errors import DataError, UsageError
from cipherlens.schema import parse
from cipherlens.training.config import TrainConfig
from cipherlens.training.engine.batches import (
    ImageSet,
    check_image_set,
    check_same_kind,
    has_masks,
    sample_statistics,
)
from cipherlens.training.engine.distributed import join_processes
from cipherlens.training.engine.hardware import describe_hardware, isolate
from cipherlens.training.engine.metrics import EpochMetrics, Progress, write_metrics
from cipherlens.training.engine.normalization import create_normalization
from cipherlens.training.engine.owners import Owner
from cipherlens.training.engine.rounds import get_best, get_next
from cipherlens.training.front_end.maps import load_map, read_maps, write_maps
from cipherlens.training.run.card import write_card
from cipherlens.training.run.checkpoint import Checkpoint, load_checkpoint
from cipherlens.training.run.curves import draw_curves
from cipherlens.training.run.record import (
    RECORD,
    DataRecord,
    RunRecord,
    check_same_run,
    read_record,
    write_record,
)
from cipherlens.training.trainer import Trainer

MEASURED_MODELS = ("speednet",)
"""Models with a layer that is set from training images."""
CURVES_EVERY_SECONDS = 30.0
"""The curves are drawn again after this time during training. Chosen by hand."""
FindMaps = Callable[[], Sequence[EstimatedInverse]]


@dataclass(frozen=True, slots=True)
class FitResult:
    """A finished run: its folder, all its epochs, and how many of them this call trained."""

    out: Path
    history: tuple[EpochMetrics, ...]
    trained_epochs: int

    @property
    def best(self) -> EpochMetrics:
        """The epoch of best.safetensors; it is chosen on the test set, so its accuracy is optimistic."""
        return get_best(self.history)

    @property
    def last(self) -> EpochMetrics:
        """The final epoch, that of last.safetensors."""
        return self.history[-1]


def fit(
    config: TrainConfig,
    train_set: ImageSet,
    test_set: ImageSet | None,
    out: Path,
    provenance: dict[str, Any] | None = None,
    progress: Callable[[Progress], None] | None = None,
    bound: BoundCipher | None = None,
    find_maps: FindMaps | None = None,
    owners: Sequence[Owner] = (),
) -> FitResult:
    """Train ``config.model`` on ``train_set`` into the folder ``out``; with the same arguments, continue there.

    The folder holds config.json, metrics.jsonl, best.safetensors, last.safetensors, checkpoint/, curves.png and
    MODEL_CARD.md; none of them is a pickle. A run may be interrupted at any moment. The continued run ends with the
    weights of an uninterrupted one: bit for bit on a CPU with the same number of threads. A finished run returns at
    once.

    ``provenance`` describes the data in JSON values, such as cipher and key fingerprint, never a key. Like the
    settings, it must be the same when a run continues; otherwise UsageError is raised. ``progress`` is called
    during training. An exception from it ends the call and loses at most the current epoch. ``bound`` is the pixel
    permutation of a run whose model is locked (``config.lock``); nothing of it is stored. ``find_maps`` is called
    once, for ``config.start`` "ciphertexts". It returns the maps from which the adaptation networks start. They are
    stored beside the weights, in a folder that only its owner can read. With ``owners``, the sets are JointSets of
    these owners, and there is one map for each.

    Where a launcher started several processes (torchrun, accelerate launch), all call this with the same arguments.
    Each trains on its share of each batch. The first writes the folder, which the others must see, and reports.
    A run may continue with another number of processes.

    Raises UsageError for invalid settings or another run in the folder, DataError or ShapeError for data that does
    not fit or a damaged folder. Raises CipherlensError when the loss is not finite, or where another process trains
    in ``out``.
    """
    _check_sets(config, train_set, test_set)
    if (config.lock is None) != (bound is None):
        raise UsageError(
            "a locked model is trained with the client's key, any other without",
            hint="give the cipher's key together with lock, or neither",
        )
    if config.start == "ciphertexts" and find_maps is None:
        raise UsageError("start ciphertexts needs the map that was found from them", hint="give find_maps")
    _check_pictures(config, provenance or {}, train_set)
    if bound is not None and config.model in MEASURED_MODELS:
        raise UsageError(
            f"{config.model} measures its first layer on pictures, which a locked model never sees",
            hint="train it on plain images, and lock that run",
        )
    processes = join_processes()
    held = processes.only_main(hold_folder(out, PRIVATE_FOLDER if config.can_decrypt else 0o777))
    report = progress if progress is not None and processes.is_main else _ignore
    with held, isolate(processes.device, config.threads):
        with processes.main_first():
            record = _create_or_read_record(config, train_set, test_set, out, provenance or {}, tuple(owners))
            checkpoint = _open_checkpoint(out, config)
        history = _read_history(checkpoint)
        restored = len(history)
        if checkpoint is not None and processes.is_main:
            write_metrics(out, history)
        if get_next(config, history) is not None:
            trainer = Trainer(record, train_set, test_set, processes, bound)
            _train_rest(trainer, out, history, checkpoint, report, find_maps)
        if processes.is_main and (len(history) > restored or not (out / CARD).exists()):
            draw_curves(history, out / CURVES)
            write_card(out / CARD, record, history, describe_hardware(processes.device, processes.count))
        processes.wait()
    return FitResult(out, tuple(history), len(history) - restored)


def _check_sets(config: TrainConfig, train_set: ImageSet, test_set: ImageSet | None) -> None:
    check_image_set(train_set, "training")
    if test_set is not None:
        check_image_set(test_set, "test")
        check_same_kind(test_set, train_set.classes, train_set.shape, "the training set")
    elif config.patience:
        raise UsageError("patience needs a test set to watch", hint="give a test set or set patience to 0")


def _check_pictures(config: TrainConfig, provenance: dict[str, Any], images: ImageSet) -> None:
    """Raise UsageError where something would be flipped or shifted that is no picture, or that has a mask."""
    if not config.changes_pictures:
        return
    if config.shift >= min(images.shape[1:]):
        raise UsageError(f"images of {images.shape[1]}x{images.shape[2]} cannot be shifted by {config.shift}")
    if has_masks(images):
        raise UsageError("flip, shift and views move no masks", hint="drop them, or encrypt --augment")
    if not config.can_decrypt and provenance.get("cipher", PLAIN) != PLAIN:
        raise UsageError(
            "a flipped or shifted ciphertext is the ciphertext of no picture",
            hint="drop flip, shift and views; let the client augment (encrypt --augment), or start from a map",
            parameters=("flip", "shift", "views"),
        )


def _create_or_read_record(
    config: TrainConfig,
    train_set: ImageSet,
    test_set: ImageSet | None,
    out: Path,
    provenance: dict[str, Any],
    owners: tuple[Owner, ...],
) -> RunRecord:
    try:
        provenance = json.loads(json.dumps(provenance, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise UsageError(f"provenance must hold JSON values: {error}") from error
    data = DataRecord.of(train_set, test_set)
    if (out / RECORD).exists():
        stored = read_record(out)
        check_same_run(out, stored, config, data, provenance, owners)
        return replace(stored, config=config)
    if out.exists() and (not out.is_dir() or any(not path.name.startswith(".") for path in out.iterdir())):
        raise UsageError(f"{out} is not empty and not a run folder", hint="choose a new run folder")
    kind = owners[0].normalization if owners else create_normalization(config.normalize, train_set)
    sealed = provenance.get("cipher", PLAIN) != PLAIN and not owners
    statistics = sample_statistics(train_set) if sealed else None
    return RunRecord(config, data, kind, provenance, owners=owners, statistics=statistics)


def _open_checkpoint(out: Path, config: TrainConfig) -> Checkpoint | None:
    """The checkpoint of a run folder, which is cleared of what a killed process left."""
    if config.can_decrypt:
        out.chmod(PRIVATE_FOLDER)
    _remove_leftovers(out)
    checkpoint = load_checkpoint(out / CHECKPOINT)
    if checkpoint is None and (out / METRICS).exists():
        # They are written after the first checkpoint, so this is no run of ours.
        raise UsageError(f"{out} holds a finished model and nothing to continue from", hint="choose a new folder")
    return checkpoint


def _read_history(checkpoint: Checkpoint | None) -> list[EpochMetrics]:
    if checkpoint is None:
        return []
    try:
        return [parse(metrics, EpochMetrics) for metrics in checkpoint.state["metrics"]]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"the checkpoint's metrics are damaged: {error}", hint="start a new run folder") from error


def _train_rest(
    trainer: Trainer,
    out: Path,
    history: list[EpochMetrics],
    checkpoint: Checkpoint | None,
    report: Callable[[Progress], None],
    find_maps: FindMaps | None,
) -> None:
    """Train all epochs that ``history`` lacks and append them to it."""
    position, main = get_next(trainer.config, history), trainer.processes.is_main
    assert position is not None
    if checkpoint is None:
        _begin(trainer, out, find_maps)
    else:
        trainer.restore(position, checkpoint)
    drawn = time.monotonic()
    while position is not None:
        history.append(trainer.run_epoch(position, report))
        if main:
            trainer.store(out, history)
            write_metrics(out, history)
        if main and time.monotonic() - drawn > CURVES_EVERY_SECONDS:
            draw_curves(history, out / CURVES)
            drawn = time.monotonic()
        report(trainer.summarize(history[-1]))
        position = get_next(trainer.config, history)
        if position is not None and position.epoch == 1:
            trainer.start_round(position.round, trainer.model.state_dict())


def _begin(trainer: Trainer, out: Path, find_maps: FindMaps | None) -> None:
    """Start the first round. The main process finds maps and writes them; the others read them."""
    trainer.start_round(1, {})
    with trainer.processes.main_first():
        maps = _get_maps(trainer.record, out, find_maps)
        if maps is not None:
            trainer.set_front_ends(maps)
        if trainer.config.start == "whitened":
            trainer.whiten()
        if not trainer.processes.is_main:
            return
        if not (out / RECORD).exists():  # after the model is built, so that a wrong name leaves the folder unused
            write_record(out, trainer.record)
        if maps is not None:
            write_maps(out, trainer.record, maps)


def _get_maps(record: RunRecord, out: Path, find_maps: FindMaps | None) -> Sequence[EstimatedInverse] | None:
    """The initial maps of the adaptation networks: the stored ones, else the file, else those found now."""
    if not record.config.can_decrypt:
        return None
    stored = read_maps(out, record)
    if stored is not None:
        return stored
    if record.config.inverse is not None:
        return [load_map(Path(record.config.inverse), record.provenance)]
    assert find_maps is not None
    return find_maps()


def _remove_leftovers(out: Path) -> None:
    """Delete the half-written files of a killed process."""
    for folder in (out, out / CHECKPOINT):
        for path in folder.glob(".*.tmp"):
            path.unlink()


def _ignore(event: Progress) -> None:
    """Ignore progress, for a caller without a callback."""
