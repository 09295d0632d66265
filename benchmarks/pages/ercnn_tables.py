"""The tables of docs/er-cnn.md: grids of trainings, and decryptors."""

import statistics
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from committed import fold
from record_tables import hardware, load, table

Record = dict[str, Any]
EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def show_published(results: Record) -> str:
    return "; ".join(f"*published*: {name} {value}" for name, value in results["published"].items())


def show_spread(low: float, high: float) -> str:
    return "" if low == high else f" ({low:.1%} to {high:.1%})"


def describe_grid(name: str, title: str) -> str:
    record = load(f"ercnn-{name}-cpu.json")
    if record is None:
        return ""
    results = record["results"]
    axes, scored = list(results["axes"]), any("ssim" in row for row in results["rows"])
    rows = [
        [
            *(str(row["axes"][axis]) for axis in axes),
            f"{row['mean']:.1%}{show_spread(row['min'], row['max'])}",
            *([f"{row['ssim']:.3f} ({row['guess_ssim']:.3f})" if "ssim" in row else ""] if scored else []),
        ]
        for row in results["rows"]
    ]
    header = [*(axis.replace("_", " ") for axis in axes), "test accuracy"]
    header += ["SSIM of pictures (guessing)"] if scored else []
    base = ", ".join(f"{key} {value}" for key, value in results["base"].items())
    return "\n\n".join(
        [
            f"## {title}",
            f"![{title}](pictures/ercnn-{name}.svg)",
            fold_away(
                table(header, rows),
                f"{describe_data(results)}; {base}. {show_published(results)}{tell_age(name, results)}",
                hardware(record),
            ),
        ]
    )


def fold_away(*parts: str) -> str:
    """The table of a figure, and where it comes from."""
    return fold("\n\n".join(parts), "Table, settings and hardware")


def tell_age(name: str, results: Record) -> str:
    """A sentence where the experiment's file asks for something else now than what was measured."""
    asked = tomllib.loads((EXPERIMENTS / f"ercnn-{name}.toml").read_text(encoding="utf-8"))["cpu"]
    names = [part for part in ("cipher", "seeds", "axes") if part in asked]
    changed = any(asked[part] != results[part] for part in names)
    changed |= asked["source"].partition(":")[2] != results["source"]
    changed |= max(results["images"].values()) < asked.get("limit", 0)
    return " **The settings of this scale have been changed since.**" if changed else ""


def describe_data(results: Record) -> str:
    seeds = len(results["seeds"])
    images = ", ".join(f"{count:,} {split}" for split, count in results["images"].items())
    cipher = results["cipher"]
    return (
        f"{results['source']} ({images} images), {cipher['name']} {cipher['block']}x{cipher['block']}, "
        f"{seeds} seed{'s' if seeds > 1 else ''}"
    )


def describe_decryption(name: str, title: str) -> str:
    record = load(f"ercnn-{name}-cpu.json")
    if record is None:
        return ""
    results = record["results"]
    header = ["decryptor", "SSIM", "PSNR, dB", "recognised", "categories", "seconds (training)"]
    names = dict.fromkeys(row["name"] for row in results["rows"])
    rows = [describe_decryptor(found, [r for r in results["rows"] if r["name"] == found]) for found in names]
    chance = results["rows"][0]["recognition"]["chance"]
    guess = results["rows"][0]["guess_ssim"]
    train = ", ".join(f"{key} {value}" for key, value in results["train"].items())
    runs = "; ".join(f"{run}: {found['last']:.1%}" for run, found in sorted(results["runs"].items()))
    return "\n\n".join(
        [
            f"## {title}",
            f"![{title}](pictures/ercnn-{name}.svg)",
            fold_away(
                table(header, rows),
                f"{results['attacked']} test images; guessing scores SSIM {guess:.2f}, chance recognises "
                f"{chance:.0%}. SSIM is after the best affine fit per channel for the adaptation network. "
                f"Test accuracy: {runs}.",
                f"{describe_data(results)}; {train}. {show_published(results)}{tell_age(name, results)}",
                hardware(record),
            ),
        ]
    )


def describe_decryptor(name: str, rows: list[Record]) -> list[str]:
    found = [row["recognition"] for row in rows]
    shares = [one["accuracy"] for one in found]
    categories = statistics.mean(one["categories"] for one in found)
    cells = [f"{statistics.mean(shares):.1%}{show_spread(min(shares), max(shares))}", f"{categories:g}"]
    if "ssim" not in rows[0]:
        return [name, "", "", *cells, ""]
    ssim = [row["ssim"] for row in rows]
    spread = "" if len(ssim) == 1 else f" ({min(ssim):.3f} to {max(ssim):.3f})"
    return [
        name,
        f"{statistics.mean(ssim):.3f}{spread}",
        f"{mean(row['psnr'] for row in rows):.1f}",
        *cells,
        f"{mean(row['seconds'] for row in rows):.1f} ({mean(row['training_seconds'] for row in rows):,.0f})",
    ]


def mean(values: Iterable[float]) -> float:
    return statistics.mean(list(values))
