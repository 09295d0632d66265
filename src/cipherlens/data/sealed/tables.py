"""Shards as Arrow tables with the features of Hugging Face's ``datasets``; no package but pyarrow makes them."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cipherlens.data.sealed.spec import DatasetSpec
from cipherlens.data.sources.base import ALL
from cipherlens.errors import UsageError
from cipherlens.holders import FIELD

Tensors = Mapping[str, NDArray[Any]]
FACTS = b"cipherlens"
"""Where a table's metadata say how the images were encrypted."""
_TENSORS = {"image": "images", "mask": "masks", "label": "labels", "index": "index"}
"""The tensors of a shard, by the names of columns."""


def describe_facts(spec: DatasetSpec) -> dict[str, Any]:
    """What everybody may know of a sealed data set, and who may hold it."""
    own = {"id": spec.id, "shape": list(spec.ct_shape), "dtype": spec.ct_dtype, "classes": list(spec.classes)}
    return spec.to_json() | own | {FIELD: spec.holder}


def name_split(split: str) -> str:
    """The name of a split for other tools: in ``datasets``, "all" means every split, and a lone one is train."""
    return "train" if split == ALL else split


def make_table(tensors: Tensors, spec: DatasetSpec) -> Any:
    """The images of a shard as a ``pyarrow.Table``: image (C, H, W), label or mask (H, W), index.

    The values are views of ``tensors``. ``index`` is an image's position in the client's source.
    """
    features = _list_features(spec)
    arrays = [_to_arrow(tensors[_TENSORS[name]]) for name in features]
    fields = [_name_field(name, array.type, features[name]) for name, array in zip(features, arrays, strict=True)]
    metadata = {b"huggingface": {"info": {"features": features}}, FACTS: describe_facts(spec)}
    schema = pa.schema(fields, {name: json.dumps(facts) for name, facts in metadata.items()})
    return pa.Table.from_arrays(arrays, schema=schema)


def _list_features(spec: DatasetSpec) -> dict[str, Any]:
    """The columns as ``datasets`` describes them."""
    features: dict[str, Any] = {"image": {"shape": list(spec.ct_shape), "dtype": spec.ct_dtype, "_type": "Array3D"}}
    if spec.masked:
        features["mask"] = {"shape": list(spec.ct_shape[1:]), "dtype": "uint8", "_type": "Array2D"}
    elif spec.classes:
        features["label"] = {"names": list(spec.classes), "_type": "ClassLabel"}
    return features | {"index": {"dtype": "int64", "_type": "Value"}}


def _name_field(name: str, kind: Any, feature: dict[str, Any]) -> Any:
    """A field that ``datasets`` reads back as an array: as the extension type that it would write itself."""
    if "shape" not in feature:
        return pa.field(name, kind)
    extension = {
        "ARROW:extension:name": f"datasets.features.features.{feature['_type']}ExtensionType",
        "ARROW:extension:metadata": json.dumps([feature["shape"], feature["dtype"]]),
    }
    return pa.field(name, kind, metadata=extension)


def _to_arrow(array: NDArray[Any]) -> Any:
    """An array (N, ...) as nested lists, which is how ``datasets`` stores it; a view of the values."""
    values = pa.array(array.reshape(-1))
    for length in reversed(array.shape[1:]):
        values = pa.ListArray.from_arrays(pa.array(np.arange(0, len(values) + 1, length, dtype=np.int32)), values)
    return values


def to_hf(splits: Mapping[str, Iterable[Tensors]], spec: DatasetSpec) -> Any:
    """A ``datasets.DatasetDict`` in memory, of the shards of each split. Raises UsageError without ``datasets``."""
    try:
        from datasets import Dataset, DatasetDict, Features
    except ImportError:
        raise UsageError("this needs the package datasets", hint="pip install 'cipherlens[hf]'") from None
    found = {}
    for split, shards in splits.items():
        tables = [make_table(tensors, spec) for tensors in shards]
        if tables:
            table = pa.concat_tables(tables)
            features = Features.from_dict(_list_features(spec))
            found[name_split(split)] = Dataset(table.cast(features.arrow_schema)).with_format("numpy")
    return DatasetDict(found)
