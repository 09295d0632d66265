"""docs/er-cnn.md from results/ercnn-*.json; write_results.py calls it."""

import statistics
from collections.abc import Iterable
from typing import Any

from locked_results import hardware, load, table

Record = dict[str, Any]
GRIDS = {
    "batch-size": "Batch size (figures 4-1 to 4-3)",
    "learning-rate": "Learning rate (figure 4-4)",
    "kernel-size": "Kernel size of the adaptation network (figure 4-5)",
    "models-32": "Models at 32x32 (figure 4-6)",
    "models-224": "Models at 224x224 (figures 4-7 and 4-8)",
    "legacy-padding": "Windows on and off the cipher's grid (a fault of the report's code)",
}
DECRYPTIONS = {
    "multi-round": "Several rounds (figures 5-2 to 5-4)",
    "approach-one": "Approach one: disjoint classes (figures 5-7 and 5-8)",
    "approach-two": "Approach two: images outside the pretraining set (figures 5-9 and 5-10)",
}
HEAD = """# ER-CNN: the whole study

The CAS771 report puts an *adaptation network*, a linear map per block, in front of a CNN, and asks two things: does it help a provider to classify images under a Hill cipher, and does it decrypt them for an eavesdropper. Each of its figures is a file of `experiments/`, run by `cipherlens reproduce NAME --scale smoke|cpu|full` and continued by the same command. `full` is the report's own setting, for a GPU, and has not been run by us: no GPU was lent to the sessions that built this. All figures below are ours at `cpu` scale unless marked *published*; accuracies are of the last epoch on test images, ranges are over seeds. Published values are of other networks, budgets and data, so they tell the direction, not what ours should reach.
"""  # noqa: E501


def write_page(findings: str) -> str:
    parts = [HEAD, findings]
    parts += [part for name, title in GRIDS.items() if (part := describe_grid(name, title))]
    parts += [part for name, title in DECRYPTIONS.items() if (part := describe_decryption(name, title))]
    return "\n".join(parts)


def show_published(results: Record) -> str:
    return "; ".join(f"*published*: {name} {value}" for name, value in results["published"].items())


def show_spread(low: float, high: float) -> str:
    return "" if low == high else f" ({low:.1%} to {high:.1%})"


def describe_grid(name: str, title: str) -> str:
    record = load(f"ercnn-{name}-cpu.json")
    if record is None:
        return ""
    results = record["results"]
    axes = list(results["axes"])
    rows = [
        [*(str(row["axes"][axis]) for axis in axes), f"{row['mean']:.1%}{show_spread(row['min'], row['max'])}"]
        for row in results["rows"]
    ]
    header = [*(axis.replace("_", " ") for axis in axes), "test accuracy"]
    base = ", ".join(f"{key} {value}" for key, value in results["base"].items())
    return "\n\n".join(
        [
            f"## {title}",
            f"![{title}](pictures/ercnn-{name}.png)",
            table(header, rows),
            f"{describe_data(results)}; {base}. {show_published(results)}",
            f"{hardware(record)}\n",
        ]
    )


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
    header = ["decryptor", "SSIM", "PSNR, dB", "recognised", "categories", "seconds"]
    names = dict.fromkeys(row["name"] for row in results["rows"])
    rows = [describe_decryptor(found, [r for r in results["rows"] if r["name"] == found]) for found in names]
    chance = results["rows"][0]["recognition"]["chance"]
    guess = results["rows"][0]["guess_ssim"]
    train = ", ".join(f"{key} {value}" for key, value in results["train"].items())
    runs = "; ".join(f"{run}: {found['last']:.1%}" for run, found in sorted(results["runs"].items()))
    return "\n\n".join(
        [
            f"## {title}",
            f"![{title}](pictures/ercnn-{name}.png)",
            table(header, rows),
            f"{results['attacked']} test images; guessing scores SSIM {guess:.2f}, chance recognises {chance:.0%}. "
            f"SSIM is after the best affine fit per channel for the adaptation network. Test accuracy: {runs}.",
            f"{describe_data(results)}; {train}. {show_published(results)}",
            f"{hardware(record)}\n",
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
        f"{mean(row['seconds'] for row in rows):.1f}",
    ]


def mean(values: Iterable[float]) -> float:
    return statistics.mean(list(values))
