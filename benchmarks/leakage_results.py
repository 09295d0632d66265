"""The part of docs/results.md on what leaks: the leaderboard, and how many known pictures give a key."""

from typing import Any

from record_tables import hardware, load, table

Record = dict[str, Any]
MODELS = {"coa": "ciphertexts only", "kpa": "known pictures", "cpa": "chosen pictures"}


def section() -> str:
    parts = [part for part in (leaderboard("leakage-cpu.json"), pairs()) if part]
    return "## What leaks, by scheme\n\n" + "\n".join(parts) if parts else ""


def leaderboard(name: str) -> str:
    record = load(name)
    if record is None:
        return ""
    results = record["results"]
    rows = [describe(results, scheme) for scheme in dict.fromkeys(row["scheme"] for row in results["rows"])]
    failed = [control for control in results["controls"] if not control["passed"]]
    controls = f"{len(results['controls']) - len(failed)} of {len(results['controls'])} controls passed"
    warning = "; not to be believed: " + ", ".join(
        f"{control['attack']} on {control['scheme']} ({control['control']})" for control in failed
    )
    return (
        f"{results['source']}, {results['keys']} keys, prior {results['prior']}. For every threat model the best "
        "attack (farthest above guessing) at its smallest and largest budget: mean SSIM (1 is the same picture), "
        "what guessing scores with the same help, and how many keys were found exactly. *Fitted*: the best affine "
        "map or mirror image was granted. "
        f"{controls}{warning if failed else ''}.\n\n"
        f"![What keyed images give away](pictures/leakage.png)\n\n"
        f"{table(['scheme', *MODELS.values()], rows)}\n\n{hardware(record)}\n"
    )


def describe(results: Record, scheme: str) -> list[str]:
    mine = [row for row in results["rows"] if row["scheme"] == scheme]
    cells = []
    for model in MODELS:
        rows = [row for row in mine if row["threat_model"] == model]
        best: dict[int, Record] = {}
        for row in sorted(rows, key=lambda row: (row["budget"], row["ssim"]["mean"] - row["guess_ssim"])):
            best[row["budget"]] = row
        ends = dict.fromkeys((min(best), max(best))) if best else ()
        cells.append("; ".join(show(best[end]) for end in ends) or "no attack of ours")
    return [scheme, *cells]


def show(row: Record) -> str:
    keys = f", {row['keys_recovered']} of {row['keys']} keys" if row["keys_recovered"] else ""
    fitted = "" if row["alignment"] == "none" else "*fitted*, "
    score = f"{row['ssim']['mean']:.3f} ({fitted}guessing {row['guess_ssim']:.2f})"
    return f"{row['attack']} with {row['budget']:,}: {score}{keys}"


def pairs() -> str:
    record = load("known-pairs.json")
    if record is None:
        return ""
    results = record["results"]
    rows = [
        [
            " ".join([row["cipher"], *(f"{name}={value}" for name, value in row["params"].items())]),
            f"{row['side']}x{row['side']}",
            *(str(row[name] or f"more than {row['most']}") for name in ("pairs", "queries", "noisy_pairs")),
        ]
        for row in results["rows"]
    ]
    header = ["scheme", "images", "known pictures", "chosen pictures", "known pictures, with noise"]
    return (
        f"The fewest pictures in both forms with which all {results['scored']} others come back exactly, under all "
        f"of {results['keys']} keys; with noise (standard deviation one level on all ciphertexts), with which 99 % "
        f"of the values come back within three levels.\n\n{table(header, rows)}\n\n{hardware(record)}\n"
    )
