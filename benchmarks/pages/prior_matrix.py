"""What `covariance` reads with photos of each origin, from results/prior-matrix-*.json."""

import itertools
from typing import Any

from record_tables import hardware, load, table

ORIGINS = {"imagenette": "imagenette-224", "camvid": "camvid-192x256", "cifar10": "cifar10-jpeg"}
NONE = "none"
PRIORS = (NONE, *ORIGINS)
BLOCKS = (4, 8, 16)
Cell = dict[str, Any]
Cells = dict[tuple[str, int, str], Cell]


def prior_matrix() -> str:
    records = [record for block in BLOCKS if (record := load(f"prior-matrix-{block}x{block}.json"))]
    if not records:
        return ""
    before = load("spectrum-alone.json")
    old = [] if before is None else before["results"]["rows"]
    rows = [row for record in records for row in _list_rows(record["results"], old)]
    names = [f"photos of {name}" for name in ORIGINS.values()]
    header = ["block", "images", "ciphertexts", "spectrum alone", "no photos", *names]
    slowest = max(cell.get("seconds", 0) for record in records for cell in record["results"]["rows"])
    return (
        "## With photos of every origin\n\n"
        "Mean SSIM under Hill with one key; the same images in all cells of a line. *Italic*: public photos of the "
        "same source. Statistics measured on the attacked source are left out. *Spectrum alone*: no photos, and no "
        "measured statistics nor JPEG's grid; the attack as it was on 29 November 2026. One ciphertext: mean of "
        "several photos, each attacked alone: "
        f"{_count_alone(records, photos=False)} without public photos, {_count_alone(records, photos=True)} with. "
        f"One attack took at most {slowest:.0f} s, with one thread and other work beside it.\n\n"
        f"{table(header, rows)}\n\n"
        + "\n".join(f"- {hardware(record)}" for record in (*records, before) if record is not None)
        + "\n"
    )


def _find_cells(rows: list[Cell]) -> Cells:
    """Cells of one size of blocks by origin, ciphertexts and prior."""
    return {(row["origin"], row["ciphertexts"], row["prior"]): row for row in rows}


def _list_rows(results: dict[str, Any], old: list[Cell]) -> list[list[str]]:
    """Lines of a record; ``old`` are the cells of all blocks with the spectrum alone."""
    block = results["block"]
    found, before = _find_cells(results["rows"]), _find_cells([row for row in old if row["block"] == block])
    budgets = sorted({count for _, count, _ in found})
    rows = []
    for origin, count in itertools.product(ORIGINS, budgets):
        line = [_describe(found[origin, count, prior], prior == origin) for prior in PRIORS]
        alone = before.get((origin, count, NONE))
        images = min(count, found[origin, count, NONE].get("n", count))  # a split may have fewer
        size = f"{block}x{block}"
        rows.append([size, ORIGINS[origin], str(images), "" if alone is None else _describe(alone, False), *line])
    return rows


def _count_alone(records: list[dict[str, Any]], photos: bool) -> str:
    """How many, by block where they differ: "20 (16x16: 5)"."""
    counts = {}
    for record in records:
        cells = [cell for cell in record["results"]["rows"] if cell["ciphertexts"] == 1 and "n" in cell]
        counts[record["results"]["block"]] = max(cell["n"] for cell in cells if (cell["prior"] != NONE) == photos)
    most = max(counts.values())
    fewer = [f"{block}x{block}: {count}" for block, count in counts.items() if count < most]
    return f"{most} ({', '.join(fewer)})" if fewer else str(most)


def _describe(cell: Cell, own: bool) -> str:
    if "refused" in cell:
        return "too few blocks"
    return f"*{cell['ssim']:.3f}*" if own else f"{cell['ssim']:.3f}"
