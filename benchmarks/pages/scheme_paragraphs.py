"""A paragraph for each scheme: what it does, what our attacks read of it, what a classifier keeps."""

from itertools import groupby
from typing import Any

from broken_by import parse_scheme
from record_tables import load

Record = dict[str, Any]

REMARKS = {
    "hill": "Multiplies each block of each channel by one secret matrix of real numbers.",
    "hill-mod256": "The same with whole numbers modulo 256, which takes near values far apart.",
    "pixel-permutation": "Moves whole pixels to other places, the same for all images.",
    "block-scrambling": "Moves blocks, and leaves everything inside them as it is.",
    "negpos": "Inverts a secret half of the values, and moves nothing: outlines stay.",
    "pe": "Inverts values and exchanges the colours of each pixel, and moves nothing: outlines stay.",
    "np": "Inverts a secret choice of the values of a block, the same in all blocks.",
    "shf": "Rearranges the values of a block, the same way in all blocks.",
    "ffx": "Replaces the levels of a secret half of the places of a block by others, with one table for all; the "
    "other half is readable as it is.",
    "le": "Splits values into half bytes, inverts and rearranges them inside blocks, the same way in all blocks.",
    "ele": "Does as `le` does, with another choice for every block, and moves the blocks.",
    "etc": "Moves, turns, inverts and recolours blocks.",
    "patch": "Permutes all values of a patch, or multiplies them by an orthogonal matrix; with `scramble` patches "
    "are moved, too.",
}
ONCE, OFTEN = 0.9, 0.6
"""SSIM from which a picture is read, and from which much of it is."""
MODEL = "preresnet20"


def paragraphs(name: str) -> str:
    record = load(name)
    if record is None:
        return ""
    results = record["results"]
    schemes = dict.fromkeys(row["scheme"] for row in results["rows"])
    told = "\n\n".join(describe(results, scheme) for scheme in schemes)
    return f"### Scheme by scheme\n\n{told}\n\n{describe_rest()}\n"


def describe(results: Record, scheme: str) -> str:
    name, params = parse_scheme(scheme)
    mine = [row for row in results["rows"] if row["scheme"] == scheme]
    seen = choose_best([row for row in mine if row["threat_model"] == "coa"])
    parts = [f"**`{scheme}`**. {REMARKS[name]}", read_alone(seen)]
    if not params.get("per_image"):
        parts.append(read_apart([row for row in results["key_per_image"] if row["scheme"] == scheme]))
    parts += [know_some(mine), keep(scheme), conclude(seen, mine)]
    return " ".join(part for part in parts if part)


def choose_best(rows: list[Record]) -> list[Record]:
    """The best attack at each budget: the one farthest above guessing."""
    best: dict[int, Record] = {}
    for row in sorted(rows, key=lambda row: (row["budget"], row["ssim"]["mean"] - row["guess_ssim"])):
        best[row["budget"]] = row
    return list(best.values())


def read_alone(rows: list[Record]) -> str:
    if not rows:
        return "None of our attacks reads anything from ciphertexts alone."
    told = []
    for attack, group in groupby(rows, key=lambda row: row["attack"]):
        told.append(f"`{attack}` " + ", ".join(f"{score(row)} with {row['budget']:,}" for row in group))
    return f"Ciphertexts alone, SSIM: {'; '.join(told)}; guessing {rows[-1]['guess_ssim']:.2f}."


def score(row: Record) -> str:
    exact = row["exact_pixels"]["min"] == 1
    fitted = "" if row["alignment"] == "none" else " *fitted*"
    return "every value" if exact else f"{row['ssim']['mean']:.3f}{fitted}"


def read_apart(rows: list[Record]) -> str:
    if not rows:
        return "No attack of ours reads a single image with a key of its own."
    row = max(rows, key=lambda row: row["ssim"]["mean"] - row["guess_ssim"])
    told = f"{row['ssim']['mean']:.2f}{'' if row['alignment'] == 'none' else ' *fitted*'} by `{row['attack']}`"
    versus = f"guessing {row['guess_ssim']:.2f}, {row['n']} images under as many keys"
    start = (
        "With a key for each image still"
        if row["beats_guessing"]
        else "With a key for each image not beyond guessing:"
    )
    return f"{start} {told} ({versus})."


def know_some(rows: list[Record]) -> str:
    known = sorted((row["budget"], row) for row in rows if row["threat_model"] == "kpa")
    exact = [budget for budget, row in known if row["exact_pixels"]["min"] == 1]
    if exact:
        return f"{exact[0]} known picture{'s give' if exact[0] > 1 else ' gives'} all others exactly."
    best = max((row["ssim"]["mean"], budget) for budget, row in known)
    return f"Known pictures help little with the others (SSIM {best[0]:.2f} with {best[1]})."


def keep(scheme: str) -> str:
    record = load("scheme-comparison-cpu.json")
    if record is None:
        return ""
    reached = {
        row["scheme"]: row["mean"]
        for row in record["results"]["rows"]
        if (row["model"], row["way"]) == (MODEL, "none") and row["mean"] is not None
    }
    if scheme not in reached:
        return ""
    return f"A classifier trained on it keeps {reached[scheme]:.1%} (plain {reached['identity']:.1%})."


def conclude(seen: list[Record], rows: list[Record]) -> str:
    top = max((row["ssim"]["mean"] for row in seen), default=0.0)
    if top >= ONCE:
        return "Whoever collects ciphertexts under one key sees the pictures."
    if top >= OFTEN:
        return "Much of the pictures shows to anybody who collects ciphertexts."
    if any(row["beats_guessing"] for row in seen):
        return "Something of the pictures shows in each ciphertext."
    known = any(row["exact_pixels"]["min"] == 1 for row in rows)
    return f"That we did not read ciphertexts alone is no proof; {'one' if known else 'no'} known picture ends it."


def describe_rest() -> str:
    return (
        "**`etc-legacy`** is `etc` as it was published with a fault: none of our quick attacks applies to it, "
        "which says nothing about its strength. **`stream`** is real encryption, the control: nothing is read, and "
        "nothing can be learned. **`identity`** hides nothing."
    )
