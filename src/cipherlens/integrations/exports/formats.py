"""The formats of exported models: bytes of a file, and the same model run from these bytes."""

import io
import json
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, fx

from cipherlens.errors import UsageError
from cipherlens.inference import IMAGES, LOGITS
from cipherlens.integrations.exports.source import Source

Written = tuple[bytes, Callable[[Tensor], Tensor] | None]
"""The bytes, and a function that runs the model in them (None: a format that cannot be run)."""
_EXAMPLE = 2
"""Images with which a model is traced: one alone would be taken for a constant."""
BATCH = "batch"
FACTS = "cipherlens.json"


def write_onnx(source: Source, facts: dict[str, Any]) -> Written:
    """ONNX, any batch size; facts are its metadata. Raises UsageError where the packages for it are missing."""
    try:
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"ONNX files need the package {error.name}", hint="pip install 'cipherlens[onnx]'"
        ) from None
    with redirect_stdout(sys.stderr):  # some versions of the exporter print what they do
        program = torch.onnx.export(
            source.module,
            (source.draw(_EXAMPLE),),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim(BATCH)},),
            input_names=[IMAGES],
            output_names=[LOGITS],
            verbose=False,
        )
    assert program is not None
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()  # it names files of this machine
    program.model.metadata_props.update({name: _to_text(value) for name, value in facts.items()})
    content = program.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return content, lambda images: torch.from_numpy(session.run(None, {IMAGES: images.numpy()})[0])


def write_torch_export(source: Source, facts: dict[str, Any]) -> Written:
    """A program of torch.export, any batch size; facts are in its extra file ``cipherlens.json``."""
    program = torch.export.export(
        source.module, (source.draw(_EXAMPLE),), dynamic_shapes=({0: torch.export.Dim(BATCH)},)
    )
    graphs = [part.graph for part in program.graph_module.modules() if isinstance(part, fx.GraphModule)]
    for node in (node for graph in graphs for node in graph.nodes):
        node.meta.pop("stack_trace", None)  # it names files of this machine
    content = io.BytesIO()
    torch.export.save(program, content, extra_files={FACTS: json.dumps(facts)})
    content.seek(0)
    module = torch.export.load(content).module()
    return content.getvalue(), module


def write_safetensors(source: Source, facts: dict[str, Any]) -> Written:
    """The weights alone, by their names; facts are its metadata."""
    tensors = {name: tensor.clone().contiguous() for name, tensor in source.weights.state_dict().items()}
    return save(tensors, {name: _to_text(value) for name, value in facts.items()}), None


def _to_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


FORMATS: dict[str, Callable[[Source, dict[str, Any]], Written]] = {
    "onnx": write_onnx,
    "torch-export": write_torch_export,
    "safetensors": write_safetensors,
}
SUFFIXES = {"onnx": ".onnx", "torch-export": ".pt2", "safetensors": ".safetensors"}
