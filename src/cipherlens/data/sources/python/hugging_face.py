"""Data sets of Hugging Face as a source: objects of ``datasets``, and folders that it or the hub has made."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import numpy as np
import pyarrow as pa

from cipherlens.data.sources.base import ALL, Source
from cipherlens.data.sources.checks import describe_file
from cipherlens.data.sources.folder import SPLIT_NAMES, FolderSource
from cipherlens.data.sources.parquet.source import Columns, ParquetSource, list_columns
from cipherlens.data.sources.python.map_style import MapStyleSource
from cipherlens.errors import DataError, UsageError, unknown_name

IMAGES = ("image", "img")
LABELS = ("label", "labels")
MASKS = ("mask", "annotation")
"""Usual names of columns, which are taken where nobody names one."""
_SAVED = ("dataset_dict.json", "state.json")
"""Files by which a folder of ``save_to_disk`` is known."""
_INSTALL = "pip install 'cipherlens[hf]'"


class _Rows:
    """The rows of a ``datasets.Dataset`` as (encoded image, label or encoded mask)."""

    def __init__(self, dataset: Any, image: str | None, label: str | None) -> None:
        from datasets import Array2D, Array3D, Image

        features = dataset.features
        for name in (image, label):
            if name is not None and name not in features:
                raise unknown_name("column", name, features)
        if dataset.format["type"] == "custom":
            raise UsageError("the data set has a transform, which would be left out", hint="apply it: dataset.map")
        pictures = [name for name, kind in features.items() if isinstance(kind, Image)]
        self._arrays = {name: kind.dtype for name, kind in features.items() if isinstance(kind, Array2D | Array3D)}
        spatial = [*pictures, *self._arrays]
        self._target = label or _find_target(features, spatial)
        self._image = image or _find_image(features, [name for name in spatial if name != self._target])
        kept = [name for name in (self._image, self._target) if name is not None]
        dataset = dataset.with_format(None).select_columns(kept)
        modes = {features[name].mode for name in set(kept) & set(pictures)} - {None, "RGB"}
        if modes:
            raise UsageError(f"a column has images of mode {modes.pop()}, which would be left out", hint="cast it")
        for name in set(kept) & set(pictures):  # encoded, to be decoded like those of any other source
            dataset = dataset.cast_column(name, Image(decode=False))
        self._dataset = dataset
        self.classes = tuple(getattr(features.get(self._target), "names", None) or ())
        self._masked = self._target in spatial
        if self._target is not None and not self._masked:
            self.targets = dataset[self._target]

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        row = self._dataset[index]
        target = None if self._target is None else row[self._target]
        return self._take(row, self._image), self._take(row, self._target or "") if self._masked else target

    def _take(self, row: Mapping[str, Any], name: str) -> Any:
        """An image or a mask; no bytes where there is none."""
        if name in self._arrays and row[name] is not None:
            return np.array(row[name], self._arrays[name])
        return _get_content(row[name])


def _find_image(features: Mapping[str, Any], pictures: list[str]) -> str:
    """The column of images: the usual name, or the only one. Raises UsageError where it is not clear."""
    for name in IMAGES:
        if name in features:
            return name
    if len(pictures) != 1:
        raise UsageError("which column holds the images?", hint=f"name one of {', '.join(features)}: image=...")
    return pictures[0]


def _find_target(features: Mapping[str, Any], pictures: list[str]) -> str | None:
    """The column of labels or masks, None where there is none. Raises UsageError where it is not clear."""
    from datasets import ClassLabel

    for name in LABELS:
        if name in features:
            return name
    numbers = [name for name, kind in features.items() if isinstance(kind, ClassLabel)]
    if len(numbers) > 1:
        raise UsageError("which column holds the labels?", hint=f"name one of {', '.join(numbers)}: label=...")
    masks = [name for name in MASKS if name in pictures]
    return next(iter([*numbers, *masks]), None)


def _get_content(image: Any) -> Any:
    """The bytes of an encoded image, or the path of its file; no bytes where there is neither."""
    if not isinstance(image, Mapping):
        return image or b""
    return image.get("bytes") or (Path(image["path"]) if image.get("path") else b"")


def is_hugging_face(dataset: Any) -> bool:
    """Whether an object is a ``datasets.Dataset``, or a mapping of such."""
    parts = dataset.values() if isinstance(dataset, Mapping) else [dataset]
    known = all(hasattr(part, "features") and hasattr(part, "cast_column") for part in parts)
    return bool(parts) and known and all(hasattr(part, "__len__") for part in parts)


def from_hf(
    dataset: Any, image: str | None = None, label: str | None = None, classes: Sequence[str] = ()
) -> MapStyleSource:
    """A ``datasets.Dataset`` or ``DatasetDict`` as a source for ``cl.seal``.

    ``image`` and ``label`` name columns; by default those with usual names or of fitting types. A label column of
    images holds masks, whose ``classes`` must be given. Images are decoded as those of any other source. Raises
    UsageError where a column is missing or not clear.
    """
    if not is_hugging_face(dataset):
        raise UsageError(
            f"{type(dataset).__name__} is no data set of Hugging Face", hint="give it to cl.seal itself"
        )
    parts = dataset if isinstance(dataset, Mapping) else {_name_split(dataset): dataset}
    return MapStyleSource({name: _Rows(part, image, label) for name, part in parts.items()}, classes)


def _name_split(dataset: Any) -> str:
    split = str(getattr(dataset, "split", None) or ALL)
    return split if split.isidentifier() else ALL  # not "train[:10%]"


def open_folder(spec: str) -> Source:
    """``PATH[?image=COLUMN&label=COLUMN]``: a folder of ``save_to_disk``, or a downloaded repository.

    A repository holds Parquet files, in one folder, or images. Nothing is fetched, copied or run. Raises DataError
    where the folder holds none of these, UsageError where ``datasets`` is missing.
    """
    place, _, asked = spec.partition("?")
    options, root = dict(parse_qsl(asked)), Path(place)
    for name in options:
        if name not in ("image", "label"):
            raise unknown_name("option of hf", name, ("image", "label"))
    if any((root / name).is_file() for name in _SAVED):
        return _open_saved(root, options)
    files = sorted(root.glob("*.parquet")) or sorted(root.glob("*/*.parquet"))
    folders = {file.parent for file in files}
    if len(folders) > 1 and not {folder.name for folder in folders} <= set(SPLIT_NAMES):
        names = ", ".join(sorted(folder.name for folder in folders))
        raise UsageError(f"{root} holds several sets: {names}", hint=f"name one of them: hf:{root}/NAME")
    if files:
        return ParquetSource(tuple(files), _choose_columns(files[0], options))
    if options:
        raise UsageError("a folder of images has no columns", hint="leave image and label away")
    return FolderSource(root)


def _choose_columns(file: Path, options: Mapping[str, str]) -> Columns:
    """The columns of Parquet files: those that are named, or the usual ones."""
    names = list_columns(file)
    for name in options.values():
        if name not in names:
            raise unknown_name("column", name, names)
    usual = {"image": IMAGES, "label": LABELS}
    found = {kind: next((name for name in known if name in names), kind) for kind, known in usual.items()}
    return Columns(**found | dict(options))


def _validate(file: Path) -> None:
    """Raise an error of pyarrow for a damaged file: used as it is, it can end the process."""
    with pa.memory_map(str(file)) as mapped, pa.ipc.open_stream(mapped) as reader:
        for batch in reader:
            batch.validate(full=True)


def _open_saved(root: Path, options: dict[str, str]) -> Source:
    try:
        from datasets import load_from_disk
    except ImportError:
        raise UsageError("folders of save_to_disk need the package datasets", hint=_INSTALL) from None
    try:
        for file in root.rglob("*.arrow"):
            _validate(file)
        source = from_hf(load_from_disk(str(root)), **options)
    except (DataError, UsageError):
        raise
    except Exception as error:  # of all kinds, for damaged files
        raise DataError(f"{root} cannot be read: {error}", hint="save it again with save_to_disk") from None
    source.files = tuple(sorted(describe_file(file) for file in root.rglob("*") if file.is_file()))
    return source
