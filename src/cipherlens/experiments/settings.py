"""What an experiment is: a TOML file with a section for each scale."""

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cipherlens
from cipherlens.errors import DataError, UsageError, unknown_name

SCALES = ("smoke", "cpu", "full")
DATA_VARIABLE = "CIPHERLENS_DATA"


@dataclass(frozen=True)
class Settings:
    """One experiment at one scale.

    ``models`` maps model names to fields of TrainConfig and, for access, ``finetune_epochs``. ``published`` holds
    the figures of the paper in percent, by row.
    """

    name: str
    scale: str
    kind: str
    title: str
    source: str
    augment: int
    models: dict[str, dict[str, Any]]
    published: dict[str, float]


def _find_folder() -> Path:
    package = Path(cipherlens.__file__).parent
    installed = package / "experiments" / "configs"
    return installed if installed.is_dir() else package.parents[1] / "experiments"


def list_experiments() -> list[str]:
    """Names that ``read_settings`` takes."""
    return sorted(path.stem for path in _find_folder().glob("*.toml"))


def read_settings(name: str, scale: str, source: str | None = None) -> Settings:
    """Settings of an experiment; ``source`` replaces its own.

    A source ``data:NAME`` lies in the folder that the environment variable CIPHERLENS_DATA names. Raises UsageError
    for an unknown name or scale, DataError where the data is not there.
    """
    if name not in list_experiments():
        raise unknown_name("experiment", name, list_experiments())
    content = tomllib.loads((_find_folder() / f"{name}.toml").read_text(encoding="utf-8"))
    if scale not in SCALES or scale not in content:
        raise unknown_name("scale", scale, [known for known in SCALES if known in content])
    chosen = content[scale]
    unknown = set(chosen) - {"source", "augment", "models"}
    if unknown:
        raise UsageError(f"{name}.toml: unknown setting {', '.join(sorted(unknown))}")
    return Settings(
        name=name,
        scale=scale,
        kind=content["kind"],
        title=content["title"],
        source=source or _resolve(chosen["source"]),
        augment=int(chosen.get("augment", 0)),
        models=chosen["models"],
        published=content["published"],
    )


def _resolve(source: str) -> str:
    kind, _, name = source.partition(":")
    if kind != "data":
        return source
    root = os.environ.get(DATA_VARIABLE)
    if root is None or not (Path(root) / name).exists():
        raise DataError(
            f"this scale needs the data set {name}",
            hint=f"set {DATA_VARIABLE} to the folder that holds it, give --source, or run --scale smoke",
        )
    return str(Path(root) / name)
