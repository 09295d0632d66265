"""Load weights from a local file into a model, without running code of a pickle."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from cipherlens.data.run_files import PUBLISHED
from cipherlens.errors import DataError, UsageError
from cipherlens.models.adaptation.network import AdaptedModel, list_heads

PICKLE_SUFFIXES = (".pth", ".pt")


def read_weights(path: Path | str) -> dict[str, Tensor]:
    """Tensors by name from a ``.safetensors`` or (weights only) ``.pth``/``.pt`` file, on the CPU.

    Of a folder, as timm and the Hugging Face hub have them, ``model.safetensors`` is read. Checkpoints with the
    tensors under ``state_dict`` or ``model``, or with a ``module.`` prefix, are unwrapped. Raises UsageError for
    another suffix, DataError for a missing or damaged file.
    """
    path = Path(path)
    if path.is_dir():
        path /= PUBLISHED
    if path.suffix != ".safetensors" and path.suffix not in PICKLE_SUFFIXES:
        raise UsageError(f"cannot read weights from {path.name}", hint="give a .safetensors or .pth file")
    try:
        loaded: Any = load_file(path) if path.suffix == ".safetensors" else _read_pickled(path)
    except (OSError, EOFError, RuntimeError, SafetensorError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"cannot read weights {path}: {reason}", hint="the file is missing, damaged or holds more than tensors"
        ) from error
    tensors = {str(name).removeprefix("module."): value for name, value in _unwrap(loaded).items()}
    strays = [name for name, value in tensors.items() if not isinstance(value, Tensor)]
    if strays:
        raise DataError(f"{path} holds entries that are not tensors: {_name_some(strays)}")
    return tensors


def _read_pickled(path: Path) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True)


def _unwrap(loaded: Any) -> Mapping[Any, Any]:
    if isinstance(loaded, Mapping):
        for wrapper in ("state_dict", "model"):
            if isinstance(loaded.get(wrapper), Mapping):
                return _unwrap(loaded[wrapper])
        return loaded
    raise DataError(f"weights file holds a {type(loaded).__name__}, not tensors by name")


def load_weights(model: nn.Module, path: Path | str) -> None:
    """Load a weights file into ``model`` in place.

    A file without ``adapt.*`` tensors is loaded into the backbone of an adapted model. Where the file has another
    number of classes, the model keeps its new classifier. If all names differ, tensors of the same network are
    matched by position. Raises DataError, naming the tensors, for any other file that does not fit.
    """
    weights = read_weights(path)
    target = model
    if isinstance(model, AdaptedModel) and not any(name.startswith("adapt.") for name in weights):
        target = model.backbone
    expected = target.state_dict()
    weights = _rename_in_order(target, expected, weights)
    for name in _find_other_heads(target, expected, weights):
        weights[name] = expected[name]
    problems = describe_mismatch(expected, weights)
    if problems:
        raise DataError(
            f"{Path(path).name} does not fit the model: {problems}",
            hint="name the model these weights were trained for (same model, adapt_block, small_stem, channels)",
        )
    target.load_state_dict(weights)


def _rename_in_order(
    target: nn.Module, expected: Mapping[str, Tensor], found: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Rename tensors by position where all names differ, and all shapes except the head's agree."""
    if set(expected) & set(found) or len(expected) != len(found):
        return found
    renamed = dict(zip(expected, found.values(), strict=True))
    heads = _find_other_heads(target, expected, renamed)
    # The vectors of a layer have one shape; the last part of the name (weight, bias, ...) distinguishes them.
    kinds = all(a.rpartition(".")[2] == b.rpartition(".")[2] for a, b in zip(expected, found, strict=True))
    same = all(renamed[name].shape == tensor.shape for name, tensor in expected.items() if name not in heads)
    return renamed if same and kinds else found


def describe_mismatch(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    """Text on the tensors of ``found`` that differ from ``expected`` in name or shape; empty if none does."""
    missing = [name for name in expected if name not in found]
    surplus = [name for name in found if name not in expected]
    shapes = [
        f"{name} (file {tuple(found[name].shape)}, model {tuple(tensor.shape)})"
        for name, tensor in expected.items()
        if name in found and found[name].shape != tensor.shape
    ]
    kinds = {"missing": missing, "unexpected": surplus, "other shape": shapes}
    return "; ".join(f"{kind}: {_name_some(names)}" for kind, names in kinds.items() if names)


def _find_other_heads(target: nn.Module, expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    """Names of the classifier's tensors whose first dimension, the number of classes, differs."""
    backbone = target.backbone if isinstance(target, AdaptedModel) else target
    prefix = "backbone." if isinstance(target, AdaptedModel) else ""
    starts = tuple(f"{prefix}{head}." for head in list_heads(backbone))
    return [
        name
        for name in expected
        if name.startswith(starts) and name in found and found[name].shape[:1] != expected[name].shape[:1]
    ]


def _name_some(names: list[str], limit: int = 5) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
