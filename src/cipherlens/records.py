"""Records of measurements: command, date, environment, results."""

import datetime
import json
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from cipherlens.files import write_atomic
from cipherlens.holders import ANYBODY, FIELD
from cipherlens.processor import name_processor

_PACKAGES = ("cipherlens", "numpy", "torch", "timm", "torchmetrics", "pillow", "cryptography")


def describe_environment() -> dict[str, Any]:
    """Versions and hardware of this process, JSON-able, without host names or paths."""
    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "cpu": name_processor(),
        "cores": os.cpu_count(),
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
        "commit": _commit(),
    }


def write_record(path: Path, command: str, results: dict[str, Any]) -> None:
    """Write one measurement as JSON: command, date, environment, results."""
    record = {
        "command": command,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "environment": describe_environment(),
        "results": results,
        FIELD: ANYBODY,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json.dumps(record, indent=1).encode() + b"\n")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    folder = Path(__file__).parent
    try:
        found = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--dirty"],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()
