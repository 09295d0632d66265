"""Sources of plain images: an image folder, Parquet files, CIFAR, the synthetic set.

A source is named by a string (``open_source``), cheap to open, and read by position, so that every worker
process opens its own.
"""

import io
import json
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cipherlens.data.images import Item
from cipherlens.data.splits import HeldOut
from cipherlens.errors import DataError, UsageError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff"})
SPLIT_NAMES = ("train", "val", "valid", "validation", "test")


IGNORED = 255
"""In a mask: a pixel without a class."""


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
        return HeldOut(open_source(place), int(every) if every.isdecimal() else 0)
    kind, _, rest = spec.partition(":")
    if kind in _CIFAR:
        return CifarSource(Path(rest), kind)
    if kind == "synthetic":
        return SyntheticSource(rest)
    path = Path(spec)
    if path.is_file() and path.suffix == ".parquet":
        return ParquetSource((path,))
    if path.is_dir():
        files = tuple(sorted(path.glob("*.parquet")))
        return ParquetSource(files) if files else FolderSource(path)
    raise DataError(
        f"no images at {spec}",
        hint="give an image folder, a Parquet file or folder, cifar10:PATH, or synthetic:NAME",
    )


def canonical_source(spec: str) -> str:
    """The same source by a name that does not depend on the current folder."""
    kind, colon, rest = spec.partition(":")
    if kind == "synthetic":
        return spec
    if colon and kind in _CIFAR:
        return f"{kind}:{Path(rest).resolve()}"
    return str(Path(spec).resolve())


def pick_evenly(count: int, limit: int | None) -> NDArray[np.int64]:
    """Positions of at most ``limit`` of ``count`` images, evenly spread, so that sorted classes all appear."""
    if limit is None or limit >= count:
        return np.arange(count)
    return np.linspace(0, count, limit, endpoint=False).astype(np.int64)


class FolderSource:
    """``ROOT/[SPLIT/]CLASS/*.jpg``, or a flat folder of images without labels."""

    masked = False

    def __init__(self, root: Path) -> None:
        split_roots = {d.name: d for d in _folders(root) if d.name in SPLIT_NAMES} or {"all": root}
        names = {folder.name for part in split_roots.values() for folder in _folders(part)}
        self.classes = tuple(sorted(names))
        self._root = root
        self._files = {split: self._list(part) for split, part in split_roots.items()}
        self.splits = {split: len(files) for split, files in self._files.items() if files}
        if not self.splits:
            raise DataError(f"{root} holds no images", hint=f"images end in {', '.join(sorted(IMAGE_SUFFIXES))}")

    def _list(self, part: Path) -> list[tuple[Path, int]]:
        if not self.classes:
            return [(file, -1) for file in _images(part)]
        return [
            (file, label) for label, name in enumerate(self.classes) for file in _images(part / name, deep=True)
        ]

    def read(self, split: str, indices: Sequence[int]) -> list[Item]:
        """The files at these positions."""
        chosen = [self._files[split][int(i)] for i in indices]
        return [Item(str(file.relative_to(self._root)), label, file) for file, label in chosen]

    def read_labels(self, split: str) -> NDArray[np.int64]:
        """The labels of the files of a split."""
        return np.array([label for _, label in self._files[split]], np.int64)


def _folders(root: Path) -> list[Path]:
    return sorted(d for d in root.iterdir() if d.is_dir()) if root.is_dir() else []


def _images(folder: Path, deep: bool = False) -> list[Path]:
    if not folder.is_dir():
        return []
    found = folder.rglob("*") if deep else folder.iterdir()
    return sorted(file for file in found if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file())


class ParquetSource:
    """Parquet files in the Hugging Face layout: columns ``image`` {bytes, path} and ``label`` or ``mask``.

    The split is the part of the file name before the first dash (``train-00000-of-00002.parquet``). Names of the
    classes of masks are a JSON list in the schema's metadata under ``classes``, the class that counts nowhere is
    its ``ignore_index``.
    """

    def __init__(self, files: tuple[Path, ...]) -> None:
        self._files: dict[str, list[Path]] = {}
        for file in files:
            name = file.name.split("-")[0]
            self._files.setdefault(name if name in SPLIT_NAMES else "all", []).append(file)
        opened = {split: [_open_parquet(file) for file in group] for split, group in self._files.items()}
        self.splits = {split: sum(f.metadata.num_rows for f in group) for split, group in opened.items()}
        every = [file for group in opened.values() for file in group]
        self.masked = all(_is_masked(file.schema_arrow) for file in every)
        metadata = every[0].schema_arrow.metadata or {}
        self._ignored = _read_metadata(metadata, b"ignore_index", None) if self.masked else None
        self.classes = _mask_class_names(metadata, self._ignored) if self.masked else _class_names(every)

    def read(self, split: str, indices: Sequence[int]) -> list[Item]:
        """The rows at these positions."""
        table = _load_split(tuple(self._files[split]))
        rows = table.take(pa.array(indices, pa.int64()))
        labels = rows["label"].to_pylist() if "label" in table.column_names else [-1] * len(rows)
        masks = [self._read_mask(raw) for raw in _raw_bytes(rows, "mask")] if self.masked else [None] * len(rows)
        return [
            Item(f"{split} image {i}", int(label), content or b"", mask)
            for i, label, content, mask in zip(indices, labels, _raw_bytes(rows, "image"), masks, strict=True)
        ]

    def read_labels(self, split: str) -> NDArray[np.int64]:
        """The column ``label``; -1 where there is none."""
        table = _load_split(tuple(self._files[split]))
        if "label" not in table.column_names:
            return np.full(len(table), -1, np.int64)
        return np.asarray(table["label"].to_numpy(), np.int64)

    def _read_mask(self, raw: bytes | None) -> bytes | NDArray[np.uint8]:
        """The mask with its ignored class as IGNORED; what cannot be decoded is left for Item to complain of."""
        try:
            mask = Item("", -1, b"", raw).decode_mask()[0]
        except DataError:
            return raw or b""
        return mask if self._ignored is None else np.where(mask == self._ignored, np.uint8(IGNORED), mask)


def _raw_bytes(rows: Any, column: str) -> list[bytes | None]:
    values = rows[column].combine_chunks()
    raw: list[bytes | None] = (values.field("bytes") if pa.types.is_struct(values.type) else values).to_pylist()
    return raw


def _open_parquet(path: Path) -> Any:
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path} is not a readable Parquet file: {error}") from None
    if "image" not in file.schema_arrow.names:
        raise DataError(f"{path} has no column 'image'", hint=f"its columns: {file.schema_arrow.names}")
    return file


@lru_cache(maxsize=2)
def _load_split(files: tuple[Path, ...]) -> Any:
    # One row group per file is usual, so rows cannot be read singly: the compressed bytes are kept in memory.
    tables = [_open_parquet(file) for file in files]
    columns = [name for name in ("image", "label", "mask") if name in tables[0].schema_arrow.names]
    return pa.concat_tables([table.read(columns=columns) for table in tables])


def _is_masked(schema: Any) -> bool:
    """Masks are what is to be learnt where their classes are named, or there are no labels."""
    return "mask" in schema.names and ("label" not in schema.names or b"classes" in (schema.metadata or {}))


def _read_metadata(metadata: dict[bytes, bytes], name: bytes, default: Any) -> Any:
    try:
        return json.loads(metadata[name]) if name in metadata else default
    except ValueError:
        raise DataError(f"the Parquet schema's {name.decode()} is not JSON", hint="write it again") from None


def _mask_class_names(metadata: dict[bytes, bytes], ignored: int | None) -> tuple[str, ...]:
    names = _read_metadata(metadata, b"classes", [])
    if not isinstance(names, list) or not names:
        raise DataError(
            "the Parquet schema does not name the classes of its masks",
            hint='write them into its metadata: classes = ["sky", ...], and ignore_index = N where there is one',
        )
    # The last class, when ignored, needs no output.
    return tuple(names[:-1] if ignored == len(names) - 1 else names)


def _class_names(files: list[Any]) -> tuple[str, ...]:
    schema = files[0].schema_arrow
    if "label" not in schema.names:
        return ()
    info = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    names = info.get("info", {}).get("features", {}).get("label", {}).get("names")
    if names:
        return tuple(names)
    highest = max(max(file.read(columns=["label"])["label"].to_pylist(), default=-1) for file in files)
    return tuple(str(label) for label in range(highest + 1))


@dataclass(frozen=True)
class _CifarLayout:
    folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    meta: str
    names: str
    labels: str


_CIFAR = {
    "cifar10": _CifarLayout(
        "cifar-10-batches-py",
        tuple(f"data_batch_{i}" for i in range(1, 6)),
        ("test_batch",),
        "batches.meta",
        "label_names",
        "labels",
    ),
    "cifar100": _CifarLayout("cifar-100-python", ("train",), ("test",), "meta", "fine_label_names", "fine_labels"),
}


class CifarSource:
    """CIFAR-10 or -100 in torchvision's layout (the folder that ``download=True`` makes)."""

    masked = False

    def __init__(self, root: Path, kind: str) -> None:
        layout = _CIFAR[kind]
        folder = root if root.name == layout.folder else root / layout.folder
        if not folder.is_dir():
            raise DataError(
                f"no {layout.folder} in {root}",
                hint=f"fetch it with torchvision.datasets.{kind.upper()}({str(root)!r}, download=True)",
            )
        self.classes = tuple(_unpickle(folder / layout.meta)[layout.names])
        self._images: dict[str, NDArray[np.uint8]] = {}
        self._labels: dict[str, list[int]] = {}
        for split, files in (("train", layout.train), ("test", layout.test)):
            parts = [_unpickle(folder / name) for name in files]
            self._images[split] = np.concatenate([part["data"] for part in parts]).reshape(-1, 3, 32, 32)
            self._labels[split] = [label for part in parts for label in part[layout.labels]]
        self.splits = {split: len(images) for split, images in self._images.items()}

    def read(self, split: str, indices: Sequence[int]) -> list[Item]:
        """The images at these positions."""
        images, labels = self._images[split], self._labels[split]
        return [Item(f"{split} image {i}", int(labels[i]), images[i]) for i in map(int, indices)]

    def read_labels(self, split: str) -> NDArray[np.int64]:
        """All labels of a split."""
        return np.array(self._labels[split], np.int64)


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickles arrays, lists and strings only: a CIFAR batch must not be able to run code."""

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".", maxsplit=1)[0] == "numpy" and name in {"_reconstruct", "ndarray", "dtype"}:
            return super().find_class(module, name)
        if (module, name) == ("_codecs", "encode"):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"refused {module}.{name}")


def _unpickle(path: Path) -> dict[str, Any]:
    try:
        loaded = _ArrayUnpickler(io.BytesIO(path.read_bytes()), encoding="latin1").load()
        return dict(loaded)
    except (OSError, pickle.UnpicklingError, ValueError, EOFError, AttributeError, IndexError) as error:
        raise DataError(f"{path} is not a CIFAR batch: {error}", hint="download the data set again") from None


class SyntheticSource:
    """The project's own generated images (see :mod:`cipherlens.data.synthetic`)."""

    def __init__(self, name: str) -> None:
        from cipherlens.data import synthetic

        self._spec = synthetic.parse_name(name)
        self.masked = self._spec.masks
        self.classes = ("background", *synthetic.CLASSES) if self.masked else synthetic.CLASSES
        self.splits = dict(self._spec.splits)

    def read(self, split: str, indices: Sequence[int]) -> list[Item]:
        """The images at these positions, generated on the spot."""
        from cipherlens.data import synthetic

        positions = self._spec.indices(split)[np.asarray(indices, np.int64)]
        batch = synthetic.generate(positions, size=self._spec.size, seed=self._spec.seed)
        return [
            Item(f"{split} image {i}", int(label), image, mask if self.masked else None)
            for i, label, image, mask in zip(indices, batch.labels, batch.images, batch.masks, strict=True)
        ]

    def read_labels(self, split: str) -> NDArray[np.int64]:
        """All labels of a split, without making the images."""
        from cipherlens.data.synthetic_scene import draw_labels

        return draw_labels(self._spec.seed, self._spec.indices(split))


def require_split(source: Source, split: str) -> None:
    """Raise UsageError, listing the splits, if the source has no such split."""
    if split not in source.splits:
        raise UsageError(f"the source has no split {split!r}", hint=f"its splits: {', '.join(source.splits)}")
