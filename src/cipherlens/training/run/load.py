"""Load a trained model from its run folder, predict and evaluate."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cipherlens.ciphers import BoundCipher
from cipherlens.data.run_files import BEST, LAST, PUBLISHED
from cipherlens.data.sealed.spec import CipherSpec
from cipherlens.data.statistics import Statistics
from cipherlens.errors import DataError, KeyFailureError, ShapeError, unknown_name
from cipherlens.keyed.fold import mark_folded
from cipherlens.keys import Key
from cipherlens.training.config import TrainConfig
from cipherlens.training.engine.batches import ImageBatches, ImageSet, check_image_set, check_same_kind, has_masks
from cipherlens.training.engine.distributed import join_processes
from cipherlens.training.engine.hardware import choose_precision
from cipherlens.training.engine.loop import Forward, choose_batch_size, measure
from cipherlens.training.engine.normalization import Normalization
from cipherlens.training.engine.owners import select_owner
from cipherlens.training.run.checkpoint import load_tensors
from cipherlens.training.run.record import read_record, rebuild_model

WEIGHTS: dict[Literal["best", "last"], str] = {"best": BEST, "last": LAST}


@dataclass(frozen=True, slots=True)
class Run:
    """A trained model, in evaluation mode on its device, with the facts needed to use it.

    ``precision`` is "bf16" or "float32", ``dtype`` that of the stored images. ``provenance`` describes the training
    data. ``masked``: the model gives a class per pixel.
    """

    config: TrainConfig
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    normalization: Normalization
    provenance: dict[str, Any]
    model: nn.Module
    device: torch.device
    precision: str
    dtype: str = "uint8"
    masked: bool = False
    statistics: Statistics | None = None

    @property
    def forward(self) -> Forward:
        """From stored images to float32 logits."""
        return Forward(self.model, self.normalization, self.device, self.precision, self.config.views)


def load_run(
    path: Path | str,
    weights: Literal["best", "last"] = "best",
    bound: BoundCipher | None = None,
    plain: bool = False,
    owner: str | None = None,
) -> Run:
    """Load a run folder with its best or last weights. Raises DataError where it is missing or damaged.

    A locked run needs ``bound``, its pixel permutation. Without it KeyFailureError is raised, unless ``plain`` asks
    for the model without the key. The caller must check that the key is the run's. ``owner`` selects one key of a
    run on images under several keys, by fingerprint; KeyFailureError is raised for an unknown one.
    """
    path = Path(path)
    (record, number), device = read_record(path).choose_owner(owner), join_processes().device
    if record.config.lock is not None and bound is None and not plain:
        raise KeyFailureError(
            f"the model is locked with key {record.provenance.get('key_fingerprint')}",
            hint="give the pixel permutation of that key, or ask for the plain model",
        )
    tensors = load_tensors(find_weights(path, weights))
    if number is not None:
        tensors = select_owner(tensors, number)
    model = rebuild_model(record, tensors, WEIGHTS[weights], bound)
    if record.holds_folded_key:
        mark_folded(model, str(record.provenance.get("key_fingerprint")))
    return Run(
        config=record.config,
        classes=record.data.classes,
        shape=record.data.shape,
        normalization=record.normalization,
        provenance=record.provenance,
        model=model.to(device).to(memory_format=torch.channels_last).eval(),
        device=device,
        precision=choose_precision(record.config.precision, device),
        dtype=record.data.dtype,
        masked=record.data.masked,
        statistics=record.statistics,
    )


def find_weights(path: Path, weights: Literal["best", "last"]) -> Path:
    """The file of a run's best or last weights, or of the only ones. Raises UsageError for another name."""
    if weights not in WEIGHTS:
        raise unknown_name("weights", weights, WEIGHTS)
    found = path / WEIGHTS[weights]
    return path / PUBLISHED if (path / PUBLISHED).exists() and not found.exists() else found


def open_run(
    path: Path,
    weights: Literal["best", "last"] = "best",
    key: Key | None = None,
    check: bool = True,
    owner: str | None = None,
) -> tuple[Run, BoundCipher | None]:
    """A run and the cipher that it was locked to (None: not locked).

    ``owner``: whose images a run for several keys is to be asked about, by fingerprint; by default the ``key``'s.

    Raises KeyFailureError where a locked run is given no key or the wrong one. Without ``check`` it works under the
    wrong one, and without any as the plain model.
    """
    record = read_record(path)
    if record.config.lock is None:
        chosen = key.fingerprint if key is not None and record.owners and owner is None else owner
        return load_run(path, weights, owner=chosen), None
    if key is None and check:
        raise KeyFailureError(
            f"the model is locked with key {record.provenance.get('key_fingerprint')}",
            hint="give the client's key",
            parameters=("key",),
        )
    bound = None if key is None else CipherSpec.from_json(record.provenance).bind(key, check)
    return load_run(path, weights, bound, plain=not check), bound


def predict(
    run: Run, images: NDArray[np.uint8] | NDArray[np.floating[Any]], batch_size: int | None = None
) -> NDArray[np.float32]:
    """Probabilities (N, classes) float32 of images (N, C, H, W), uint8 (read as x / 255) or float.

    A segmentation model gives (N, classes, H, W); if it is locked, pixels are in the client's order.

    Raises ShapeError where the images do not have the run's shape.
    """
    if images.ndim != 4 or images.shape[1:] != run.shape:
        raise ShapeError(
            f"images of shape {images.shape} given, the run expects (N, {', '.join(map(str, run.shape))})",
            hint="encrypt and resize the images as for training, and add the leading N axis",
        )
    if images.dtype != np.uint8 and not np.issubdtype(images.dtype, np.floating):
        raise ShapeError(f"images of dtype {images.dtype} given", hint="uint8 or float32 is expected")
    run.model.eval()
    with torch.inference_mode():
        size = batch_size or choose_batch_size(run.shape)
        parts = [_predict_batch(run, batch) for batch in _split(images, size)]
    return np.concatenate(parts) if parts else np.empty((0, len(run.classes)), dtype=np.float32)


def _split(images: NDArray[Any], batch_size: int) -> Iterator[NDArray[Any]]:
    for start in range(0, len(images), batch_size):
        yield images[start : start + batch_size]


def _predict_batch(run: Run, images: NDArray[Any]) -> NDArray[np.float32]:
    dtype = np.uint8 if images.dtype == np.uint8 else np.float32
    batch = torch.from_numpy(np.array(images, dtype=dtype)).to(run.device)
    probabilities: NDArray[np.float32] = run.forward(batch).softmax(1).cpu().numpy()
    return probabilities


def evaluate(run: Run, image_set: ImageSet) -> dict[str, Any]:
    """Test a run on a labelled set of its classes and shape.

    Returns accuracy, loss (cross-entropy per image), n, per_class (accuracy by class name; None for a class
    without images) and seconds. With masks, accuracy and loss are per pixel, ``mean_iou`` is added, and per_class
    is the intersection over union. Raises ShapeError or DataError for a set with another shape, classes or masks.
    """
    check_image_set(image_set, "test")
    check_same_kind(image_set, run.classes, run.shape, "the run")
    if has_masks(image_set) != run.masked:
        raise DataError("the run and the data set do not both have masks", hint="test on data of the run's kind")
    start = time.perf_counter()
    batches = ImageBatches(image_set, run.device, budget=0)
    outcome = measure(run.forward, batches, len(run.classes), choose_batch_size(run.shape))
    scores = outcome.ious if run.masked else outcome.recalls
    return {
        "accuracy": outcome.accuracy,
        **({"mean_iou": outcome.mean_iou} if run.masked else {}),
        "loss": outcome.loss,
        "n": len(image_set),
        "per_class": dict(zip(run.classes, scores, strict=True)),
        "seconds": time.perf_counter() - start,
    }
