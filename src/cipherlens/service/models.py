"""Models that are served: runs, and ONNX files that ``cipherlens export`` has written."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from cipherlens.data.sealed.spec import CipherSpec
from cipherlens.data.statistics import Statistics
from cipherlens.errors import CipherlensError, DataError, UsageError
from cipherlens.keys import Key
from cipherlens.schema import parse
from cipherlens.service.batching import Compute
from cipherlens.service.contract import Contract
from cipherlens.training.run.load import Run, find_weights, open_run
from cipherlens.training.run.record import read_record

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True)
class ServedModel:
    """A model with its facts."""

    contract: Contract
    compute: Compute


def open_models(
    places: Sequence[str],
    key: Key | None = None,
    weights: Literal["best", "last"] = "last",
    threads: int = 0,
) -> dict[str, ServedModel]:
    """The models of ``[NAME=]PATH``, by name (by default that of the file): run folders, or .onnx files.

    ``key`` is for locked runs, which need it. ``threads``: those of the model of an ONNX file; 0 for all. Raises
    UsageError for a name that is given twice, or a run for several keys; KeyFailureError for a locked run without
    its key; DataError where nothing can be read.
    """
    found: dict[str, ServedModel] = {}
    for place in places:
        name, path = _read_place(place)
        if name in found or not _NAME.fullmatch(name):
            raise UsageError(f"{name!r} names two models, or none", hint="name them: NAME=PATH")
        found[name] = (
            _open_onnx(name, path, threads) if path.suffix == ".onnx" else _open_run(name, path, key, weights)
        )
    return found


def _read_place(place: str) -> tuple[str, Path]:
    name, given, rest = place.partition("=")
    path = Path(place).resolve()
    if given and not path.exists():
        return name, Path(rest)
    return path.stem if path.suffix == ".onnx" else path.name, path


def _open_run(name: str, path: Path, key: Key | None, weights: Literal["best", "last"]) -> ServedModel:
    record = read_record(path)
    if record.owners:
        hint = "export one of them: cipherlens export RUN --key KEYFILE --out MODEL.onnx"
        raise UsageError(f"{path} is for images under several keys", hint=hint)
    run, _ = open_run(path, weights, key if record.config.lock is not None else None)
    try:
        scheme = CipherSpec.from_json(run.provenance).to_json()
    except DataError:  # a run of arrays: nobody says how they were sealed
        scheme = {}
    digest = hashlib.sha256(find_weights(path, weights).read_bytes()).hexdigest()
    facts = (scheme, run.masked, record.statistics, digest)
    return ServedModel(Contract(name, run.shape, run.dtype, run.classes, *facts), _Forward(run))


@dataclass(frozen=True)
class _Forward:
    run: Run

    def __call__(self, images: NDArray[Any]) -> NDArray[np.float32]:
        with torch.inference_mode():
            batch = torch.from_numpy(np.array(images)).to(self.run.device)  # a copy: what came in is read-only
            logits: NDArray[np.float32] = self.run.forward(batch).cpu().numpy()
        return logits


def _open_onnx(name: str, path: Path, threads: int) -> ServedModel:
    try:
        import onnxruntime
    except ImportError:
        raise UsageError("ONNX files need onnxruntime", hint="pip install 'cipherlens[onnx]'") from None
    try:
        content = path.read_bytes()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        facts = {field: _parse(value) for field, value in session.get_modelmeta().custom_metadata_map.items()}
        channels, height, width = (int(side) for side in facts["shape"])
        shape, classes = (channels, height, width), tuple(map(str, facts.get("classes", ())))
        statistics = parse(facts["statistics"], Statistics) if "statistics" in facts else None
        more = (_list_scheme(facts), bool(facts.get("masked")), statistics, hashlib.sha256(content).hexdigest())
        contract = Contract(name, shape, str(facts["dtype"]), classes, *more, platform="onnx")
        contract.describe(1)
    except CipherlensError:
        raise
    except Exception as error:  # onnxruntime raises many kinds
        hint = "give a file that cipherlens export has written"
        raise DataError(f"{path} is no model to serve: {error}", hint=hint) from None
    inputs, outputs = session.get_inputs(), session.get_outputs()
    return ServedModel(
        contract, lambda images: np.asarray(session.run([outputs[0].name], {inputs[0].name: images})[0], np.float32)
    )


def _list_scheme(facts: dict[str, Any]) -> dict[str, Any]:
    named = ("cipher", "params", "key_fingerprint", "plain_shape", "padded_shape", "size", "pad", "window")
    return {name: facts[name] for name in named if name in facts}


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
