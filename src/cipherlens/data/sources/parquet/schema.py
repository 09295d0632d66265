"""What a Parquet file's schema says of its classes, in the Hugging Face layout; it may say anything."""

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.data.sources.checks import MAX_CLASSES
from cipherlens.errors import DataError

HINT = "write the file again"


def is_masked(schema: Any, label: str) -> bool:
    """Whether masks are the targets: the schema names their classes, or there are no labels."""
    return "mask" in schema.names and (label not in schema.names or b"classes" in (schema.metadata or {}))


def _read_metadata(metadata: dict[bytes, bytes], name: bytes, default: Any) -> Any:
    try:
        return json.loads(metadata[name]) if name in metadata else default
    except (ValueError, RecursionError):
        raise DataError(f"the Parquet schema's {name.decode()} is not JSON", hint=HINT) from None


def read_ignored(metadata: dict[bytes, bytes]) -> int | None:
    """The class of a mask that is ignored. Raises DataError where it is no number."""
    ignored = _read_metadata(metadata, b"ignore_index", None)
    if ignored is not None and type(ignored) is not int:
        raise DataError("the Parquet schema's ignore_index is no whole number", hint=HINT)
    return ignored


def name_mask_classes(metadata: dict[bytes, bytes], ignored: int | None) -> tuple[Any, ...]:
    """Class names of masks. Raises DataError where there are none."""
    names = _read_metadata(metadata, b"classes", [])
    if not isinstance(names, list) or not names:
        raise DataError(
            "the Parquet schema does not name the classes of its masks",
            hint='write them into its metadata: classes = ["sky", ...], and ignore_index = N where there is one',
        )
    # An ignored last class needs no output.
    return tuple(names[:-1] if ignored == len(names) - 1 else names)


def name_label_classes(metadata: dict[bytes, bytes], label: str) -> tuple[Any, ...]:
    """Class names of labels; empty where the metadata have none."""
    found = _read_metadata(metadata, b"huggingface", {})
    for name in ("info", "features", label, "names"):
        if not isinstance(found, dict):
            raise DataError(f"the Parquet schema's huggingface has no {name!r} where it belongs", hint=HINT)
        found = found.get(name, [] if name == "names" else {})
    if not isinstance(found, list):
        raise DataError("the Parquet schema's class names are no list", hint=HINT)
    return tuple(found)


def number_classes(labels: dict[str, NDArray[np.int64]]) -> tuple[str, ...]:
    """Numbers as class names, where the classes have no names."""
    highest = max((int(part.max(initial=-1)) for part in labels.values()), default=-1)
    if highest >= MAX_CLASSES:
        raise DataError(
            f"there is a label {highest:,}, and at most {MAX_CLASSES:,} classes", hint="number them from 0 on"
        )
    return tuple(str(label) for label in range(highest + 1))
