"""config.json: the settings of a run, its data, and the facts needed to use its model."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from msgspec import Meta
from torch import Tensor, nn

from cipherlens.ciphers import BoundCipher
from cipherlens.data.sealed.spec import PLAIN, Dtype
from cipherlens.data.statistics import Statistics
from cipherlens.errors import CipherlensError, DataError, KeyFailureError, UsageError
from cipherlens.files import write_atomic
from cipherlens.holders import FIELD, choose_holder
from cipherlens.keyed import lock
from cipherlens.models import SEGMENTATION_MODELS, AdaptedModel, OwnersModel, create_adaptation, create_model
from cipherlens.schema import Count, ImageShape, Sha256, parse
from cipherlens.training.config import TrainConfig
from cipherlens.training.engine.batches import ImageSet, has_masks, read_targets
from cipherlens.training.engine.normalization import Normalization
from cipherlens.training.engine.owners import Owner
from cipherlens.training.run.architecture import describe_architecture
from cipherlens.training.run.checkpoint import check_weights, load_into, read_run_json

RECORD = "config.json"
FORMAT = "cipherlens-run-1"
_MOST_OWNERS = 1000
"""Maximum number of owners in a record. A limit on memory."""


@dataclass(frozen=True, slots=True)
class DataRecord:
    """Facts on the training data: enough to use the model, and to detect other data when a run continues."""

    classes: Annotated[tuple[str, ...], Meta(min_length=1, max_length=100_000)]
    shape: ImageShape
    dtype: Dtype
    train_images: Count
    test_images: Count
    labels_sha256: Sha256
    masked: bool = False

    @classmethod
    def of(cls, train_set: ImageSet, test_set: ImageSet | None) -> "DataRecord":
        """Record of a training set and, where there is one, its test set."""
        digest = hashlib.sha256()
        for images in (train_set, test_set):
            if images is not None:
                digest.update(np.ascontiguousarray(read_targets(images), dtype="<i8").tobytes())
        channels, height, width = (int(side) for side in train_set.shape)
        return cls(
            tuple(train_set.classes),
            (channels, height, width),
            train_set.dtype,
            len(train_set),
            0 if test_set is None else len(test_set),
            digest.hexdigest(),
            has_masks(train_set),
        )

    def to_json(self) -> dict[str, Any]:
        """All fields by name, tuples as lists."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "DataRecord":
        """Inverse of ``to_json``. Raises ValueError for a field that is missing or of the wrong type."""
        return parse(values, cls)


@dataclass(frozen=True, slots=True)
class RunRecord:
    """The content of config.json.

    ``picture`` is the normalisation of the adaptation network's output, where it started from a map that reads
    images. ``owners`` are those of a run on images under several keys. ``normalization`` and ``provenance`` are
    then the first owner's, and ``config`` has its adaptation network. ``folded``: its first layer holds a key.
    ``statistics`` are those of some training ciphertexts (None: not measured).
    """

    config: TrainConfig
    data: DataRecord
    normalization: Normalization
    provenance: dict[str, Any]
    picture: Normalization | None = None
    owners: tuple[Owner, ...] = ()
    folded: bool = False
    statistics: Statistics | None = None

    def to_json(self) -> dict[str, Any]:
        """The record as a JSON object."""
        more: dict[str, Any] = {} if self.picture is None else {"picture": self.picture.to_json()}
        if self.folded:
            more["folded"] = True
        if self.statistics is not None:
            more["statistics"] = asdict(self.statistics)
        if self.owners:
            more["owners"] = [owner.to_json() for owner in self.owners]
        return {
            "format": FORMAT,
            "config": self.config.to_json(),
            "data": self.data.to_json(),
            "normalization": self.normalization.to_json(),
            "provenance": self.provenance,
            **more,
            FIELD: choose_holder(self.config.can_decrypt),
        }

    @property
    def holds_folded_key(self) -> bool:
        """Whether its first layer holds a key. Earlier versions did not record it, but nothing else looks so."""
        config, spec = self.config, self.normalization
        bare = set(spec.mean) == {0.0} and set(spec.std) == {1.0} and config.precision == "float32"
        sealed = self.provenance.get("cipher", PLAIN) != PLAIN
        return self.folded or (sealed and bare and config.lock is None and config.adapt_block is None)

    def choose_owner(self, fingerprint: str | None) -> tuple["RunRecord", int | None]:
        """The record for images under one key, and its number (None: the run has one owner only).

        Raises KeyFailureError where the run has several keys, and ``fingerprint`` is none of them.
        """
        if not self.owners:
            return self, None
        known = [owner.provenance.get("key_fingerprint") for owner in self.owners]
        if fingerprint not in known:
            raise KeyFailureError(
                f"the run knows no images under key {fingerprint or '(none given)'}",
                hint=f"it knows: {', '.join(map(str, known))}; another owner joins with: cipherlens adapt",
            )
        number = known.index(fingerprint)
        owner = self.owners[number]
        config = replace(self.config, adapt_block=owner.adapt_block, adaptation=owner.adaptation)
        data, normalization = replace(self.data, dtype=owner.dtype), owner.normalization
        return RunRecord(config, data, normalization, owner.provenance, self.picture), number


def write_record(folder: Path, record: RunRecord) -> None:
    """Write config.json, atomically; timm can read it too, where it can build the model."""
    data = record.data
    facts = (record.config, data.classes, data.shape, record.normalization, len(record.owners))
    values = record.to_json() | describe_architecture(*facts)
    write_atomic(folder / RECORD, (json.dumps(values, indent=1) + "\n").encode())


def read_record(folder: Path) -> RunRecord:
    """Read config.json. Raises DataError if it is missing, damaged or of another format."""
    values = read_run_json(folder / RECORD)
    if values.get("format") != FORMAT:
        raise DataError(
            f"{folder / RECORD} is not of the format {FORMAT}", hint="give a folder written by training"
        )
    try:
        record = RunRecord(
            TrainConfig.from_json(values["config"]),
            DataRecord.from_json(values["data"]),
            Normalization.from_json(values["normalization"]),
            dict(values["provenance"]),
            None if values.get("picture") is None else Normalization.from_json(values["picture"]),
            _read_owners(values.get("owners", ())),
            values.get("folded", False) is True,
            None if values.get("statistics") is None else parse(values["statistics"], Statistics),
        )
        used = [record.normalization, *(owner.normalization for owner in record.owners)]
        if any(len(found.mean) != record.data.shape[0] for found in (*used, record.picture or used[0])):
            raise ValueError("the normalisation is of another number of channels than the images")
    except (CipherlensError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{folder / RECORD} is damaged: {error}", hint="copy the run again") from error
    return record


def _read_owners(values: Any) -> tuple[Owner, ...]:
    if not isinstance(values, list | tuple) or len(values) > _MOST_OWNERS:
        raise ValueError(f"owners are a list of at most {_MOST_OWNERS}")
    return tuple(Owner.from_json(owner) for owner in values)


def check_same_run(
    folder: Path,
    stored: RunRecord,
    config: TrainConfig,
    data: DataRecord,
    provenance: dict[str, Any],
    owners: tuple[Owner, ...] = (),
) -> None:
    """Raise UsageError, naming the differing fields, unless the stored run is the requested one."""
    groups = {
        "": (stored.config.to_json(), config.to_json()),
        "data.": (stored.data.to_json(), data.to_json()),
        "provenance.": (stored.provenance, provenance),
        "owners.": (_list_keys(stored.owners), _list_keys(owners)),
    }
    differing = [
        f"{group}{name} ({old.get(name)!r} there, {new.get(name)!r} now)"
        for group, (old, new) in groups.items()
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name) and name != "threads"  # a run may move to another machine
    ]
    if differing:
        raise UsageError(
            f"{folder} holds another run: {'; '.join(differing)}",
            hint="choose another run folder, or repeat the stored settings to continue",
        )


def _list_keys(owners: tuple[Owner, ...]) -> dict[str, Any]:
    return {str(number): owner.provenance for number, owner in enumerate(owners)}


def build_model(record: RunRecord, initial_weights: bool, bound: BoundCipher | None = None) -> nn.Module:
    """The run's model; with ``initial_weights`` it has the pretrained weights, or those of the configured file.

    With ``bound`` it is locked as the run's settings say. Without it, it is the plain model with the same weights.
    """
    config, (channels, height, width) = record.config, record.data.shape
    if (config.model in SEGMENTATION_MODELS) != record.data.masked:
        raise UsageError(
            f"{config.model} gives a class per {'image' if record.data.masked else 'pixel'}, "
            f"the data set has {'masks' if record.data.masked else 'no masks'}",
            hint=f"models for data sets with masks: {', '.join(SEGMENTATION_MODELS)}",
        )
    if config.lock == "plain" and record.data.masked:
        raise UsageError(
            "a segmentation model locked with inner plain gives its maps in true order, but masks are permuted",
            hint="lock it with inner shuffled",
        )
    model = create_model(
        config.model,
        num_classes=len(record.data.classes),
        adapt_block=config.adapt_block,
        in_chans=channels,
        pretrained=config.pretrained and initial_weights,
        weights=config.weights if initial_weights else None,
        small_stem=config.small_stem,
        image_size=(height, width),
        legacy_padding=config.legacy_padding,
        adaptation=config.adaptation,
    )
    if record.owners:
        assert isinstance(model, AdaptedModel)
        kinds = [(owner.adaptation, owner.adapt_block) for owner in record.owners]
        return OwnersModel([create_adaptation(*kind, channels, (height, width)) for kind in kinds], model.backbone)
    if bound is None or config.lock is None:
        return model
    return lock(model, bound, "plain" if config.lock == "plain" else "shuffled")


def rebuild_model(
    record: RunRecord, weights: Mapping[str, Tensor], source: str, bound: BoundCipher | None = None
) -> nn.Module:
    """The model of a run folder with its weights; ``source`` is their name in errors.

    A record may describe a model of any size, so the shapes are compared first, without memory for the model.
    Raises DataError, naming the tensors, where the weights do not fit, or where the record describes no model.
    """
    try:
        _check_shapes(record, weights, source)
        with torch.random.fork_rng(devices=[]):
            model = build_model(record, initial_weights=False, bound=bound)
        load_into(model, weights, source)
        return model
    except CipherlensError:
        raise
    except Exception as error:  # timm raises many kinds for invalid settings
        raise DataError(
            f"the run's record describes no {record.config.model}: {error}", hint="the run folder is damaged"
        ) from error


def _check_shapes(record: RunRecord, weights: Mapping[str, Tensor], source: str) -> None:
    try:
        with torch.device("meta"):
            expected = build_model(record, initial_weights=False)
    except CipherlensError:
        raise
    except Exception:  # the rare network that computes while it is built cannot be built on "meta"
        return
    check_weights(expected, weights, source)
