"""``cipherlens reproduce``: run a published experiment again."""

import os
import shlex
from pathlib import Path
from typing import Any, Literal

from cipherlens.cli.console import Json, emit, progress_bar, say


def reproduce(
    name: str,
    *,
    scale: Literal["smoke", "cpu", "full"] = "smoke",
    source: str | None = None,
    out: Path | None = None,
    record: Path | None = None,
    threads: int = 0,
    as_json: Json = False,
) -> None:
    """Run a published experiment again, beside the published figures. Interrupted, the same command continues.

    Parameters
    ----------
    name
        privdl-access or privdl-segmentation.
    scale
        smoke says whether it runs (seconds, generated images), cpu takes hours on two cores, full wants a GPU.
    source
        Other images than the experiment's own.
    out
        Working folder; reproduce/NAME-SCALE by default.
    record
        Write the measurement as JSON, with command, hardware and versions.
    threads
        CPU threads for training; 0 is torch's choice.
    """
    from cipherlens.audit.records import write_record
    from cipherlens.cli.provider import show_progress
    from cipherlens.experiments import read_settings
    from cipherlens.experiments.privdl import Reporter, run_experiment

    settings = read_settings(name, scale, source)
    folder = out or Path("reproduce") / f"{name}-{scale}"
    reporter = Reporter(say, progress_bar, show_progress)
    results = run_experiment(settings, folder, threads, os.cpu_count() or 1, reporter)
    written = record or folder / "record.json"
    command = f"cipherlens reproduce {name} --scale {scale}" + (
        f" --source {shlex.quote(source)}" if source else ""
    )
    write_record(written, command, results)
    emit({"record": str(written), **results}, as_json, [settings.title, *_tabulate(results), str(written)])


def _tabulate(results: dict[str, Any]) -> list[str]:
    lines = []
    for model, measured in results["models"].items():
        lines.append(
            f"{model}, {measured['epochs']} epochs, {results['metric']} on {results['test_images']} images:"
        )
        for row, figure in measured["rows"].items():
            spread = f" ({figure['min']:.2%} to {figure['max']:.2%})" if figure["runs"] > 1 else ""
            published = results["published"].get(row)
            beside = "" if published is None else f"   [published, VGG-16: {published} %]"
            lines.append(f"  {row:32} {figure['mean']:7.2%}{spread}{beside}")
        equal = measured["equality"]
        lines.append(f"  with the key: {equal['same']} of {equal['of']} decisions equal to the plain model's")
    return lines


COMMANDS = (reproduce,)
