"""The checkpoint from which a run continues, and tensor files of runs."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, contiguous_format, nn

from cipherlens.errors import DataError
from cipherlens.files import write_atomic
from cipherlens.models.weights import describe_mismatch
from cipherlens.untrusted import describe, read_json, read_untrusted

STATE = "state.json"
TENSORS_LIMIT = 64 << 30
"""Maximum bytes of a file of weights. A limit on memory."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Weights, optimizer state, and a JSON object with the run's history."""

    weights: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    state: dict[str, Any]


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors by name as safetensors, atomically."""
    plain = {name: value.detach().cpu().clone(memory_format=contiguous_format) for name, value in tensors.items()}
    write_atomic(path, save(plain, {"format": "pt"}))


def load_tensors(path: Path, folder: Path | None = None) -> dict[str, Tensor]:
    """Read a safetensors file of a run (``folder``, by default the file's own). Raises DataError if it is damaged.

    The file is read, not mapped, because truncating a mapped file would kill the process.
    """
    try:
        tensors: dict[str, Tensor] = load(read_untrusted(path, TENSORS_LIMIT, folder or path.parent))
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise DataError(
            f"cannot read {path}: {describe(error)}", hint="the run folder is damaged or incomplete"
        ) from error
    return tensors


def check_weights(model: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Raise DataError, naming the tensors, where ``source`` does not fit the model."""
    problems = describe_mismatch(model.state_dict(), weights)
    if problems:
        raise DataError(f"{source} does not fit the model of the run: {problems}", hint="the run folder is damaged")


def load_into(model: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Load all weights of a run. Raises DataError, naming the tensors, where ``source`` does not fit the model."""
    check_weights(model, weights, source)
    model.load_state_dict(weights)


def save_checkpoint(folder: Path, name: str, checkpoint: Checkpoint) -> None:
    """Store a checkpoint whose tensor files start with ``name``, which no earlier checkpoint had.

    ``state.json`` names the files. Its atomic replacement makes all of them current together.
    """
    folder.mkdir(exist_ok=True)
    files = {"weights": f"{name}.weights.safetensors", "optimizer": f"{name}.optimizer.safetensors"}
    save_tensors(folder / files["weights"], checkpoint.weights)
    save_tensors(folder / files["optimizer"], checkpoint.optimizer)
    state = {"files": files, **checkpoint.state}
    write_atomic(folder / STATE, json.dumps(state, indent=1).encode())
    for old in folder.glob("*.safetensors"):
        if old.name not in files.values():
            old.unlink()


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """The current checkpoint, or None where there is none yet. Raises DataError if it is damaged."""
    if not (folder / STATE).exists():
        return None
    state = read_run_json(folder / STATE)
    try:
        weights, optimizer = (folder / _require_name(state["files"][kind]) for kind in ("weights", "optimizer"))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{folder / STATE} does not name its files", hint="the run folder is damaged") from error
    return Checkpoint(load_tensors(weights), load_tensors(optimizer), state)


def _require_name(name: str) -> str:
    if Path(name).name != name:
        raise ValueError(f"a file outside of the checkpoint: {name}")
    return name


def read_run_json(path: Path) -> dict[str, Any]:
    """A JSON object from a run's file. Raises DataError if it is missing or damaged."""
    return read_json(path, path.parent, "is this a run folder? it may be damaged")
