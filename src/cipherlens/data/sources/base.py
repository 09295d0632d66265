"""Sources of plain images, by name: an image folder, Parquet files, CIFAR, the synthetic set (``source_*.py``).

A source is named by a string (``open_source``), cheap to open, and read by position, so that every worker
process opens its own.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cipherlens.data.images import Item
from cipherlens.data.source_checks import FileFacts, parse_count
from cipherlens.data.source_cifar import CIFAR, CifarSource
from cipherlens.data.source_folder import FolderSource
from cipherlens.data.source_parquet import ParquetSource
from cipherlens.data.source_synthetic import SyntheticSource
from cipherlens.data.splits import HeldOut
from cipherlens.errors import DataError, UsageError


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
        """Whether images come with masks, a class per pixel; ``IGNORED`` pixels count nowhere."""

    @property
    def files(self) -> tuple[FileFacts, ...]:
        """Every file that is read, sorted: path relative to the source, size in bytes, time of change in ns.

        A job that goes on can tell by them that its source has changed. Empty for generated images.
        """

    def read(self, split: str, indices: Sequence[int]) -> list[Item]:
        """The items at these positions of a split, not decoded yet."""

    def read_labels(self, split: str) -> NDArray[np.int64]:
        """All labels of a split (N,); -1 where there is none."""


def open_source(spec: str) -> Source:
    """Open ``cifar10:PATH``, ``cifar100:PATH``, ``synthetic:NAME``, a Parquet file or folder, or an image folder.

    ``PLACE?hold_out=N`` makes every Nth image of each class a test split. Raises DataError if there is nothing to
    read at that place.
    """
    place, asked, every = spec.partition("?hold_out=")
    if asked:
        return HeldOut(open_source(place), parse_count(every) or 0)
    kind, _, rest = spec.partition(":")
    if kind == "synthetic":
        return SyntheticSource(rest)
    try:
        return CifarSource(Path(rest), kind) if kind in CIFAR else _open_path(Path(spec))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read the source: {error}", hint="check its name and its permissions") from None


def _open_path(path: Path) -> Source:
    if path.is_file() and path.suffix == ".parquet":
        return ParquetSource((path,))
    if path.is_dir():
        files = tuple(sorted(path.glob("*.parquet")))
        return ParquetSource(files) if files else FolderSource(path)
    raise DataError(
        f"no images at {path}",
        hint="give an image folder, a Parquet file or folder, cifar10:PATH, or synthetic:NAME",
    )


def canonical_source(spec: str) -> str:
    """The same source by a name that does not depend on the current folder. DataError for an impossible path."""
    kind, colon, rest = spec.partition(":")
    if kind == "synthetic":
        return spec
    try:
        if colon and kind in CIFAR:
            return f"{kind}:{Path(rest).resolve()}"
        return str(Path(spec).resolve())
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: links in a circle
        raise DataError(f"cannot find the source: {error}", hint="check its name") from None


def pick_evenly(count: int, limit: int | None) -> NDArray[np.int64]:
    """Positions of at most ``limit`` of ``count`` images, evenly spread, so that sorted classes all appear."""
    if limit is None or limit >= count:
        return np.arange(count)
    return np.linspace(0, count, limit, endpoint=False).astype(np.int64)


def require_split(source: Source, split: str) -> None:
    """Raise UsageError, listing the splits, if the source has no such split."""
    if split not in source.splits:
        raise UsageError(f"the source has no split {split!r}", hint=f"its splits: {', '.join(source.splits)}")
