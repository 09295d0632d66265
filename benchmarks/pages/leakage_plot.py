"""docs/pictures/leakage.svg: what the best attack reads of every scheme, by what the attacker has."""

from pathlib import Path
from typing import Any

from committed import ROOT
from drawings import box, draw, text
from record_tables import load

OUT = ROOT / "docs" / "pictures" / "leakage.svg"
COLUMNS = {"coa": (1, 10, 100, 1000, 10000), "kpa": (1, 10, 100)}
HEADS = {"coa": "ciphertexts alone", "kpa": "known pictures"}
LEFT, CELL, ROW, TOP, GAP = 137, 27, 22, 44, 7
READ = 0.9
"""SSIM from which a cell has the full colour. Chosen by hand."""
FAINT = 0.45
"""Strength of the colour below that, times SSIM, so that text on it can be read."""
WORDS = {"block": "", "orthogonal": "orthogonal", "per_image": "key per image", "scramble": "scrambled"}
Row = dict[str, Any]


def write_pages() -> dict[Path, str]:
    record = load("leakage-cpu.json")
    if record is None:
        return {}
    best = choose_best(record["results"]["rows"])
    schemes = sorted({scheme for scheme, *_ in best}, key=lambda scheme: (-measure(best, scheme), scheme))
    parts = [*list_heads()]
    for number, scheme in enumerate(schemes):
        parts += draw_scheme(scheme, best, TOP + ROW * number)
    shown = draw(
        "leakage",
        "What keyed images give away",
        "A table: for every scheme the similarity (SSIM) of what the best attack reads, by the number of "
        "ciphertexts or of known pictures. Cells in full colour are read. The leaderboard has them as text.",
        TOP + ROW * len(schemes) + 4,
        parts,
    )
    return {OUT: shown}


def choose_best(rows: list[Row]) -> dict[tuple[str, str, int], Row]:
    """Of each scheme, threat model and budget the attack with the largest gain over guessing."""
    best: dict[tuple[str, str, int], Row] = {}
    for row in sorted(rows, key=lambda row: row["ssim"]["mean"] - row["guess_ssim"]):
        best[row["scheme"], row["threat_model"], row["budget"]] = row
    return best


def measure(best: dict[tuple[str, str, int], Row], scheme: str) -> float:
    """How much is read of a scheme from ciphertexts, over all budgets."""
    rows = [best.get((scheme, "coa", budget)) for budget in COLUMNS["coa"]]
    return sum(row["ssim"]["mean"] for row in rows if row is not None and row["beats_guessing"])


def place(model: str, number: int) -> float:
    return LEFT + CELL * number + (0 if model == "coa" else CELL * len(COLUMNS["coa"]) + GAP)


def list_heads() -> list[str]:
    parts = []
    for model, budgets in COLUMNS.items():
        first, end = place(model, 0), place(model, len(budgets))
        known = model == "kpa"  # its head is wider than its columns
        parts.append(
            text(end if known else (first + end) / 2, 14, HEADS[model], "end bold" if known else "mid bold")
        )
        for number, budget in enumerate(budgets):
            short = f"{budget}".removesuffix("000") + "k" * (budget > 999)
            parts.append(text(place(model, number) + CELL / 2, 34, short, "mid soft"))
    return parts


def draw_scheme(scheme: str, best: dict[tuple[str, str, int], Row], y: float) -> list[str]:
    parts = [text(0, y + 15.5, name_scheme(scheme))]
    for model, budgets in COLUMNS.items():
        for number, budget in enumerate(budgets):
            row = best.get((scheme, model, budget))
            parts += draw_cell(row, place(model, number), y)
    return parts


def draw_cell(row: Row | None, x: float, y: float) -> list[str]:
    """Coloured where the attack beats guessing; a dot where none applies."""
    middle = x + CELL / 2
    if row is None:
        return [text(middle, y + 15.5, "·", "mid soft")]
    ssim = row["ssim"]["mean"]
    shown = f"{ssim:.2f}"
    label = "1" if shown == "1.00" else shown.removeprefix("0")
    if not row["beats_guessing"]:
        return [text(middle, y + 15.5, label, "mid soft")]
    strength, look = (1, "mid on") if ssim >= READ else (FAINT * ssim, "mid")
    return [box(x + 0.5, y + 0.5, CELL - 1, ROW - 1, "a", strength), text(middle, y + 15.5, label, look)]


def name_scheme(scheme: str) -> str:
    """Blocks of 4x4 go without saying."""
    name, *params = scheme.split(" ")
    words = [name]
    for param in params:
        key, _, value = param.partition("=")
        word = f"{value}x{value}" if key == "block" and value != "4" else WORDS[key]
        words += [word] if word else []
    return ", ".join(words)
