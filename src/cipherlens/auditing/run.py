"""The audit: run every attack that applies, at several budgets, with controls, and build one report."""

import datetime
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from cipherlens.attacks.base import Attack
from cipherlens.attacks.model.keyed_runs import KeyedRun
from cipherlens.auditing.accuracy import read_accuracy
from cipherlens.auditing.coverage import choose_attacks, choose_keyed_runs, list_missing
from cipherlens.auditing.jobs import Job, Outcome, keep_best, plan_all_jobs, run_jobs
from cipherlens.auditing.result import AuditReport
from cipherlens.auditing.samples import pick_exposed, pick_pictures
from cipherlens.auditing.thresholds import check_limits, check_thresholds
from cipherlens.auditing.trust import find_struck
from cipherlens.auditing.verdict import list_late
from cipherlens.auditing.wording import Record
from cipherlens.ciphers.estimated_inverse import Target as SealedWith
from cipherlens.data.decoding import MAX_PIXELS
from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.data.storage.url import Place
from cipherlens.errors import UsageError
from cipherlens.evaluation.attackers import load_targets
from cipherlens.evaluation.harness import Evaluation
from cipherlens.evaluation.load import SAME_SOURCE, default_count
from cipherlens.evaluation.target import Target
from cipherlens.keys import Key
from cipherlens.records import describe_environment

_MOST_MINUTES = 1e6
"""Upper limit of an audit's time, about two years. Chosen by hand."""


@dataclass(frozen=True)
class AuditConfig:
    """Settings of an audit.

    ``attacks`` are names; without any, all run that can. ``images`` is the maximum number of images attacked, by
    default about 20 million values, at most 1,000 images. ``prior`` names the public images that attackers have:
    "plain" for other images of the same source, "parametric" for none, or a source. ``split`` is the one attacked,
    by default test images, and all splits where there are few. ``limits`` hold the most that may leak, by metric
    (ssim, psnr, exact_pixels). ``minutes`` is the time for all attacks, ``workers`` the number of processes.
    """

    attacks: tuple[str, ...] = ()
    workers: int = 1
    minutes: float = 10.0
    seed: int = 0
    images: int | None = None
    prior: str = SAME_SOURCE
    split: str | None = None
    max_pixels: int = MAX_PIXELS
    limits: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.attacks, str):
            raise UsageError("attacks are a tuple of names", hint=f"({self.attacks!r},)")
        if self.workers < 1:
            raise UsageError("workers are at least 1")
        if self.images is not None and self.images < 1:
            raise UsageError("images are at least 1", hint="leave them away for the default")
        if not 0 < self.minutes <= _MOST_MINUTES:
            raise UsageError(f"minutes are above 0, and at most {_MOST_MINUTES:,.0f}")
        check_limits(self.limits)


Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class _Plan:
    """What is attacked: targets, attacks, their jobs, and the runs that hold a model."""

    targets: tuple[Target, ...]
    attacks: list[Attack]
    jobs: list[Job]
    keyed: list[KeyedRun]
    in_hand: list[Attack]
    refused: Mapping[type[Attack], str]


def audit(
    dataset: SealedDataset | str | Place,
    plain: str | Path,
    config: AuditConfig | None = None,
    *,
    key: Key | None = None,
    runs: Sequence[str | Path] = (),
    command: str = "cipherlens.audit",
    progress: Progress | None = None,
) -> AuditReport:
    """Run the attacks that apply to a sealed data set, and report what they read.

    ``dataset`` is a data set or its folder, ``plain`` the source that was sealed, which serves scoring. With the
    victim's ``key`` a folder is authenticated, attackers can have pictures of their choice encrypted, and locked
    models work. Of ``runs`` (run folders) the report has the accuracy; those that hold a key are attacked too.
    ``command`` is what the report says it was made by. ``progress`` is called with the number of finished jobs, of
    all jobs, and the names of the running ones. Worker processes start the caller's module anew, so scripts guard
    their start with ``__main__``.

    Raises UsageError for attacks that cannot run on this data set, DataError for a source that does not fit.
    """
    # What pages need is missed now, not after the attacks.
    from cipherlens.auditing.report import html  # noqa: F401

    config = config or AuditConfig()
    dataset = dataset if isinstance(dataset, SealedDataset) else SealedDataset.open(dataset, key)
    folders = [Path(run) for run in runs]
    accuracy = tuple(read_accuracy(run) for run in folders)
    plan = _plan(dataset, str(plain), config, key, folders)
    started = time.monotonic()
    outcomes = keep_best(_collect(plan, key, config, progress))
    effort = {"workers": config.workers, "minutes": config.minutes, "seconds": time.monotonic() - started}
    # Jobs finish in any order; the report sorts them by attack and budget.
    names = [attack.name for attack in plan.attacks]
    ordered = sorted(outcomes, key=lambda job: (names.index(job.attack), job.target, job.budget or 0))
    done = [outcomes[job] for job in ordered]
    late = [job for job in plan.jobs if job not in outcomes and not job.optional]
    missing = tuple(list_missing(plan.targets, plan.attacks, late, plan.in_hand, plan.refused))
    evaluations = [outcome.evaluation for outcome in done if outcome.evaluation is not None]
    controls = tuple(asdict(control) for outcome in done for control in outcome.controls)
    report = AuditReport(
        created=datetime.datetime.now(datetime.UTC).date().isoformat(),
        command=command,
        sealed=_describe(dataset),
        environment=describe_environment(),
        effort=effort,
        attacks=tuple(evaluation.to_json() for evaluation in evaluations),
        controls=controls,
        not_run=missing,
        accuracy=accuracy,
        thresholds=_check(evaluations, controls, missing, config.limits),
    )
    worst = [row for row in report.worst.values() if row is not None]
    pictures, exposed = (pick(plan.targets[0], done, worst) for pick in (pick_pictures, pick_exposed))
    return replace(report, pictures=pictures, exposed=exposed)


def _check(
    evaluations: Sequence[Evaluation],
    controls: Sequence[Record],
    missing: Sequence[Record],
    limits: Mapping[str, float],
) -> tuple[Record, ...]:
    """Hold the limits against the figures that count; those that do not leave them unfinished."""
    struck = find_struck(controls)
    counted = [evaluation for evaluation in evaluations if evaluation.attack not in struck]
    unfinished = [*list_late(missing), *(row for row in controls if row["attack"] in struck)]
    return tuple(check_thresholds(counted, limits, unfinished))


def _plan(dataset: SealedDataset, plain: str, config: AuditConfig, key: Key | None, runs: Sequence[Path]) -> _Plan:
    count = config.images or default_count(dataset.spec)
    targets = load_targets(dataset, plain, count, config.prior, config.split, key, config.max_pixels)
    keyed, refused = choose_keyed_runs(targets[0], runs, SealedWith.of(dataset.spec.to_json()))
    in_hand = [one.create(targets[0].bound) for one in keyed]
    attacks = choose_attacks(targets, config.attacks, in_hand, refused)
    return _Plan(targets, attacks, plan_all_jobs(attacks, targets, config.seed, in_hand), keyed, in_hand, refused)


def _collect(plan: _Plan, key: Key | None, config: AuditConfig, progress: Progress | None) -> dict[Job, Outcome]:
    outcomes: dict[Job, Outcome] = {}

    def tell() -> None:
        # Jobs start in this order, so the first unfinished ones are running.
        begun = [job.name for job in plan.jobs if job not in outcomes][: config.workers]
        if progress:
            progress(len(outcomes), len(plan.jobs), "; ".join(begun))

    tell()
    # Closing the generator stops the workers after an error or an interrupt.
    arguments = (plan.targets, plan.jobs, key, config.workers, 60 * config.minutes, plan.keyed)
    with closing(run_jobs(*arguments)) as running:
        for outcome in running:
            outcomes[outcome.job] = outcome
            tell()
    return outcomes


def _describe(dataset: SealedDataset) -> dict[str, Any]:
    spec = dataset.spec
    return {
        "cipher": spec.cipher,
        "params": spec.params,
        "key_fingerprint": spec.key_fingerprint,
        "plain_shape": list(spec.plain_shape),
        "ct_dtype": spec.ct_dtype,
        "splits": dataset.splits,
        "classes": list(spec.classes),
        "threat_note": spec.create_cipher().threat_note,
    }
