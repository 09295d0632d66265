"""Augmentation before encryption: the provider cannot flip or crop encrypted images, so the client does.

Every variant is made from the plain image (``draw_variant``) and then encrypted like any other image.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cipherlens.data.images import Item
from cipherlens.data.sources.base import Source, pick_evenly
from cipherlens.data.sources.checks import FileFacts
from cipherlens.errors import UsageError

TRAIN = "train"


class AugmentedSource:
    """A source whose training split continues with ``copies`` variants of all its images."""

    def __init__(self, source: Source, copies: int) -> None:
        if TRAIN not in source.splits:
            raise UsageError(
                f"only a split named {TRAIN} can be augmented", hint=f"the source has: {', '.join(source.splits)}"
            )
        self._source = source
        self._count = source.splits[TRAIN]
        self.classes = source.classes
        self.masked = source.masked
        self.splits = {**source.splits, TRAIN: self._count * (1 + copies)}

    @property
    def files(self) -> Iterable[FileFacts]:
        """The files of the source."""
        return self._source.files

    def read(self, split: str, indices: Sequence[int]) -> list[Item]:
        """The images at these positions; position ``k * N + i`` is variant ``k`` of image ``i`` of N."""
        if split != TRAIN:
            return self._source.read(split, indices)
        items = self._source.read(split, [int(position) % self._count for position in indices])
        return [
            replace(item, variant=(int(position) // self._count, int(position) % self._count))
            for item, position in zip(items, indices, strict=True)
        ]

    def read_labels(self, split: str) -> NDArray[np.int64]:
        """All labels of a split, including those of variants."""
        labels = self._source.read_labels(split)
        return np.tile(labels, self.splits[split] // max(1, len(labels)))


def choose_positions(source: Source, split: str, copies: int, limit: int | None) -> NDArray[np.int64]:
    """Positions of at most ``limit`` images of a split, evenly spread, then of their variants."""
    originals = source.splits[split] // (1 + copies) if split == TRAIN else source.splits[split]
    chosen = pick_evenly(originals, limit)
    variants = range(1 + copies) if split == TRAIN else range(1)
    return np.concatenate([chosen + number * originals for number in variants])


def augment(source: Source, copies: int) -> Source:
    """The source with ``copies`` variants of its training images; with none, the source itself."""
    return AugmentedSource(source, copies) if copies else source
