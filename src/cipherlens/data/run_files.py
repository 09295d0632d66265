"""Read the record and the metrics of a run folder, without torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cipherlens.errors import DataError
from cipherlens.untrusted import JSON_LIMIT, describe, parse_json, read_json, read_untrusted

RECORD = "config.json"
METRICS = "metrics.jsonl"
BEST = "best.safetensors"
LAST = "last.safetensors"
PUBLISHED = "model.safetensors"
"""The weights of a model that was saved for others, the only ones in its folder."""
CHECKPOINT = "checkpoint"
CURVES = "curves.png"
CARD = "MODEL_CARD.md"
_DAMAGED = "the run folder is damaged: copy it again, or train again"


def name_round(round: int) -> str:
    """File name of the adaptation network after a round of multi-round training."""
    return f"adapt-round{round}.safetensors"


@dataclass(frozen=True)
class RunFiles:
    """Settings, data and provenance of a run, and one mapping per epoch. Only the types are checked."""

    config: dict[str, Any]
    data: dict[str, Any]
    provenance: dict[str, Any]
    epochs: list[dict[str, Any]]
    other_keys: list[str]

    @property
    def can_decrypt(self) -> bool:
        """Whether the run's adaptation network started from a map that reads the images."""
        return self.config.get("start", "random") != "random" or self.config.get("inverse") is not None


def read_run_files(folder: Path) -> RunFiles:
    """Read config.json and, if present, metrics.jsonl. Raises DataError where one is damaged or a link."""
    record = read_json(folder / RECORD, folder, "is this a run folder? it may be damaged")
    parts = [record.get(name) for name in ("config", "data", "provenance")]
    if not all(isinstance(part, dict) for part in parts):
        raise DataError(f"{folder / RECORD} is not the record of a run", hint=_DAMAGED)
    config, data, provenance = (dict(part or {}) for part in parts)
    epochs = read_epochs(folder) if (folder / METRICS).exists() else []
    return RunFiles(config, data, provenance, epochs, _list_other_keys(record.get("owners"), folder))


def _list_other_keys(owners: Any, folder: Path) -> list[str]:
    """Fingerprints of all owners but the first, of a run on images under several keys."""
    try:
        return [str(owner["provenance"]["key_fingerprint"]) for owner in (owners or [])[1:]]
    except (KeyError, TypeError):
        raise DataError(f"{folder / RECORD} is not the record of a run", hint=_DAMAGED) from None


def read_epochs(folder: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl; DataError where it is missing or damaged."""
    path = folder / METRICS
    try:
        return [parse_json(line) for line in read_untrusted(path, JSON_LIMIT, folder).splitlines()]
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path}: {describe(error)}", hint=_DAMAGED) from None
