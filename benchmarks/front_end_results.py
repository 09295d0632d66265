"""The part of docs/results.md about front ends: adaptation networks that start from what an attack finds."""

import json
from pathlib import Path
from typing import Any

from record_tables import hardware, table

ROOT = Path(__file__).parents[1]
PRIORS = {"held-out": "other photos of the same source", "none": "built-in, no photos"}


def show(values: list[float] | None, form: str) -> str:
    """Mean, with least and greatest where there were several keys."""
    if values is None:
        return ""
    mean, least, greatest = (format(value, form) for value in values)
    return mean if least == greatest else f"{mean} ({least} to {greatest})"


def section() -> str:
    """A table for each record of benchmarks/measure/read_first.py."""
    parts = []
    for path in sorted((ROOT / "results").glob("front-end-*.json")):
        record: dict[str, Any] = json.loads(path.read_text())
        parts.append(describe(record))
    if not parts:
        return ""
    return (
        "## Front ends: read first, then learn\n\n"
        "The adaptation network starts from the map that `covariance` finds from training ciphertexts, without "
        "key, labels or pairs ([front-ends.md](front-ends.md)). SSIM: its pictures of test images, which the "
        "attack did not see; the front end is not trained, so they are the same before and after training.\n\n"
        + "\n".join(parts)
    )


def describe(record: dict[str, Any]) -> str:
    r = record["results"]
    header = ["prior", "keys", "SSIM of pictures", "the network as it is", "trained", "seconds to find the map"]
    rows = [
        [
            f"{PRIORS.get(prior, 'photos of ' + prior)}",
            str(sum(row["prior"] == prior for row in r["rows"])),
            show(found.get("ssim"), ".3f"),
            show(found.get("as_it_is"), ".1%"),
            show(found.get("trained"), ".1%"),
            show(found.get("seconds"), ".0f"),
        ]
        for prior, found in r["summary"].items()
    ]
    plain = r["plain"]
    trained = plain.get("trained")
    spread = None if trained is None else [sum(trained) / len(trained), min(trained), max(trained)]
    plain_once = plain.get("as_it_is")
    rows.append(
        ["*plain images*", "", "", "" if plain_once is None else f"{plain_once:.1%}", show(spread, ".1%"), ""]
    )
    cipher, images = r["cipher"], r["images"]
    settings = f" Training: {json.dumps(r['training'])}." if r["training"] else ""
    return (
        f"### {r['source']}, {cipher['name']} {cipher['block']}x{cipher['block']}, {r['model']}\n\n"
        f"{table(header, rows)}\n\n{images['train']:,} training and {images['test']:,} test images; SSIM over "
        f"{r['scored_pictures']} of them.{settings}\n\n{hardware(record)}\n"
    )
