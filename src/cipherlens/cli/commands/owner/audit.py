"""The command audit: what a sealed data set gives away, in one report. The plain images serve scoring only."""

import os
import shlex
import sys
from pathlib import Path
from tempfile import gettempdir
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from cipherlens.cli.console import emit, progress_bar, say, say_discarded
from cipherlens.cli.options.attacks import AttackerOptions
from cipherlens.cli.options.keys import GivenKey
from cipherlens.cli.options.types import WORK, Discard, Json, OptionalWhole, SealedSet
from cipherlens.cli.runs import open_sealed
from cipherlens.data.output_lock import hold_folder
from cipherlens.data.partial import discard_leftovers
from cipherlens.errors import PartialResultError, ThresholdExceeded

if TYPE_CHECKING:
    from cipherlens.auditing.result import AuditReport

_WHY = {True: "did not run", False: "do not count, because a control failed"}


def audit(
    sealed: SealedSet,
    /,
    *,
    plain: str,
    out: Path,
    attacks: list[str] | None = None,
    run: list[Path] | None = None,
    fail_above: list[str] | None = None,
    attacker: AttackerOptions = AttackerOptions(),
    keys: GivenKey = GivenKey(),
    minutes: Annotated[float, Parameter(group=WORK)] = 10.0,
    workers: Annotated[OptionalWhole, Parameter(group=WORK)] = None,
    discard: Discard = False,
    as_json: Json = False,
) -> None:
    """Measure what a sealed data set gives away: all attacks that apply, with controls, in one report.

    With --key also the attacks that have pictures of their choice encrypted. Exits with 5 if a --fail-above limit
    is exceeded; with 6 if none is, but time was too short for some attacks, or a control failed.

    Parameters
    ----------
    sealed
        Folder made by encrypt.
    plain
        The source that was encrypted.
    out
        Folder for report.json and report.html.
    attacks
        Run only these: names, separated by commas; may be repeated.
    minutes
        Time for the attacks. What is not done by then is ended, and the report says so. Every attack gets its most
        material first, then its controls.
    workers
        Worker processes; all cores by default.
    run
        Run folders trained on this data, for the accuracy part; may be repeated. A locked one is attacked too (it
        needs --key), and so is a folded one beside the plain run that it was made of.
    fail_above
        METRIC=LIMIT with metric ssim, psnr or exact_pixels; may be repeated.
    """
    from cipherlens.auditing.run import AuditConfig
    from cipherlens.auditing.run import audit as run_audit
    from cipherlens.auditing.summary import summary_lines
    from cipherlens.auditing.thresholds import parse_limits

    left = discard_leftovers(Path(gettempdir()))
    say_discarded(left)
    if discard:
        emit({"discarded": list(map(str, left))}, as_json, [f"{len(left)} unfinished results removed"])
        return
    config = AuditConfig(
        attacks=tuple(name.strip() for text in attacks or () for name in text.split(",")),
        workers=(os.cpu_count() or 1) if workers is None else workers,
        minutes=minutes,
        seed=attacker.seed,
        images=attacker.budget,
        prior=attacker.prior,
        split=attacker.split,
        max_pixels=attacker.max_pixels,
        limits=parse_limits(fail_above or []),
    )
    oracle_key = keys.load()
    dataset = open_sealed(sealed, oracle_key)
    with hold_folder(out):
        with progress_bar("attacking") as progress:
            report = run_audit(
                dataset,
                plain,
                config,
                key=oracle_key,
                runs=run or (),
                command=shlex.join(["cipherlens", *sys.argv[1:]]),
                progress=progress,
            )
        page = report.write(out)
    emit({"report": str(page), **report.to_record()}, as_json, [*summary_lines(report), str(page)])
    _judge(report, page)


def _judge(report: "AuditReport", page: Path) -> None:
    """Say what was not run, and fail where a limit is exceeded, or may be for all that was run."""
    from cipherlens.auditing.verdict import list_late
    from cipherlens.auditing.wording import missing_words

    late = [missing_words(row) for row in list_late(report.not_run)]
    if late:
        say(f"not run, out of time ({report.effort['minutes']:g} minutes): {'; '.join(late)}")
    exceeded = [row for row in report.thresholds if row["exceeded"]]
    if exceeded:
        worst = exceeded[0]
        raise ThresholdExceeded(
            f"{worst['metric']} {worst['measured']:.3f} of {worst['attack']} is above {worst['limit']}"
            f"{'; some attacks did not run' * bool(late)}",
            hint=f"see {page}",
        )
    if not all(row["complete"] for row in report.thresholds):
        hint = "give them more time with --minutes" if late else f"see {page}"
        raise PartialResultError(f"no limit was exceeded, but some attacks {_WHY[bool(late)]}", hint=hint)
