"""Run folders derived from other runs without training: locked, folded, adapted."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cipherlens.data.partial import PRIVATE_FOLDER, move_into_place, partial_folder
from cipherlens.data.run_files import CARD, CURVES
from cipherlens.errors import UsageError
from cipherlens.training.engine.metrics import EpochMetrics, write_metrics
from cipherlens.training.run.card import write_card
from cipherlens.training.run.curves import draw_curves
from cipherlens.training.run.record import RunRecord, write_record


def refuse_existing(out: Path) -> None:
    """Raise UsageError where the path of a new run folder exists."""
    if out.exists():
        raise UsageError(f"{out} exists", hint="choose a new run folder")


@contextmanager
def write_derived(out: Path, record: RunRecord, history: list[EpochMetrics], hardware: str) -> Iterator[Path]:
    """A new run folder with another record and the old figures; the caller writes the weights into the given path.

    The old folder is untrusted, so no file is copied from it. The new files are written from checked values. A
    failure leaves no folder. Raises UsageError where ``out`` exists or cannot be made.
    """
    refuse_existing(out)
    with partial_folder(out) as private:
        partial = private / "run"
        partial.mkdir(PRIVATE_FOLDER if record.config.can_decrypt else 0o777)
        yield partial
        write_record(partial, record)
        write_metrics(partial, history)
        if history:
            draw_curves(history, partial / CURVES)
        write_card(partial / CARD, record, history, hardware)
        move_into_place(partial, out)
