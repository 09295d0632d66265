"""Entries of others on docs/leaderboard.md, from results/leaderboard/NAME/record.json.

Beside a record lie the file that was measured and its licence. What is missing, or was measured otherwise than our
own schemes, stops the pages.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from committed import fold
from leakage_rows import MODELS, show_ssim
from record_tables import hardware, table

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "results" / "leaderboard"
HEADER = ["entry", "scheme", "of package", "attack", "of package", "attacker has", "budget", "SSIM", "guessing"]
HEADER += ["exact values", "keys", "seconds"]
OURS = "cipherlens"
Record = dict[str, Any]


class EntryError(SystemExit):
    """A folder that is no entry."""


def read_entries(main: Record, folder: Path = FOLDER) -> dict[str, Record]:
    """Records by name of their folder. Raises EntryError for one that is incomplete, or unlike the ``main`` one."""
    return {place.name: read_entry(place, main) for place in sorted(folder.glob("*/"))}


def read_entry(place: Path, main: Record) -> Record:
    """The record of one folder."""
    file = place / "record.json"
    if not file.is_file():
        raise EntryError(f"{place.name}: there is no record.json")
    record: Record = json.loads(file.read_text())
    results = record["results"]
    if not results.get("entry"):
        raise EntryError(f"{place.name}: its record is not one of reproduce leakage --scheme or --attack")
    for name in ("scale", "source", "shape", "prior", "keys"):
        if results[name] != main["results"][name]:
            raise EntryError(f"{place.name}: {name} is {results[name]}, ours {main['results'][name]}")
    if not list(place.glob("LICEN[CS]E*")):
        raise EntryError(f"{place.name}: there is no LICENSE")
    found = {hashlib.sha256(one.read_bytes()).hexdigest() for one in place.rglob("*.py")}
    for part in results["entry"].values():
        if part["package"] != OURS and part["sha256"] not in found:
            raise EntryError(f"{place.name}: {part['file']} is missing, or is not the one that was measured")
    return record


def section(entries: dict[str, Record]) -> str:
    """A table of all entries, with the origin of each."""
    if not entries:
        return ""
    rows = [show_row(name, record, row) for name, record in entries.items() for row in list_rows(record)]
    failed = [line for name, record in entries.items() for line in list_failures(name, record)]
    origin = "\n".join(f"- {name}: {hardware(record)}" for name, record in entries.items())
    lines = [
        f'<div class="sortable" markdown="1">\n\n{table(HEADER, rows)}\n\n</div>',
        *failed,
        fold(origin, "Where these figures come from"),
    ]
    return "\n\n".join(lines)


def list_rows(record: Record) -> list[Record]:
    results = record["results"]
    apart = [{**row, "apart": True} for row in results["key_per_image"]]
    return [*results["rows"], *apart]


def show_row(name: str, record: Record, row: Record) -> list[str]:
    entry = record["results"]["entry"]
    alone = ", a key for each image" if row.get("apart") else ""
    return [
        f"[{name}](../results/leaderboard/{name})",
        f"`{row['scheme']}`{alone}",
        show_package(entry.get("scheme")),
        show_attack(row["attack"]),
        show_package(entry.get("attack")),
        MODELS[row["threat_model"]],
        f"{row['budget']:,}",
        show_ssim(row),
        f"{row['guess_ssim']:.2f}",
        f"{row['exact_pixels']['mean']:.1%}",
        f"{row['keys_recovered']} of {row['keys']}",
        f"{row['seconds']:.3g}",
    ]


def show_package(part: Record | None) -> str:
    """Package and version of what was entered; a class without a package says its place."""
    if part is None or part["package"] == OURS:
        return OURS
    return f"{part['package']} {part['version']}" if part["package"] else f"none, `{part['class']}`"


def show_attack(name: str) -> str:
    """A link where the attack is one of ours."""
    ours = (ROOT / "docs" / "attacks" / f"{name}.md").is_file()
    return f"[`{name}`](attacks/{name}.md)" if ours else f"`{name}`"


def list_failures(name: str, record: Record) -> list[str]:
    """Controls that failed: figures not to be believed."""
    failed = [one for one in record["results"]["controls"] if not one["passed"]]
    return [f"{name}: {one['attack']} failed its control on {one['control']} data." for one in failed]
