"""A model repository for Triton and KServe: an ONNX file, and config.pbtxt."""

import json
from pathlib import Path
from typing import Any, Literal

from cipherlens.data.partial import move_into_place, partial_folder, require_empty
from cipherlens.errors import UsageError
from cipherlens.inference import IMAGES, LOGITS
from cipherlens.integrations.exports.export import Exported, export
from cipherlens.integrations.exports.source import find_source
from cipherlens.keys import Key
from cipherlens.training.run.load import Run

_TYPES = {"uint8": "TYPE_UINT8", "float32": "TYPE_FP32"}
_BATCH, _WAIT_MICROSECONDS = 64, 2000
"""Images that Triton computes at once, and how long the first waits. Chosen by hand."""


def export_repository(
    run: Run | Path | str,
    out: Path | str,
    *,
    name: str = "model",
    contains_key: bool = False,
    key: Key | None = None,
    weights: Literal["best", "last"] = "best",
) -> Exported:
    """Write the new folder ``out`` with the model ``name``: ``NAME/config.pbtxt``, ``NAME/1/model.onnx``.

    The rest is as of :func:`export`: consent, comparison, errors. Raises UsageError where ``out`` is not empty.
    """
    out = Path(out)
    require_empty(out)
    if not name.replace("-", "").replace("_", "").isalnum():
        raise UsageError(f"{name!r} is no name for a model", hint="take letters, digits, - and _")
    source = find_source(run, key, weights, None)
    with partial_folder(out) as partial:
        version = partial / "repository" / name / "1"
        version.mkdir(parents=True)
        done = export(run, version / "model.onnx", contains_key=contains_key, key=key, weights=weights)
        facts = source.describe(done.secrets)
        config = _write_config(name, done.path.name, source.shape, source.dtype, facts)
        (version.parent / "config.pbtxt").write_text(config)
        if done.contains_key:
            (partial / "repository").chmod(0o700)
        move_into_place(partial / "repository", out)
    return Exported(out / name / "1" / done.path.name, done.secrets, done.relative_error)


def _write_config(name: str, file: str, shape: tuple[int, ...], dtype: str, facts: dict[str, Any]) -> str:
    """The configuration in protobuf's text form. A segmentation gives logits (classes, H, W)."""
    classes = len(facts["classes"])
    dims = [classes, *shape[1:]] if facts.get("masked") else [classes]
    described = json.dumps(json.dumps(facts))  # a JSON string is one of protobuf's text form, too
    return (
        f'name: "{name}"\nplatform: "onnxruntime_onnx"\ndefault_model_filename: "{file}"\n'
        f"max_batch_size: {_BATCH}\n"
        f'input [{{ name: "{IMAGES}" data_type: {_TYPES[dtype]} dims: {list(shape)} }}]\n'
        f'output [{{ name: "{LOGITS}" data_type: TYPE_FP32 dims: {dims} }}]\n'
        f"dynamic_batching {{ max_queue_delay_microseconds: {_WAIT_MICROSECONDS} }}\n"
        f'parameters {{ key: "cipherlens" value {{ string_value: {described} }} }}\n'
    )
