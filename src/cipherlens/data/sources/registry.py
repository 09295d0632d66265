"""Sources of plain images: by name (see ``open_source``), or data sets of Python."""

import os
from pathlib import Path
from typing import Any

from cipherlens.data.sources.base import Source
from cipherlens.data.sources.checks import parse_count
from cipherlens.data.sources.cifar import CIFAR, CifarSource
from cipherlens.data.sources.folder import IMAGE_SUFFIXES, FolderSource, PhotoSource
from cipherlens.data.sources.objects import ObjectSource, list_objects
from cipherlens.data.sources.parquet.source import ParquetSource
from cipherlens.data.sources.python.hugging_face import from_hf, is_hugging_face, open_folder
from cipherlens.data.sources.python.map_style import MapStyleSource
from cipherlens.data.sources.subsets import HeldOut
from cipherlens.data.sources.synthetic import SyntheticSource
from cipherlens.data.storage.url import Url, as_place, is_url
from cipherlens.errors import DataError

HUGGING_FACE = "hf"
"""Kind of the sources ``hf:PATH``."""
Given = str | MapStyleSource
"""A source: its name, or a data set of Python."""


def open_source(spec: Given) -> Source:
    """Open ``cifar10:PATH``, ``cifar100:PATH``, ``synthetic:NAME``, Parquet files, an image folder or an image.

    The last three may be URLs of object storage. ``hf:PATH`` is a folder of Hugging Face (see
    ``hugging_face.open_folder``). ``PLACE?hold_out=N`` makes every Nth
    image of each class a test split. A data set of Python is as it is. Raises DataError where the place holds no
    images.
    """
    if isinstance(spec, MapStyleSource):
        return spec
    place, asked, every = spec.partition("?hold_out=")
    if asked:
        return HeldOut(open_source(place), parse_count(every) or 0)
    if isinstance(found := as_place(place), Url):
        return _open_url(found)
    kind, _, rest = spec.partition(":")
    if kind == "synthetic":
        return SyntheticSource(rest)
    try:
        if kind == HUGGING_FACE:
            return open_folder(rest)
        return CifarSource(Path(rest), kind) if kind in CIFAR else _open_path(Path(spec))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read the source: {error}", hint="check its name and its permissions") from None


def wrap(dataset: Any) -> MapStyleSource:
    """A data set of Python as a source. Raises UsageError for an object that is none."""
    if isinstance(dataset, MapStyleSource):
        return dataset
    return from_hf(dataset) if is_hugging_face(dataset) else MapStyleSource(dataset)


def name_source(source: Given) -> str:
    """What identifies a source: its canonical name, or a digest of what a data set of Python holds."""
    return source.name if isinstance(source, MapStyleSource) else source


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
        hint="give an image folder or file, a Parquet file or folder, cifar10:PATH, hf:PATH, or synthetic:NAME",
    )


def _open_url(url: Url) -> Source:
    if url.suffix == ".parquet":
        return ParquetSource((url,))
    names = (file.name for file in list_objects(url))
    files = tuple(url / name for name in names if name.endswith(".parquet") and "/" not in name)
    return ParquetSource(files) if files else ObjectSource(url)


def canonical_source(given: Any) -> Given:
    """The source's name with an absolute path, or a data set of Python as a source.

    Raises DataError for an impossible path, UsageError for an object that is no data set.
    """
    if not isinstance(given, str | os.PathLike):
        return wrap(given)
    spec = os.fspath(given)
    if is_url(spec):
        place, asked, every = spec.partition("?hold_out=")
        return f"{as_place(place)}{asked}{every}"
    kind, colon, rest = spec.partition(":")
    if kind == "synthetic":
        return spec
    try:
        if colon and kind in (*CIFAR, HUGGING_FACE):
            return f"{kind}:{Path(rest).resolve()}"
        return str(Path(spec).resolve())
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: a cycle of links
        raise DataError(f"cannot find the source: {error}", hint="check its name") from None
