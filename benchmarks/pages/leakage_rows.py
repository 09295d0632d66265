"""Rows of results/leakage-cpu.json as tables, for the pages of attacks and ciphers and for the leaderboard."""

from collections.abc import Iterable
from typing import Any

from broken_by import NEARLY, parse_scheme
from record_tables import load, table

from cipherlens.attacks.registry import canonical_name

Record = dict[str, Any]
NAME = "leakage-cpu.json"
MODELS = {
    "coa": "ciphertexts only",
    "labels": "ciphertexts and labels",
    "kpa": "known pictures",
    "cpa": "chosen pictures",
    "model": "the model in hand",
}


def list_rows() -> list[Record]:
    """All rows, those with a key for each image marked by ``apart``; none where there is no record."""
    record = load(NAME)
    if record is None:
        return []
    results = record["results"]
    rows = [{**row, "apart": bool(parse_scheme(row["scheme"])[1].get("per_image"))} for row in results["rows"]]
    return rows + [{**row, "apart": True} for row in results["key_per_image"]]


def of_attack(name: str) -> list[Record]:
    return [row for row in list_rows() if canonical_name(row["attack"]) == name]


def of_cipher(name: str) -> list[Record]:
    return [row for row in list_rows() if parse_scheme(row["scheme"])[0] == name]


def show_params(scheme: str) -> str:
    _, params = parse_scheme(scheme)
    shown = [f"{key}={value}" if value is not True else key for key, value in params.items() if key != "per_image"]
    return ", ".join(shown)


def show_ssim(row: Record) -> str:
    """Mean and range over keys; bold where it beats guessing."""
    ssim = {name: f"{value:.3f}" for name, value in row["ssim"].items()}
    spread = "" if ssim["min"] == ssim["max"] else f" ({ssim['min']} to {ssim['max']})"
    return (f"**{ssim['mean']}**" if row["beats_guessing"] else ssim["mean"]) + spread


def link_cipher(name: str, folder: str = "../ciphers/") -> str:
    return f"[`{name}`]({folder}{name}.md)"


def link_attack(name: str, folder: str = "../attacks/") -> str:
    return f"[`{name}`]({folder}{name}.md)"


def show_key(row: Record) -> str:
    return "one for each image" if row["apart"] else "one for all"


def tabulate(rows: Iterable[Record], by_cipher: bool) -> str:
    """A row for each scheme (or attack) and budget."""
    lines = []
    for row in rows:
        name, _ = parse_scheme(row["scheme"])
        first = link_cipher(name) if by_cipher else link_attack(canonical_name(row["attack"]))
        lines.append(
            [
                first,
                show_params(row["scheme"]),
                show_key(row),
                *([] if by_cipher else [MODELS[row["threat_model"]]]),
                f"{row['budget']:,}",
                f"{row['n']:,}",
                show_ssim(row),
                f"{row['guess_ssim']:.2f}",
                f"{row['exact_pixels']['mean']:.1%}",
                f"{row['seconds']:.3g}",
            ]
        )
    header = [*(["cipher"] if by_cipher else ["attack"]), "parameters", "key"]
    header += [] if by_cipher else ["attacker has"]
    return table([*header, "budget", "images scored", "SSIM", "guessing", "exact values", "seconds"], lines)


def choose_best(rows: Iterable[Record]) -> list[Record]:
    """Of each scheme and attack the best row; where others are nearly as good, the cheapest."""
    best: dict[tuple[Any, ...], Record] = {}
    for row in sorted(rows, key=lambda row: row["budget"]):
        group = (row["scheme"], row["apart"], canonical_name(row["attack"]))
        known = best.get(group)
        if known is None or row["ssim"]["mean"] > known["ssim"]["mean"] + NEARLY:
            best[group] = row
    return list(best.values())


def excess(row: Record) -> float:
    return float(row["ssim"]["mean"] - row["guess_ssim"])
