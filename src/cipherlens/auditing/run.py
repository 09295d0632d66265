"""The audit: run every attack that applies, at several budgets, with controls, and build one report."""

import datetime
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.attacks.base import to_unit
from cipherlens.attacks.model.keyed_runs import KeyedRun
from cipherlens.auditing.coverage import choose_attacks, choose_keyed_runs, list_missing
from cipherlens.auditing.jobs import Job, Outcome, plan_all_jobs, run_jobs
from cipherlens.auditing.report.write import PictureRow, find_worst
from cipherlens.auditing.thresholds import check_thresholds
from cipherlens.auditing.trust import find_struck, list_counted
from cipherlens.auditing.verdict import list_late
from cipherlens.auditing.wording import Record, title_words
from cipherlens.ciphers.estimated_inverse import Target as SealedWith
from cipherlens.data.run_files import read_run_files
from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.errors import DataError, UsageError
from cipherlens.evaluation.target import Target
from cipherlens.keys import Key
from cipherlens.records import describe_environment

_MOST_MINUTES = 1e6
"""Upper limit of an audit's time, about two years. Chosen by hand."""


@dataclass(frozen=True)
class AuditConfig:
    """Settings of an audit: attacks (empty: all that can run), worker processes, time limit in minutes, seed."""

    attacks: tuple[str, ...] = ()
    workers: int = 1
    minutes: float = 10.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise UsageError("workers are at least 1")
        if not 0 < self.minutes <= _MOST_MINUTES:
            raise UsageError(f"minutes are above 0, and at most {_MOST_MINUTES:,.0f}")


Progress = Callable[[int, int, str], None]


def audit(
    dataset: SealedDataset,
    target: Target,
    command: str,
    runs: Sequence[Path] = (),
    limits: dict[str, float] | None = None,
    effort: AuditConfig | None = None,
    key: Key | None = None,
    progress: Progress | None = None,
    others: Sequence[Target] = (),
) -> tuple[dict[str, Any], list[PictureRow]]:
    """Run the attacks that apply to the data set's cipher; return the report's content and its pictures.

    ``key`` is the victim's, where ``target`` has one to encrypt chosen pictures. Of ``runs`` the report has the
    accuracy. Those that hold a key are attacked too: locked ones with the key, folded ones beside their plain run.
    ``progress`` is called with the number of finished jobs, the number of all jobs, and the names of the running
    ones. ``others`` are the targets of attackers who know more or less of what pictures look like: attacks that
    depend on it run there too. Raises UsageError for attacks that cannot run on this data set.
    """
    effort, accuracy = effort or AuditConfig(), [read_accuracy(run) for run in runs]
    keyed, refused = choose_keyed_runs(target, runs, SealedWith.of(dataset.spec.to_json()))
    in_hand = [one.create(target.bound) for one in keyed]
    attacks = choose_attacks(target, effort.attacks, in_hand, refused, others)
    jobs = plan_all_jobs(attacks, (target, *others), effort.seed, in_hand)
    started = time.monotonic()
    outcomes = _collect((target, *others), jobs, key, effort, progress, keyed)
    seconds = time.monotonic() - started
    names = [attack.name for attack in attacks]
    # Jobs finish in any order; the report sorts them by attack and budget.
    ordered = sorted(outcomes, key=lambda job: (names.index(job.attack), job.target, job.budget or 0))
    done = [outcomes[job] for job in ordered]
    evaluations = [outcome.evaluation for outcome in done if outcome.evaluation is not None]
    missing = list_missing(target, attacks, [job for job in jobs if job not in outcomes], in_hand, refused, others)
    controls = [asdict(control) for outcome in done for control in outcome.controls]
    struck = find_struck(controls)
    counted = [evaluation for evaluation in evaluations if evaluation.attack not in struck]
    unfinished = [*list_late(missing), *(row for row in controls if row["attack"] in struck)]
    report: dict[str, Any] = {
        "format": "cipherlens-audit",
        "version": 1,
        "created": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "command": command,
        "sealed": _describe(dataset),
        "environment": describe_environment(),
        "effort": {"workers": effort.workers, "minutes": effort.minutes, "seconds": seconds},
        "attacks": [evaluation.to_json() for evaluation in evaluations],
        "controls": controls,
        "not_run": missing,
        "accuracy": accuracy,
        "thresholds": check_thresholds(counted, limits or {}, unfinished),
    }
    pictures = {title_words(o.evaluation.to_json()): o.pictures for o in done if o.evaluation is not None}
    return report, _pick_pictures(target, report["attacks"], controls, pictures)


def _collect(
    targets: Sequence[Target],
    jobs: Sequence[Job],
    key: Key | None,
    effort: AuditConfig,
    progress: Progress | None,
    keyed: Sequence[KeyedRun],
) -> dict[Job, Outcome]:
    outcomes: dict[Job, Outcome] = {}

    def tell() -> None:
        # Jobs start in this order, so the first unfinished ones are running.
        begun = [job.name for job in jobs if job not in outcomes][: effort.workers]
        if progress:
            progress(len(outcomes), len(jobs), "; ".join(begun))

    tell()
    # Closing the generator stops the workers after an error or an interrupt.
    with closing(run_jobs(targets, jobs, key, effort.workers, 60 * effort.minutes, keyed)) as running:
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


def read_accuracy(run: Path) -> dict[str, Any]:
    """The test accuracy of a run folder after its last epoch, with its settings."""
    files = read_run_files(run)
    try:
        config, data, last = files.config, files.data, files.epochs[-1]
        cipher, adapted = str(files.provenance["cipher"]), config["adapt_block"] is not None
        classes, accuracy = len(data["classes"]), last["test_accuracy"]
        if not classes or not (accuracy is None or isinstance(accuracy, int | float)):
            raise ValueError("its figures are none")
        model, images = str(config["model"]), int(data["test_images"])
    except (ValueError, KeyError, IndexError, TypeError, OverflowError) as error:
        raise DataError(f"{run} is not a finished run: {error}", hint="give run folders made by train") from None
    name = "plain images" if cipher == "identity" else f"{cipher} images"
    front = ", read first" if files.can_decrypt else ", adaptation network" if adapted else ""
    return {
        "name": f"{name}{front}",
        "cipher": cipher,
        "model": model,
        "adaptation": adapted,
        "read_first": files.can_decrypt,
        "accuracy": accuracy,
        "n": images,
        "chance": 1 / classes,
        "epochs": len(files.epochs),
    }


def _pick_pictures(
    target: Target,
    records: Sequence[Record],
    controls: Sequence[Record],
    pictures: dict[str, dict[int, NDArray[np.uint8]]],
) -> list[PictureRow]:
    """The same few images for every attack at its largest budget, and for the worst case of each threat model.

    ``pictures`` holds those of every attack and budget, by title and image number.
    """
    largest = {(record["attack"], record.get("knowledge")): record for record in records}  # budgets grow
    worst = [record for record in find_worst(list_counted(records, controls)).values() if record is not None]
    titles = list(dict.fromkeys(map(title_words, [*largest.values(), *worst])))
    return [
        PictureRow(
            target.plain[image],
            target.ct[image],
            {title: to_unit(pictures[title][image]) for title in titles if image in pictures[title]},
        )
        for image in sorted({image for title in titles for image in pictures[title]})
    ]
