"""Plain photos on the command line: which are held out, and training on them without a cipher."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cipherlens.cli.console import say
from cipherlens.data.images import Preprocess
from cipherlens.data.sealed.manifest import NO_KEY, PLAIN, CipherSpec
from cipherlens.data.sources.decoded import DecodedSplit
from cipherlens.data.sources.registry import open_source
from cipherlens.data.sources.subsets import can_hold_out, hold_out
from cipherlens.errors import UsageError

if TYPE_CHECKING:
    from cipherlens.training.engine.batches import ImageSet
    from cipherlens.training.engine.owners import Owner

HELD_OUT = 5
"""Default of hold_out: every fifth image, a usual share for testing."""
ALL = "all"
"""Name of the only split of a source without splits."""
TRAIN, TEST = "train", "test"


@dataclass(frozen=True)
class Material:
    """What a training takes: its sets, the facts of its data, and their owners where there are several."""

    train_set: "ImageSet"
    test_set: "ImageSet | None"
    provenance: dict[str, Any]
    owners: "tuple[Owner, ...]" = ()


def choose_hold_out(source: str, asked: int | None, splits: list[str]) -> int:
    """Every how many-th image of a class is for testing: as asked; else the default, said aloud, if it can be."""
    if asked is not None:
        return asked
    if ALL in splits or not can_hold_out(open_source(source), HELD_OUT):
        return 0
    say(f"note: every {HELD_OUT}th image of each class is kept for testing; --hold-out 0 turns it off")
    return HELD_OUT


def read_photos(paths: list[Path], size: int | None, held_out: int | None) -> Material:
    """Plain photos of one source. Raises UsageError for several, or for a source without classes or with masks."""
    if len(paths) > 1:
        raise UsageError("--plain takes one source of photos", hint="put them into one folder")
    name = str(paths[0])
    source = hold_out(open_source(name), choose_hold_out(name, held_out, []))
    if source.masked or not source.classes:
        raise UsageError(
            f"{name} has {'masks' if source.masked else 'no classes'}, so --plain cannot train on it",
            hint="seal masks with: cipherlens encrypt --cipher identity"
            if source.masked
            else "put the photos into one folder per class",
        )
    preprocess = Preprocess(size)
    names = list(source.splits)
    chosen = TRAIN if TRAIN in names else names[0]
    photos = DecodedSplit(source, chosen, preprocess)
    tested = DecodedSplit(source, TEST, preprocess) if TEST in names and chosen != TEST else None
    spec = CipherSpec(PLAIN, {}, NO_KEY, photos.shape, photos.shape, size, False)
    return Material(photos, tested, spec.to_json())
