"""``cipherlens reproduce``: run a published experiment again."""

import shlex
from pathlib import Path
from typing import Literal

from cipherlens.cli.console import emit, progress_bar, say, show_progress
from cipherlens.cli.options.types import Json, Whole
from cipherlens.errors import UsageError


def reproduce(
    name: str,
    /,
    *,
    scale: Literal["smoke", "cpu", "gpu", "full"] = "smoke",
    source: str | None = None,
    out: Path | None = None,
    record: Path | None = None,
    threads: Whole = 0,
    as_json: Json = False,
) -> None:
    """Run a published experiment again, beside the published figures. Interrupted, the same command continues.

    Parameters
    ----------
    name
        One of the files of experiments/: privdl-access, ercnn-batch-size, ...; an unknown name lists them.
    scale
        smoke says whether it runs (seconds, generated images), cpu takes hours on two cores, gpu is for a
        lent accelerator (not every experiment has it), full is the document's own.
    source
        Other images than the experiment's own.
    out
        Working folder; reproduce/NAME-SCALE by default.
    record
        Write the measurement as JSON, with command, hardware and versions.
    threads
        CPU threads of each training. By default torch's choice for PrivDL's experiments, where one runs at a time,
        and 1 for those of ER-CNN, where as many run at once as there are cores.
    """
    from cipherlens.experiments import read_settings
    from cipherlens.experiments.kinds import run_settings
    from cipherlens.experiments.reporting import Reporter
    from cipherlens.records import write_record

    if threads < 0:
        raise UsageError("threads is 0 or more")
    settings = read_settings(name, scale, source)
    folder = out or Path("reproduce") / f"{name}-{scale}"
    reporter = Reporter(say, progress_bar, show_progress)
    results, lines = run_settings(settings, folder, threads, reporter)
    written = record or folder / "record.json"
    command = f"cipherlens reproduce {name} --scale {scale}" + (
        f" --source {shlex.quote(source)}" if source else ""
    )
    write_record(written, command, results)
    emit({"record": str(written), **results}, as_json, [settings.title, *lines, str(written)])
