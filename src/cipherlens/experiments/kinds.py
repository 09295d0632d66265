"""Run an experiment by its kind, and describe its results in lines of text."""

from pathlib import Path
from typing import Any

from cipherlens.errors import unknown_name
from cipherlens.experiments.comparison import run_comparison
from cipherlens.experiments.decryption import run_decryption
from cipherlens.experiments.grid import run_grid
from cipherlens.experiments.leakage import run_leakage
from cipherlens.experiments.plots import describe
from cipherlens.experiments.privdl import run_privdl
from cipherlens.experiments.reporting import Reporter
from cipherlens.experiments.settings import Settings

KINDS = ("access", "segmentation", "grid", "decryption", "comparison", "leakage")


def run_settings(settings: Settings, out: Path, threads: int, report: Reporter) -> tuple[dict[str, Any], list[str]]:
    """Run an experiment in the folder ``out``; return its results as JSON values, and lines of text."""
    if settings.kind not in KINDS:
        raise unknown_name("kind of experiment", settings.kind, list(KINDS))
    if settings.kind == "grid":
        results = run_grid(settings, out, max(1, threads), report)
        return results, [*map(_describe_row, results["rows"]), *_quote(results), str(out / "figure.png")]
    if settings.kind == "comparison":
        results = run_comparison(settings, out, max(1, threads), report)
        return results, [*map(_describe_scheme, results["rows"]), *_quote(results)]
    if settings.kind == "leakage":
        results = run_leakage(settings, out, report)
        return results, [*map(_describe_leak, results["rows"]), str(out / "figure.png")]
    if settings.kind == "decryption":
        results = run_decryption(settings, out, max(1, threads), report)
        return results, [*map(_describe_decryptor, results["rows"]), *_quote(results), str(out / "figure.png")]
    results = run_privdl(settings, out, threads, report)
    return results, _tabulate(results)


def _quote(results: dict[str, Any]) -> list[str]:
    return [f"  [published: {name} {value}]" for name, value in results["published"].items()]


def _describe_decryptor(row: dict[str, Any]) -> str:
    name = row["name"] if row["seed"] is None else f"{row['name']}, seed {row['seed']}"
    found = row["recognition"]
    scores = ""
    if "ssim" in row:
        scores = f"SSIM {row['ssim']:.3f} in {row['training_seconds'] + row['seconds']:.1f} s"
    return f"  {name:36} recognised {found['accuracy']:6.1%}, {found['categories']:2} classes  {scores}"


def _describe_scheme(row: dict[str, Any]) -> str:
    leakage = "; ".join(f"{found['attack']}: SSIM {found['ssim']:.2f}" for found in row["leakage"])
    return (
        f"  {row['scheme']:28} {row['model']:20} {row['way']:7} {row['mean']:7.2%} ({row['min']:.2%} to "
        f"{row['max']:.2%})  {leakage or ('readable' if row['scheme'] == 'identity' else 'no attack here yet')}"
    )


def _describe_leak(row: dict[str, Any]) -> str:
    ssim = row["ssim"]
    recovered = f"; key recovered: {row['keys_recovered']} of {row['keys']}" if row["keys_recovered"] else ""
    return (
        f"  {row['scheme']:30} {row['attack']:20} {row['budget']:6,} {row['budget_unit']:14} "
        f"SSIM {ssim['mean']:.3f} ({ssim['min']:.3f} to {ssim['max']:.3f}), guessing {row['guess_ssim']:.3f}"
        f"{recovered}"
    )


def _describe_row(row: dict[str, Any]) -> str:
    return f"  {describe(row):44} {row['mean']:7.2%} ({row['min']:.2%} to {row['max']:.2%})"


def _tabulate(results: dict[str, Any]) -> list[str]:
    lines = []
    for model, measured in results["models"].items():
        lines.append(
            f"{model}, {measured['epochs']} epochs, {results['metric']} on {results['test_images']} images:"
        )
        for row, figure in measured["rows"].items():
            spread = f" ({figure['min']:.2%} to {figure['max']:.2%})" if figure["runs"] > 1 else ""
            published = results["published"].get(row)
            beside = "" if published is None else f"   [published: {published} %]"
            lines.append(f"  {row:32} {figure['mean']:7.2%}{spread}{beside}")
        equal = measured["equality"]
        lines.append(f"  with the key: {equal['same']} of {equal['of']} decisions equal to the plain model's")
    return lines
