"""The protocol of a source of plain images; they are read by position, so every worker opens its own source."""

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cipherlens.data.images import Item
from cipherlens.data.sources.checks import FileFacts
from cipherlens.errors import UsageError

ALL = "all"
"""Name of the only split of a source without splits."""


class Source(Protocol):
    """A set of labelled plain images in named splits."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in label order; empty where the source has no labels."""

    @property
    def splits(self) -> dict[str, int]:
        """Number of images per split."""

    @property
    def masked(self) -> bool:
        """Whether images have masks, one class per pixel; ``IGNORED`` pixels are not used."""

    @property
    def files(self) -> Iterable[FileFacts]:
        """Every file that is read, sorted: path relative to the source, size in bytes, time of change in ns.

        A resumed job detects with them that its source has changed. Empty for generated images.
        """

    def read(self, split: str, indices: Sequence[int]) -> list[Item]:
        """The items at these positions of a split, not decoded yet."""

    def read_labels(self, split: str) -> NDArray[np.int64]:
        """All labels of a split (N,); -1 for an image without a label."""


def pick_evenly(count: int, limit: int | None) -> NDArray[np.int64]:
    """Positions of at most ``limit`` of ``count`` images, evenly spread, so that sorted classes all appear."""
    if limit is None or limit >= count:
        return np.arange(count)
    return np.linspace(0, count, limit, endpoint=False).astype(np.int64)


def require_split(source: Source, split: str) -> None:
    """Raise UsageError, listing the splits, if the source has no such split."""
    if split not in source.splits:
        raise UsageError(f"the source has no split {split!r}", hint=f"its splits: {', '.join(source.splits)}")
