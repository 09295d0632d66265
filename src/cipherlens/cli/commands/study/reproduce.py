"""``cipherlens reproduce``: run a published experiment again."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cipherlens.cli.console import emit, progress_bar, say, show_progress
from cipherlens.cli.options.types import Json, Whole
from cipherlens.errors import UsageError

if TYPE_CHECKING:
    from cipherlens.experiments.entries import Entry


def reproduce(
    name: str,
    /,
    *,
    scale: Literal["smoke", "cpu", "gpu", "full"] = "smoke",
    source: str | None = None,
    out: Path | None = None,
    record: Path | None = None,
    threads: Whole = 0,
    scheme: str | None = None,
    scheme_option: list[str] | None = None,
    attack: str | None = None,
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
    scheme
        leakage: measure this cipher instead of its own, by its name, or as module:Class where no package offers it.
    scheme_option
        NAME=VALUE: a parameter of that cipher; may be repeated.
    attack
        leakage: measure this attack alone, by its name or as module:Class.
    """
    from cipherlens.experiments import read_settings
    from cipherlens.experiments.entries import Entry, enter
    from cipherlens.experiments.kinds import run_settings
    from cipherlens.experiments.reporting import Reporter
    from cipherlens.records import write_record

    if threads < 0:
        raise UsageError("threads is 0 or more")
    settings = read_settings(name, scale, source)
    entry = Entry(scheme, tuple(scheme_option or ()), attack)
    if entry != Entry():
        settings = enter(settings, entry)
    folder = out or Path("reproduce") / "-".join([name, scale, *_list_entered(entry)])
    reporter = Reporter(say, progress_bar, show_progress)
    results, lines = run_settings(settings, folder, threads, reporter)
    written = record or folder / "record.json"
    command = " ".join([f"cipherlens reproduce {name} --scale {scale}", *_list_options(source, entry)])
    write_record(written, command, results)
    emit({"record": str(written), **results}, as_json, [settings.title, *lines, str(written)])


def _list_entered(entry: "Entry") -> list[str]:
    """What the working folder is called after."""
    parts = (entry.scheme, *entry.options, entry.attack)
    return [part.replace(":", ".").replace("=", "") for part in parts if part]


def _list_options(source: str | None, entry: "Entry") -> list[str]:
    """The options that make the same measurement again."""
    options = [("source", source), ("scheme", entry.scheme)]
    options += [("scheme-option", option) for option in entry.options] + [("attack", entry.attack)]
    return [f"--{option} {shlex.quote(value)}" for option, value in options if value]
