"""Parquet files as a source."""

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cipherlens.data.images import IGNORED, Item
from cipherlens.data.source_folder import SPLIT_NAMES
from cipherlens.errors import DataError


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
