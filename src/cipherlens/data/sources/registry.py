"""Sources of plain images by name: image folder, Parquet files, CIFAR, synthetic images.

A source is named by a string (see ``open_source``).
"""

from pathlib import Path

from cipherlens.data.sources.base import Source
from cipherlens.data.sources.checks import parse_count
from cipherlens.data.sources.cifar import CIFAR, CifarSource
from cipherlens.data.sources.folder import IMAGE_SUFFIXES, FolderSource, PhotoSource
from cipherlens.data.sources.parquet import ParquetSource
from cipherlens.data.sources.subsets import HeldOut
from cipherlens.data.sources.synthetic import SyntheticSource
from cipherlens.errors import DataError


def open_source(spec: str) -> Source:
    """Open ``cifar10:PATH``, ``cifar100:PATH``, ``synthetic:NAME``, Parquet files, an image folder or an image.

    ``PLACE?hold_out=N`` makes every Nth image of each class a test split. Raises DataError where the place holds no
    images.
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
    if path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES:
        return PhotoSource(path)
    if path.is_dir():
        files = tuple(sorted(path.glob("*.parquet")))
        return ParquetSource(files) if files else FolderSource(path)
    raise DataError(
        f"no images at {path}",
        hint="give an image folder or file, a Parquet file or folder, cifar10:PATH, or synthetic:NAME",
    )


def canonical_source(spec: str) -> str:
    """The source's name with an absolute path. Raises DataError for an impossible path."""
    kind, colon, rest = spec.partition(":")
    if kind == "synthetic":
        return spec
    try:
        if colon and kind in CIFAR:
            return f"{kind}:{Path(rest).resolve()}"
        return str(Path(spec).resolve())
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: a cycle of links
        raise DataError(f"cannot find the source: {error}", hint="check its name") from None
