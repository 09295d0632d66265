"""Images under several keys in one training: each owner has a separate front end, and all share the backbone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray
from torch import Tensor

from cipherlens.ciphers.blocks import MAX_BLOCK
from cipherlens.data.sealed.spec import Dtype
from cipherlens.errors import DataError, UsageError
from cipherlens.models.adaptation.kinds import MAP_HOLDERS
from cipherlens.schema import parse
from cipherlens.training.engine.batches import ImageSet, check_same_kind, has_masks
from cipherlens.training.engine.normalization import Normalization
from cipherlens.training.engine.rounds import ADAPT_PREFIX, strip_prefix

Block = Annotated[int, Meta(ge=1, le=MAX_BLOCK)]


@dataclass(frozen=True, slots=True)
class Owner:
    """Images under one key: their provenance, dtype, normalisation and adaptation network."""

    provenance: dict[str, Any]
    dtype: Dtype
    normalization: Normalization
    adapt_block: Block
    adaptation: str

    def to_json(self) -> dict[str, Any]:
        """All fields by name, as JSON values."""
        return {
            "provenance": self.provenance,
            "dtype": self.dtype,
            "normalization": self.normalization.to_json(),
            "adapt_block": self.adapt_block,
            "adaptation": self.adaptation,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Owner":
        """Inverse of ``to_json``. Raises ValueError for a field that is missing or of the wrong type."""
        found = parse(values, cls)
        if found.adaptation not in MAP_HOLDERS:
            raise ValueError(f"an owner with adaptation {found.adaptation!r}")
        return replace(found, normalization=Normalization.from_json(values["normalization"]))


class JointSet:
    """The concatenated image sets of several owners; images are float32, normalised as their owner's.

    ``owners`` (N,) int64 is the number of each image's owner.
    """

    dtype = "float32"

    def __init__(self, sets: Sequence[ImageSet], normalizations: Sequence[Normalization]) -> None:
        first = sets[0]
        for other in sets:
            check_same_kind(other, first.classes, first.shape, "the first owner's set")
            if has_masks(other):
                raise UsageError("several owners with masks cannot share a model", hint="train one run for each")
        self.classes, self.shape = first.classes, first.shape
        self.labels = np.concatenate([images.labels for images in sets])
        self.owners = np.repeat(np.arange(len(sets)), [len(images) for images in sets])
        self._sets, self._normalizations = sets, normalizations
        self._starts = np.cumsum([0, *(len(images) for images in sets)])

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """Images (n, C, H, W) float32 at ``indices`` (n,)."""
        found = np.empty((len(indices), *self.shape), np.float32)
        owners = self.owners[indices]
        for number, (images, normalization) in enumerate(zip(self._sets, self._normalizations, strict=True)):
            places = np.flatnonzero(owners == number)
            if len(places):
                ct = images.read(indices[places] - self._starts[number])
                constants = normalization.mean, normalization.std
                mean, std = (np.array(part, np.float32)[:, None, None] for part in constants)
                found[places] = (ct / np.float32(255 if ct.dtype == np.uint8 else 1) - mean) / std
        return found


def select_owner(weights: Mapping[str, Tensor], number: int) -> dict[str, Tensor]:
    """The weights of the model with one owner's front end only. Raises DataError where it is missing."""
    own = strip_prefix(weights, f"{ADAPT_PREFIX}{number}.")
    if not own:
        raise DataError(f"the weights hold no front end {number}", hint="the run folder is damaged")
    shared = {name: value for name, value in weights.items() if not name.startswith(ADAPT_PREFIX)}
    return {**shared, **{f"{ADAPT_PREFIX}{name}": value for name, value in own.items()}}
