"""Of many Parquet files, only some stay in memory."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cipherlens.data.sources.parquet import source as parquet
from cipherlens.data.sources.parquet.source import ParquetSource


def encode(value: int) -> bytes:
    content = io.BytesIO()
    Image.new("L", (8, 8), value).save(content, "PNG")
    return content.getvalue()


@pytest.mark.parametrize("kept", [1, 1 << 30])
def test_files_are_read_as_they_are_needed(kept: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, first = (3, 5, 1), 0
    for number, size in enumerate(sizes):
        table = pa.table({"image": [encode(first + row) for row in range(size)], "label": [0] * size})
        pq.write_table(table, tmp_path / f"train-{number}.parquet")
        first += size
    monkeypatch.setattr(parquet, "KEPT_BYTES", kept)
    monkeypatch.setattr(parquet, "_kept", parquet._Kept())
    opened = []
    read = parquet._read_images
    monkeypatch.setattr(parquet, "_read_images", lambda path, *rest: opened.append(path.name) or read(path, *rest))
    source = ParquetSource(tuple(sorted(tmp_path.glob("*.parquet"))))
    order = np.random.default_rng(0).permutation(9)
    values = [int(item.decode()[0, 0, 0]) for item in source.read("train", order)]
    assert values == order.tolist()
    assert opened == ["train-0.parquet", "train-1.parquet", "train-2.parquet"]
    source.read("train", [8])
    assert len(opened) == 3  # the last file stays
    source.read("train", [1])
    assert len(opened) == (4 if kept == 1 else 3)
