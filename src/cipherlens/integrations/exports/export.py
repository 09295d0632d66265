"""``cl.export``: a model or run as a file of another tool, compared with the original before it is written."""

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from cipherlens.ciphers.structure import Shape
from cipherlens.errors import CipherlensError, UsageError, unknown_name
from cipherlens.files import write_new
from cipherlens.integrations.exports.formats import FORMATS, SUFFIXES
from cipherlens.integrations.exports.source import TABLES, Source, find_source
from cipherlens.keyed.operators import KeyExportWarning
from cipherlens.keys import Key
from cipherlens.keys.keyfile import write_secret
from cipherlens.training.run.load import Run

MARK = "contains-key"
"""Part of the name of a file in which a key can be read."""
_BATCHES = (1, 3)
"""Numbers of images with which a file is compared with the original; it was traced with another."""
TOLERANCE = 1e-4
"""Largest difference of logits, relative to the largest of them, as for locked models."""


@dataclass(frozen=True)
class Exported:
    """A file: its path, what of a key it holds, and its error (None: weights alone)."""

    path: Path
    secrets: tuple[str, ...]
    relative_error: float | None

    @property
    def contains_key(self) -> bool:
        """Whether a key can be read in the file."""
        return bool(self.secrets)


def export(
    model: nn.Module | Run | Path | str,
    path: Path | str,
    *,
    format: Literal["onnx", "torch-export", "safetensors"] = "onnx",
    contains_key: bool = False,
    key: Key | None = None,
    weights: Literal["best", "last"] = "best",
    shape: Shape | None = None,
) -> Exported:
    """Write a module, a run or a run folder for other tools; any batch size, float32.

    A run takes images as they are stored (uint8 or float32), a module floats of ``shape`` (C, H, W). Metadata name
    cipher, parameters, key fingerprint, shape, dtype and classes. ``safetensors`` holds the weights alone.

    A file in which the key can be read (a locked model's tables, a folded first layer, a front end that decrypts)
    is written only with ``contains_key``. Then ``contains-key`` is part of its name, and only its owner can read
    it. ``key`` is for locked runs, and for those of several owners. TorchScript is not supported.

    Raises UsageError for a key without consent, an existing file or a missing package, KeyFailureError for a locked
    run without its key, CipherlensError where the file computes something else than the model. Weights that were
    copied by hand out of a folded run into another model are not recognised.
    """
    if format not in FORMATS:
        raise unknown_name("format", format, FORMATS)
    source = find_source(model, key, weights, shape)
    secrets = tuple(secret for secret in source.secrets if format != "safetensors" or secret != TABLES)
    if secrets and not contains_key:
        raise UsageError(
            f"the file would hold {' and '.join(secrets)}",
            hint="agree to that, or export the plain model",
            parameters=("contains_key",),
        )
    out = _choose_path(Path(path), format, bool(secrets))
    if os.path.lexists(out):
        raise UsageError(f"{out} exists already", hint="choose another name")
    if not out.parent.is_dir():
        raise UsageError(f"there is no folder {out.parent}", hint="make it first, or choose another place")
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore", KeyExportWarning)
        content, run = FORMATS[format](source, source.describe(secrets))
        error = None if run is None else max(_compare(source, run, count) for count in _BATCHES)
    if error is not None and not error <= TOLERANCE:
        raise CipherlensError(
            f"the exported model's logits differ by {error:.1e} of the largest; nothing was written",
            hint="export it in another format",
        )
    write_secret(out, content) if secrets else write_new(out, content)
    return Exported(out, secrets, error)


def _choose_path(path: Path, format: str, secret: bool) -> Path:
    suffix = SUFFIXES[format]
    if path.suffix != suffix:
        raise UsageError(f"{path.name} does not end in {suffix}", hint=f"name it {path.stem}{suffix}")
    return path.with_name(f"{path.stem}.{MARK}{path.suffix}") if secret and MARK not in path.stem else path


def _compare(source: Source, run: object, count: int) -> float:
    images = source.draw(count)
    wanted = source.module(images)
    found = run(images)  # type: ignore[operator]
    return float((found - wanted).abs().max() / wanted.abs().max().clamp(min=1e-12))
