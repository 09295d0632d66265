"""Files of the maps from which a run started. They decrypt images, and so do the run's weights."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cipherlens.ciphers.estimated_inverse import EstimatedInverse, Target
from cipherlens.training.run.record import RunRecord


def load_map(path: Path, provenance: Mapping[str, Any], folder: Path | None = None) -> EstimatedInverse:
    """Load a map from a file; with an untrusted ``folder``, links below it are refused.

    Raises DataError for a file without a map, KeyFailureError, naming the difference, for a map of other images.
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
    """Write each map with its target, mode 0600; files of a killed process are replaced."""
    for (name, provenance), inverse in zip(_name_maps(record).items(), maps, strict=True):
        (folder / name).unlink(missing_ok=True)
        inverse.save(folder / name, Target.of(provenance))


def _name_maps(record: RunRecord) -> dict[str, dict[str, Any]]:
    """File names, with the provenance of each owner's images."""
    if not record.owners:
        return {"front-end.safetensors": record.provenance}
    return {f"front-end-{number}.safetensors": owner.provenance for number, owner in enumerate(record.owners)}
