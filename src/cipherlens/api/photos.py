"""Plain photos: which are held out, and training on them without a cipher."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.ciphers import BoundCipher
from cipherlens.data.conversion import REMARKS
from cipherlens.data.extras import explain_missing
from cipherlens.data.images import Preprocess
from cipherlens.data.sealed.job import find_image_folder
from cipherlens.data.sealed.spec import NO_KEY, PLAIN, CipherSpec
from cipherlens.data.sources.augmented import TRAIN
from cipherlens.data.sources.base import pick_evenly
from cipherlens.data.sources.decoded import DecodedSplit
from cipherlens.data.sources.folder import count_unopened
from cipherlens.data.sources.registry import canonical_source, open_source
from cipherlens.data.sources.subsets import choose_hold_out, hold_out
from cipherlens.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from cipherlens.training.engine.batches import ImageSet
    from cipherlens.training.engine.owners import Owner

TEST = "test"
FEW = 20
"""Training images of a class below which a training is called small. Chosen by hand."""
_MEASURED = 1_000
"""Maximum training images that are classified after training. Chosen by hand."""
_notes = logging.getLogger(__name__)


@dataclass(frozen=True)
class Material:
    """What a training takes: its sets, the facts of its data, and their owners where there are several."""

    train_set: "ImageSet"
    test_set: "ImageSet | None"
    provenance: dict[str, Any]
    owners: "tuple[Owner, ...]" = ()


def read_photos(name: str, preprocess: Preprocess, held_out: int | None) -> Material:
    """Plain photos of a source. Raises UsageError for one without classes, or with masks."""
    source = open_source(name)
    source = hold_out(source, choose_hold_out(source, held_out))
    if (folder := find_image_folder(canonical_source(name))) is not None:
        note_unopened(count_unopened(folder))
    if source.masked or not source.classes:
        raise UsageError(
            f"{name} has {'masks' if source.masked else 'no classes'}, so its plain photos teach nothing",
            hint="seal photos with masks with the cipher identity"
            if source.masked
            else "put the photos into one folder per class",
        )
    names = list(source.splits)
    chosen = TRAIN if TRAIN in names else names[0]
    photos = DecodedSplit(source, chosen, preprocess)
    tested = DecodedSplit(source, TEST, preprocess) if TEST in names and chosen != TEST else None
    spec = CipherSpec(
        PLAIN, {}, NO_KEY, photos.shape, photos.shape, preprocess.size, False, window=preprocess.rules.window
    )
    return Material(photos, tested, spec.to_json())


def note_if_few(material: Material) -> None:
    """Note where a class has so few training images that accuracy is a matter of chance."""
    images = material.train_set
    if getattr(images, "masks", None) is not None:
        return
    if not len(images) or not images.classes or images.labels.min() < 0:
        return  # refused later, by what it lacks
    least = int(np.bincount(images.labels, minlength=len(images.classes)).min())
    if least < FEW:
        _notes.warning("a class has only %d training images, so accuracy will vary from run to run", least)


def note_unopened(unopened: Mapping[str, int]) -> None:
    """Note which files of a folder were not opened, by suffix, and how to open them."""
    for suffix, count in unopened.items():
        way = explain_missing(suffix)
        also = "" if way is None else f" ({way})"
        _notes.warning("not opened: %d file%s %s%s", count, "s" if count > 1 else "", suffix, also)


def note_remarks(remarks: Mapping[str, int]) -> None:
    """Note how many images were decoded by a rule that changes them."""
    for remark, count in remarks.items():
        _notes.info("%d image%s: %s", count, "s" if count > 1 else "", REMARKS[remark])


class Sample:
    """At most ``count`` evenly chosen images of a labelled set."""

    def __init__(self, images: "ImageSet", count: int) -> None:
        self._images, self._chosen = images, pick_evenly(len(images), count)
        self.labels = images.labels[self._chosen]
        self.classes, self.shape, self.dtype = images.classes, images.shape, images.dtype

    def __len__(self) -> int:
        return len(self._chosen)

    def read(self, indices: NDArray[np.int64]) -> "NDArray[np.uint8] | NDArray[np.float32]":
        """Images (n, C, H, W) at ``indices`` (n,)."""
        return self._images.read(self._chosen[indices])


def measure_training(out: "Path", material: Material, bound: BoundCipher | None) -> float | None:
    """Accuracy of a finished run on training images, as it is used; None for several owners, and for masks.

    The accuracy that training reports is taken while the weights move, with BatchNorm's statistics of each batch.
    """
    from cipherlens.training.run.load import evaluate, load_run

    if material.owners or getattr(material.train_set, "masks", None) is not None:
        return None
    return float(evaluate(load_run(out, "last", bound), Sample(material.train_set, _MEASURED))["accuracy"])
