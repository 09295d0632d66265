"""Parquet files as a source."""

import io
import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from threading import Lock
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cipherlens.data.images import Item
from cipherlens.data.sources.base import ALL
from cipherlens.data.sources.checks import (
    FileFacts,
    check_class_names,
    check_labels,
    describe_file,
    shorten,
)
from cipherlens.data.sources.folder import SPLIT_NAMES
from cipherlens.data.sources.objects import describe_object, load_object
from cipherlens.data.sources.parquet.pages import measure_column
from cipherlens.data.sources.parquet.schema import (
    HINT,
    is_masked,
    name_label_classes,
    name_mask_classes,
    number_classes,
    read_ignored,
)
from cipherlens.data.storage.url import Place, Url
from cipherlens.errors import DataError
from cipherlens.untrusted import open_untrusted

FREE_BYTES = 64 << 20
"""A file of any size may be decoded to this many bytes. A limit on memory."""
BYTES_PER_BYTE = 100
"""A file may be decoded to FREE_BYTES plus this many times its size. A limit on memory; images hardly compress."""
KEPT_BYTES = 4 << 30
"""Encoded images that stay in memory; of a larger data set, files are read again. A limit on memory."""

_BYTES_PER_ROW = 4  # at least: the offset of an image among the others
_MAX_BATCH = 1024  # small enough for the cache


class Columns(NamedTuple):
    """Which columns hold the encoded images and the labels."""

    image: str = "image"
    label: str = "label"


class ParquetSource:
    """Parquet files in the Hugging Face layout: columns ``image`` {bytes, path} and ``label`` or ``mask``.

    The split is the part of the file name before the first dash (``train-00000-of-00002.parquet``). The schema's
    metadata hold the class names of masks as a JSON list under ``classes``, and the ignored class under
    ``ignore_index``. With masks, the column ``label`` is not read. Raises DataError for files that are damaged,
    inconsistent, or would be decoded to much more than their size.
    """

    def __init__(self, files: tuple[Place, ...], columns: Columns | None = None) -> None:
        self._columns = columns = columns or Columns()
        self.files: tuple[FileFacts, ...] = tuple(
            sorted(describe_object(file) if isinstance(file, Url) else describe_file(file) for file in files)
        )
        self._files: dict[str, list[Place]] = {}
        for file in files:
            names = (file.name.split("-")[0], file.parent.name)
            split = next((name for name in names if name in SPLIT_NAMES), ALL)
            self._files.setdefault(split, []).append(file)
        opened = {split: [_inspect(file, columns.image) for file in group] for split, group in self._files.items()}
        self._rows = {split: [rows for _, rows in group] for split, group in opened.items()}
        self.splits = {split: sum(rows) for split, rows in self._rows.items()}
        every = [schema for group in opened.values() for schema, _ in group]
        self.masked = all(is_masked(schema, columns.label) for schema in every)
        metadata = every[0].metadata or {}
        self._ignored = read_ignored(metadata) if self.masked else None
        self._labels = {split: self._load_labels(split) for split in self.splits}
        if self.masked:
            self.classes = name_mask_classes(metadata, self._ignored)
        elif columns.label in every[0].names:
            self.classes = name_label_classes(metadata, columns.label) or number_classes(self._labels)
        else:
            self.classes = ()
        check_class_names(self.classes)
        for split, labels in self._labels.items():
            check_labels(labels, self.classes, self.masked, split)

    def _load_labels(self, split: str) -> NDArray[np.int64]:
        if self.masked:
            return np.full(self.splits[split], -1, np.int64)
        pairs = zip(self._files[split], self._rows[split], strict=True)
        return np.concatenate([_read_labels(file, rows, self._columns.label) for file, rows in pairs])

    def read(self, split: str, indices: Sequence[int]) -> list[Item]:
        """The rows at these positions."""
        image = self._columns.image
        columns = (image, "mask") if self.masked else (image,)
        chosen = np.asarray(indices, np.int64)
        found = {column: self._take(split, chosen, column) for column in columns}
        labels = self._labels[split][chosen].tolist()
        masks = found["mask"] if self.masked else [None] * len(chosen)
        return [
            Item(f"{split} image {i}", label, content or b"", mask, ignored=self._ignored)
            for i, label, content, mask in zip(indices, labels, found[image], masks, strict=True)
        ]

    def _take(self, split: str, indices: NDArray[np.int64], column: str) -> list[Any]:
        """The encoded images of a column at positions of a split; only files that hold some of them are read."""
        files, rows = self._files[split], self._rows[split]
        starts = np.cumsum([0, *rows])
        owner = np.searchsorted(starts, indices, side="right") - 1
        out: list[Any] = [None] * len(indices)
        for number in np.unique(owner).tolist():
            here = np.flatnonzero(owner == number)
            part = _kept.load(files[number], rows[number], column)
            taken = part.take(pa.array(indices[here] - starts[number], pa.int64())).to_pylist()
            for place, content in zip(here.tolist(), taken, strict=True):
                out[place] = content
        return out

    def read_labels(self, split: str) -> NDArray[np.int64]:
        """The column ``label``; -1 where there is none."""
        return self._labels[split]


def list_columns(path: Place) -> list[str]:
    """The names of a file's columns. Raises DataError where it cannot be read."""
    with _open_parquet(path) as opened:
        return list(opened.parquet.schema_arrow.names)


class _Opened(NamedTuple):
    """A file opened by pyarrow, the same file opened by Python, and the limit ``most`` on its decoded bytes.

    pyarrow opens a path itself, because it reads a Python file half as fast.
    """

    path: Place
    parquet: Any
    file: BinaryIO
    most: int

    def too_large(self) -> DataError:
        return DataError(
            f"{self.path} would be decoded to more than {self.most:,} bytes",
            hint=f"at most {FREE_BYTES:,} and {BYTES_PER_BYTE} times the size of a file are read: split it",
        )


@contextmanager
def _open_parquet(path: Place) -> Iterator[_Opened]:
    """Open a file; any exception while it is open becomes a DataError. One at a URL is read into memory."""
    try:
        if isinstance(path, Url):
            content = _load(path)
            with pq.ParquetFile(pa.BufferReader(content)) as parquet:
                yield _Opened(path, parquet, io.BytesIO(content), FREE_BYTES + BYTES_PER_BYTE * len(content))
            return
        with open_untrusted(path) as file, pq.ParquetFile(path) as parquet:
            most = FREE_BYTES + BYTES_PER_BYTE * os.fstat(file.fileno()).st_size
            yield _Opened(path, parquet, file, most)
    except DataError:
        raise
    except Exception as error:  # pyarrow raises all kinds for damaged files
        reason = shorten(str(error) or type(error).__name__, 200)
        raise DataError(f"{path} is not a readable Parquet file: {reason}", hint=HINT) from None


@lru_cache(maxsize=1)
def _load(url: Url) -> bytes:
    """The last file that was read, because its columns are read one after the other."""
    return load_object(url)


def _inspect(path: Place, image: str) -> tuple[Any, int]:
    """Schema and number of rows. Raises DataError without encoded images, and for an impossible number of rows."""
    with _open_parquet(path) as opened:
        schema, rows = opened.parquet.schema_arrow, opened.parquet.metadata.num_rows
        if image not in schema.names:
            raise DataError(
                f"{path} has no column {image!r}", hint=f"its columns: {shorten(str(schema.names), 500)}"
            )
        _find_leaf(schema, image)
        if not 0 <= rows * _BYTES_PER_ROW <= opened.most:
            raise opened.too_large()
        return schema, rows


def _find_leaf(schema: Any, column: str) -> str:
    """Path of a column's encoded images. Raises DataError if the column holds other values."""
    kind, leaf = schema.field(column).type, column
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind, leaf = kind.field("bytes").type, f"{column}.bytes"
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        raise DataError(
            f"the Parquet column {column!r} holds {shorten(str(kind))}, not encoded images",
            hint="write it as bytes, or as a struct {bytes, path}",
        )
    return leaf


class _Kept:
    """The columns read last, as encoded images, up to KEPT_BYTES; files usually have one row group to be read."""

    def __init__(self) -> None:
        self._columns: OrderedDict[tuple[Place, str], Any] = OrderedDict()
        self._lock = Lock()

    def load(self, path: Place, rows: int, column: str) -> Any:
        """A column's encoded images, one per row."""
        with self._lock:
            found = self._columns.pop((path, column), None)
            if found is None:
                found = pa.chunked_array(_read_images(path, rows, column), pa.large_binary())
            self._columns[path, column] = found
            while len(self._columns) > 1 and sum(part.nbytes for part in self._columns.values()) > KEPT_BYTES:
                self._columns.popitem(last=False)
        return found


_kept = _Kept()


def _read_images(path: Place, rows: int, column: str) -> list[Any]:
    """A column's encoded images, one per row, as arrays of large_binary, which may exceed 2 GiB."""
    with _open_parquet(path) as opened:
        leaf = _find_leaf(opened.parquet.schema_arrow, column)
        columns = [batch.column(column) for batch in _read_batches(opened, leaf)]
        plain = [values.field("bytes") if pa.types.is_struct(values.type) else values for values in columns]
        if sum(map(len, plain)) != rows:
            raise DataError(f"{path} does not have {rows:,} rows in column {column!r}, as it says", hint=HINT)
        return [values.cast(pa.large_binary()) for values in plain]


def _read_labels(path: Place, rows: int, label: str) -> NDArray[np.int64]:
    """The column ``label``, or all -1 without one. Raises DataError unless each row has a whole number."""
    with _open_parquet(path) as opened:
        schema = opened.parquet.schema_arrow
        if label not in schema.names:
            return np.full(rows, -1, np.int64)
        kind = schema.field(label).type
        if not pa.types.is_integer(kind):
            raise DataError(f"the labels of {path} are of type {shorten(str(kind))}, not integers", hint=HINT)
        parts = [batch.column(label) for batch in _read_batches(opened, label)]
        labels = pa.chunked_array(parts, kind).cast(pa.int64())
        if labels.null_count or len(labels) != rows:
            raise DataError(f"{path} does not have a label for each of its {rows:,} rows", hint=HINT)
        return np.asarray(labels.to_numpy(), np.int64)


def _read_batches(opened: _Opened, leaf: str) -> list[Any]:
    """A column in batches of rows. Raises DataError, before memory is allocated, where it exceeds the limit."""
    schema = opened.parquet.schema
    columns = [number for number in range(len(schema)) if schema.column(number).path == leaf]
    sizes = [measure_column(opened.file, number) for number in columns]
    if sum(size for size, _ in sizes) > opened.most:
        raise opened.too_large()
    # No value is larger than its page, so no batch is decoded to more than the limit.
    largest = max(1, *(page for _, page in sizes))
    batches, decoded = [], 0
    for batch in opened.parquet.iter_batches(max(1, min(_MAX_BATCH, opened.most // largest)), columns=[leaf]):
        decoded += batch.nbytes
        if decoded > opened.most:
            raise opened.too_large()
        batches.append(batch)
    return batches
