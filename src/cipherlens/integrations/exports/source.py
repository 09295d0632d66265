"""What is exported: a module from stored images to logits, its facts, and where in it a key can be read."""

import copy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from cipherlens.ciphers.structure import Shape
from cipherlens.errors import UsageError
from cipherlens.holders import CLIENT, FIELD, PROVIDER
from cipherlens.keyed import LockedModel
from cipherlens.keyed.fold import get_folded_key
from cipherlens.keyed.operators import KeyedOperator
from cipherlens.keys import Key
from cipherlens.training.engine.loop import Forward
from cipherlens.training.run.load import Run, open_run

TABLES = "the key's tables between its layers"
FIRST_LAYER = "the key in its first layer, for whoever has the plain model too"
FRONT_END = "a front end that decrypts"


@dataclass(frozen=True)
class Source:
    """``module`` takes images of ``shape`` (C, H, W) and ``dtype``. ``secrets`` say where it holds the key."""

    module: nn.Module
    shape: Shape
    dtype: str
    facts: dict[str, Any]
    secrets: tuple[str, ...]

    def draw(self, count: int) -> Tensor:
        """Random images to trace and compare with, always the same."""
        generator = torch.Generator().manual_seed(count)
        if self.dtype == "uint8":
            return torch.randint(0, 256, (count, *self.shape), generator=generator, dtype=torch.uint8)
        return torch.rand(count, *self.shape, generator=generator)

    @property
    def weights(self) -> nn.Module:
        """The module whose parameters have the model's own names."""
        return self.module.model if isinstance(self.module, StoredImages) else self.module

    def describe(self, secrets: tuple[str, ...]) -> dict[str, Any]:
        """The metadata of a file that holds ``secrets``. A folded model is made to be given to a provider."""
        holder = CLIENT if set(secrets) - {FIRST_LAYER} else PROVIDER
        stored = {"shape": list(self.shape), "dtype": self.dtype}
        return self.facts | stored | {"contains_key": bool(secrets), FIELD: holder}


class StoredImages(nn.Module):
    """A run's model in front of which its normalisation stands; in float32."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.model = _copy(run.model)
        self._forward = Forward(self.model, run.normalization, torch.device("cpu"), "float32", run.config.views)

    def forward(self, images: Tensor) -> Tensor:
        """Stored images (N, C, H, W) -> logits (N, classes), or (N, classes, H, W)."""
        return self._forward(images)


def find_source(
    model: nn.Module | Run | Path | str, key: Key | None, weights: Literal["best", "last"], shape: Shape | None
) -> Source:
    """The source that a caller names: a module, a loaded run, or a run folder.

    Raises KeyFailureError for a locked run without its key, UsageError for a module whose shape is not given.
    """
    if isinstance(model, nn.Module):
        if shape is None:
            raise UsageError("a module does not say what it takes", hint="give shape=(channels, height, width)")
        return Source(_copy(model), shape, "float32", _name_key(model), _find_secrets(model))
    if not isinstance(model, Run):
        model = open_run(Path(model), weights, key)[0]
    secrets = _find_secrets(model.model) + (FRONT_END,) * model.config.can_decrypt
    return Source(StoredImages(model).eval(), model.shape, model.dtype, _describe_run(model), secrets)


def _copy(model: nn.Module) -> nn.Module:
    """The model as it is exported; the caller's stays where, and as, it is."""
    return copy.deepcopy(model).cpu().float().eval()


def _find_secrets(model: nn.Module) -> tuple[str, ...]:
    locked = any(isinstance(part, KeyedOperator) for part in model.modules())
    return (TABLES,) * locked + (FIRST_LAYER,) * (get_folded_key(model) is not None)


def _name_key(model: nn.Module) -> dict[str, Any]:
    fingerprint = model.fingerprint if isinstance(model, LockedModel) else get_folded_key(model)
    return {} if fingerprint is None else {"key_fingerprint": fingerprint}


def _describe_run(run: Run) -> dict[str, Any]:
    named = ("cipher", "params", "key_fingerprint", "plain_shape", "padded_shape", "size", "pad", "window")
    found = {name: run.provenance[name] for name in named if name in run.provenance}
    facts = {"model": run.config.model, "classes": list(run.classes), "normalization": run.normalization.to_json()}
    more: dict[str, Any] = {"masked": True} if run.masked else {}
    if run.statistics is not None:
        more["statistics"] = asdict(run.statistics)
    return facts | found | more
