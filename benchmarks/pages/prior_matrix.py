"""What `covariance` reads with photos of each origin, from results/prior-matrix-*.json."""

import itertools
from typing import Any

from record_tables import hardware, load, table

ORIGINS = {"imagenette": "imagenette-224", "camvid": "camvid-192x256", "cifar10": "cifar10-jpeg"}
PRIORS = ("none", *ORIGINS)
BLOCKS = (4, 8, 16)


def prior_matrix() -> str:
    records = [record for block in BLOCKS if (record := load(f"prior-matrix-{block}x{block}.json"))]
    if not records:
        return ""
    rows = [row for record in records for row in _list_rows(record["results"])]
    header = ["block", "images", "ciphertexts", "no photos", *(f"photos of {name}" for name in ORIGINS.values())]
    slowest = max(cell.get("seconds", 0) for record in records for cell in record["results"]["rows"])
    return (
        "## With photos of every origin\n\n"
        "Mean SSIM under Hill with one key; the same images in all cells of a line. *Italic*: public photos of the "
        "same source. Statistics measured on the attacked source are left out. One ciphertext: mean of several "
        "photos, each attacked alone: "
        f"{_count_alone(records, photos=False)} without public photos, {_count_alone(records, photos=True)} with. "
        f"One attack took at most {slowest:.0f} s, with one thread and another attack beside it.\n\n"
        f"{table(header, rows)}\n\n" + "\n".join(f"- {hardware(record)}" for record in records) + "\n"
    )


def _list_rows(results: dict[str, Any]) -> list[list[str]]:
    found = {(cell["origin"], cell["ciphertexts"], cell["prior"]): cell for cell in results["rows"]}
    budgets = sorted({count for _, count, _ in found})
    rows = []
    for origin, count in itertools.product(ORIGINS, budgets):
        line = [_describe(found[origin, count, prior], prior == origin) for prior in PRIORS]
        size = f"{results['block']}x{results['block']}"
        rows.append([size, ORIGINS[origin], str(_count_images(found, origin, count)), *line])
    return rows


def _count_images(found: dict[tuple[str, int, str], dict[str, Any]], origin: str, count: int) -> int:
    """As many as there were: a split may have fewer."""
    return min(count, found[origin, count, "none"].get("n", count))


def _count_alone(records: list[dict[str, Any]], photos: bool) -> str:
    """How many, by block where they differ: "20 (16x16: 5)"."""
    counts = {}
    for record in records:
        cells = [cell for cell in record["results"]["rows"] if cell["ciphertexts"] == 1 and "n" in cell]
        counts[record["results"]["block"]] = max(cell["n"] for cell in cells if (cell["prior"] != "none") == photos)
    most = max(counts.values())
    fewer = [f"{block}x{block}: {count}" for block, count in counts.items() if count < most]
    return f"{most} ({', '.join(fewer)})" if fewer else str(most)


def _describe(cell: dict[str, Any], own: bool) -> str:
    if "refused" in cell:
        return "too few blocks"
    return f"*{cell['ssim']:.3f}*" if own else f"{cell['ssim']:.3f}"
