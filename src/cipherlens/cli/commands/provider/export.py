"""``cipherlens export`` and ``export-data``: trained models and sealed data sets for other tools."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from cipherlens.cli.console import emit, progress_bar, say
from cipherlens.cli.options.keys import GivenKey
from cipherlens.cli.options.types import KEY, Flag, Json, SealedSet


def export(
    run: Path,
    /,
    *,
    out: Path,
    format: Literal["onnx", "torch-export", "safetensors", "triton"] = "onnx",
    weights: Literal["best", "last"] = "best",
    keys: GivenKey = GivenKey(),
    contains_key: Annotated[Flag, Parameter(group=KEY)] = False,
    as_json: Json = False,
) -> None:
    """Write a run for other tools: any batch size, compared with the original, with its facts as metadata.

    Parameters
    ----------
    run
        Run folder.
    out
        File to write: .onnx, .pt2 or .safetensors; for triton a new folder.
    format
        ONNX, a program of torch.export, the weights alone, or a model repository for Triton and KServe.
    weights
        Those of the best epoch, or of the last one.
    contains_key
        Agree to a file in which the key can be read: of a locked or folded model, or of one that reads images
        first. It says so in its name, and is readable by you only.
    """
    from cipherlens.integrations.exports import export as write
    from cipherlens.integrations.exports.triton import export_repository as write_repository

    options: dict[str, Any] = {"weights": weights, "key": keys.load(), "contains_key": contains_key}
    if format == "triton":
        name = re.sub(r"[^A-Za-z0-9_-]+", "-", run.resolve().name).strip("-") or "model"
        done = write_repository(run, out, name=name, **options)
    else:
        done = write(run, out, format=format, **options)
    if done.contains_key:
        say(f"note: {done.path} holds {' and '.join(done.secrets)}")
    error = "" if done.relative_error is None else f", logits within {done.relative_error:.1e} of the largest"
    emit(
        {
            "path": str(done.path),
            "format": format,
            "contains_key": done.contains_key,
            "relative_error": done.relative_error,
        },
        as_json,
        [f"{done.path}: {format}{error}"],
    )


def export_data(
    sealed: SealedSet,
    /,
    *,
    out: Path,
    to: Literal["parquet", "webdataset"] = "parquet",
    as_json: Json = False,
) -> None:
    """Write a sealed data set for other tools: ciphertexts, labels and masks, as they are.

    Parameters
    ----------
    sealed
        Sealed data set.
    out
        New folder.
    to
        Parquet files, which Hugging Face's datasets loads, or tar files for WebDataset.
    """
    from cipherlens.integrations.sealed_data import export_data as write

    with progress_bar("writing") as progress:
        count = write(sealed, out, to, progress)
    emit({"out": str(out), "format": to, "images": count}, as_json, [f"{out}: {count} images, {to}"])
