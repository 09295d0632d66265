"""Records of results/ as Markdown tables, for the pages that are generated from them."""

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[2] / "results"


def load(name: str) -> dict[str, Any] | None:
    path = RESULTS / name
    return json.loads(path.read_text()) if path.is_file() else None


def table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def hardware(record: dict[str, Any]) -> str:
    environment = record["environment"]
    packages = environment["packages"]
    return (
        f"{environment['cpu']}, {environment['cores']} cores, Python {environment['python']}, "
        f"NumPy {packages['numpy']}, torch {packages.get('torch', 'absent')}; {record['date']}; "
        f"`{record['command']}`"
    )
