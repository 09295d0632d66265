"""Small Parquet files in the Hugging Face layout, right and wrong."""

import io
import json
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.security.fuzz.mutate_json import NUMBERS, STRINGS, mutate_json, to_text
from tests.security.fuzz.seeds_images import make_images

NAMES = b"huggingface"

_LONGEST = 16_000_000
"""Bytes of metadata, which one mutation may repeat thousands of times."""


def make_parquet(rng: Random, hostile: bool, kind: str = "named") -> bytes:
    """Four images with labels (or masks); ``hostile``: with one column or the metadata not as it should be."""
    images = make_images()
    pixels = [images["PNG RGB"], images["JPEG RGB"], images["BMP RGB"], images["PNG RGB"]]
    columns: dict[str, Any] = {
        "image": pa.array([{"bytes": content, "path": f"{i}.png"} for i, content in enumerate(pixels)]),
        "label": pa.array([0, 1, 0, 1], pa.int64()),
    }
    features = {
        "info": {
            "features": {"image": {"_type": "Image"}, "label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}
        }
    }
    metadata: dict[bytes, bytes] = {NAMES: json.dumps(features).encode()} if kind == "named" else {}
    if kind == "masked":
        columns["mask"] = pa.array([{"bytes": images["PNG L"], "path": None}] * 4)
        del columns["label"]
        metadata = {b"classes": json.dumps([f"c{i}" for i in range(256)]).encode(), b"ignore_index": b"255"}
    if hostile:
        _spoil(rng, columns, metadata)
    table = pa.table(columns).replace_schema_metadata(metadata)
    sink = io.BytesIO()
    pq.write_table(
        table, sink, compression=rng.choice(("none", "snappy", "zstd")), row_group_size=rng.choice((2, 100))
    )
    return sink.getvalue()


def _spoil(rng: Random, columns: dict[str, Any], metadata: dict[bytes, bytes]) -> None:
    if metadata and rng.random() < 0.5:
        name = rng.choice(list(metadata))
        value = json.loads(metadata[name])
        text = to_text(rng, mutate_json(rng, value)[0]) if isinstance(value, dict | list) else ""
        metadata[name] = text.encode()[:_LONGEST]
        if rng.random() < 0.2:
            metadata[name] = rng.choice(
                (b"", b"[]", b"5", b'"x"', b"\xff", b"[" * 9000, b"null", b"{}", b"-1", b"300", b"NaN")
            )
        return
    name = rng.choice(list(columns))
    while True:
        try:
            columns[name] = rng.choice(_IMAGES if name != "label" else _LABELS)(rng)
            return
        except (pa.ArrowException, OverflowError, TypeError, ValueError):
            continue


_LABELS = (
    lambda rng: pa.array([rng.choice(STRINGS[:8]) for _ in range(4)]),
    lambda rng: pa.array([0, None, 1, 0], pa.int64()),
    lambda rng: pa.nulls(4),
    lambda rng: pa.array([rng.choice(NUMBERS[:13]) for _ in range(4)], pa.int64()),
    lambda rng: pa.array([0, 1, 2, rng.choice((-1, -5, 10**6, 2**62))], pa.int64()),
    lambda rng: pa.array([0.0, 1.5, float("nan"), float("inf")]),
    lambda rng: pa.array([[0], [1, 2], [], None]),
    lambda rng: pa.array([0, 1, 2, 2**64 - 1], pa.uint64()),
    lambda rng: pa.array([True, False, None, True]),
    lambda rng: pa.array(["a", "b", "a", "b"]).dictionary_encode(),
    lambda rng: pa.array([0, 1, 0, 1], pa.timestamp("s")),
    lambda rng: pa.array([{"a": 1}] * 4),
)
_IMAGES = (
    lambda rng: pa.array(["x", None, "y", "z"]),
    lambda rng: pa.array([1, 2, 3, 4]),
    lambda rng: pa.nulls(4),
    lambda rng: pa.array([{"path": "x"}] * 4),
    lambda rng: pa.array([{"bytes": "text", "path": "../x"}] * 4),
    lambda rng: pa.array([{"bytes": None, "path": "/etc/passwd"}, None, {"bytes": b"", "path": ""}, None]),
    lambda rng: pa.array([{"bytes": [1, 2]}] * 4),
    lambda rng: pa.array([make_images()["PNG RGB"]] * 4),
    lambda rng: pa.array([[make_images()["PNG RGB"]]] * 4),
    lambda rng: pa.array([make_images()["GIF RGB"]] * 4).dictionary_encode(),
    lambda rng: pa.array([make_images()["PNG RGB"].ljust(3000)] * 4, pa.binary(3000)),
    lambda rng: pa.array([make_images()["PNG RGB"]] * 4, pa.large_binary()),
)
