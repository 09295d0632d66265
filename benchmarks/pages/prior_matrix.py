"""What `covariance` reads with photos of each origin, from results/prior-matrix.json."""

import itertools
from typing import Any

from record_tables import hardware, load, table

ORIGINS = {"imagenette": "imagenette-224", "camvid": "camvid-192x256", "cifar10": "cifar10-jpeg"}
PRIORS = ("none", *ORIGINS)


def prior_matrix() -> str:
    record = load("prior-matrix.json")
    if record is None:
        return ""
    cells: list[dict[str, Any]] = record["results"]["rows"]
    found = {tuple(cell[name] for name in ("block", "origin", "ciphertexts", "prior")): cell for cell in cells}
    rows = []
    for block, origin, count in itertools.product(*(sorted({key[place] for key in found}) for place in range(3))):
        line = [_describe(found[block, origin, count, prior], prior == origin) for prior in PRIORS]
        rows.append([f"{block}x{block}", ORIGINS[origin], str(count), *line])
    header = ["block", "images", "ciphertexts", "no photos", *(f"photos of {name}" for name in ORIGINS.values())]
    slowest = max(cell.get("seconds", 0) for cell in cells)
    return (
        "## With photos of every origin\n\n"
        "Mean SSIM under Hill with one key; the same images in all cells of a line. *Italic*: public photos of the "
        "same source. Statistics measured on the attacked source are left out. One ciphertext: mean of several "
        f"photos, each attacked alone. A search took at most {slowest:.0f} s.\n\n"
        f"{table(header, rows)}\n\n- {hardware(record)}\n"
    )


def _describe(cell: dict[str, Any], own: bool) -> str:
    if "refused" in cell:
        return "too few blocks"
    return f"*{cell['ssim']:.3f}*" if own else f"{cell['ssim']:.3f}"
