"""The maps that a run started from, as files in its folder: they decrypt, as its weights do."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cipherlens.ciphers.estimated_inverse import EstimatedInverse, Target
from cipherlens.training.run.record import RunRecord


def load_map(path: Path, provenance: Mapping[str, Any], folder: Path | None = None) -> EstimatedInverse:
    """A map from a file, in a ``folder`` that came from elsewhere without links.

    Raises DataError for one that holds none, KeyFailureError, saying what differs, for other images.
    """
    inverse = EstimatedInverse.load(path, folder)
    inverse.require_target(Target.of(provenance))
    return inverse


def read_maps(folder: Path, record: RunRecord) -> list[EstimatedInverse] | None:
    """The maps of a run folder, one for each owner; None where one is missing."""
    names = _name_maps(record)
    if not all((folder / name).exists() for name in names):
        return None
    return [load_map(folder / name, provenance, folder) for name, provenance in names.items()]


def write_maps(folder: Path, record: RunRecord, maps: Sequence[EstimatedInverse]) -> None:
    """Write each map with what it is for, mode 0600, over what a killed process may have left."""
    for (name, provenance), inverse in zip(_name_maps(record).items(), maps, strict=True):
        (folder / name).unlink(missing_ok=True)
        inverse.save(folder / name, Target.of(provenance))


def _name_maps(record: RunRecord) -> dict[str, dict[str, Any]]:
    """File names, and what the images of each owner are."""
    if not record.owners:
        return {"front-end.safetensors": record.provenance}
    return {f"front-end-{number}.safetensors": owner.provenance for number, owner in enumerate(record.owners)}
