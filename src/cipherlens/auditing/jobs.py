"""Run the jobs of an audit in worker processes: attacks and their controls, the most informative first."""

import os
import secrets
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.attacks import THREAT_MODELS, get_attack
from cipherlens.attacks.base import Attack
from cipherlens.attacks.model.keyed_runs import KeyedRun
from cipherlens.data.partial import partial_folder
from cipherlens.data.sealed.workers import run_in_processes
from cipherlens.evaluation.controls import Control, run_controls
from cipherlens.evaluation.harness import Evaluation, default_budgets, evaluate
from cipherlens.evaluation.target import Target
from cipherlens.evaluation.views import MAX_SCORED
from cipherlens.keys import Key

_PICTURES = 6
"""At most this many reconstructed images of a job are kept for the report. Chosen by hand."""


@dataclass(frozen=True)
class Job:
    """One attack at one budget; without a budget, its two controls."""

    attack: str
    budget: int | None
    seed: int

    @property
    def name(self) -> str:
        """The job's name in the progress display."""
        return f"{self.attack}, controls" if self.budget is None else f"{self.attack}, {self.budget:,}"


@dataclass(frozen=True)
class Outcome:
    """The result of a job: its two controls, or an evaluation, with a few pictures instead of the reconstruction.

    ``pictures`` are (C, H, W) uint8, by image number.
    """

    job: Job
    evaluation: Evaluation | None = None
    controls: tuple[Control, ...] = ()
    pictures: dict[int, NDArray[np.uint8]] = field(default_factory=dict)


def plan_jobs(attacks: Sequence[Attack], total: int, seed: int, key_per_image: bool = False) -> list[Job]:
    """All jobs on ``total`` images, the most important first.

    First comes the worst case: every attack at its largest budget, the threat models in turn. Then come the
    controls, which validate all figures. Then come the smaller budgets, in falling order.
    """
    by_model = [[attack for attack in attacks if attack.threat_model == model] for model in THREAT_MODELS.values()]
    turns = [attack for turn in zip_longest(*by_model) for attack in turn if attack is not None]
    budgets = [sorted(default_budgets(attack, total, key_per_image), reverse=True) for attack in turns]
    waves = [
        [Job(attack.name, budget, seed) for attack, budget in zip(turns, wave, strict=True) if budget is not None]
        for wave in zip_longest(*budgets)
    ]
    waves.insert(1, [Job(attack.name, None, seed) for attack in turns])
    return [job for wave in waves for job in wave]


def run_jobs(
    target: Target,
    jobs: Sequence[Job],
    key: Key | None,
    workers: int,
    seconds: float,
    keyed: Sequence[KeyedRun] = (),
) -> Generator[Outcome, None, None]:
    """Yield outcomes as jobs finish, for at most ``seconds``; then the workers are stopped.

    An outcome depends on its job alone, not on the number of workers or on other jobs. The stream control is an
    exception, because its nonces are random. ``key`` is the victim's: it encrypts chosen pictures, and makes locked
    models work. ``keyed`` are the runs of attacks that hold a model.
    """
    if not jobs:
        return
    # The name is random, because several audits may run at once.
    with partial_folder(Path(gettempdir()) / f"audit-{secrets.token_hex(8)}") as folder:
        for name in _ARRAYS:
            if (images := getattr(target, name)) is not None:
                np.save(folder / f"{name}.npy", images)
        # Workers share the images as files. A bound cipher holds the key and cannot be pickled.
        facts = {name: getattr(target, name) for name in ("cipher", "prior", "images_apart")}
        started = min(workers, len(jobs))
        arguments = (facts, str(folder), started, None if key is None else key.to_bytes(), tuple(keyed))
        yield from run_in_processes(run_job, jobs, started, start_worker, arguments, seconds)


_ARRAYS = ("plain", "ct", "public", "labels", "public_labels")
_target: Target
_keyed: dict[str, KeyedRun] = {}


def start_worker(
    facts: dict[str, Any], folder: str, workers: int, key: bytes | None, keyed: Sequence[KeyedRun] = ()
) -> None:
    """Load what all jobs of a worker share: the target, with its images from the files of a folder.

    The last worker that opens the files removes them, so that a killed audit leaves no plain images on disk.
    """
    global _target  # noqa: PLW0603 (a worker process holds it)
    paths = {name: Path(folder) / f"{name}.npy" for name in _ARRAYS}
    images: dict[str, Any] = {
        name: np.asarray(np.load(path, mmap_mode="r")) if path.exists() else None for name, path in paths.items()
    }
    (Path(folder) / f"{os.getpid()}.open").touch()
    if os.name == "posix" and len(list(Path(folder).glob("*.open"))) == workers:
        for path in paths.values():
            path.unlink(missing_ok=True)
    bound = None
    if key is not None:
        bound = facts["cipher"].bind(Key(key), images["plain"].shape[1:])
    _target = Target(**facts, **images, bound=bound)
    _keyed.clear()
    _keyed.update({run.attack: run for run in keyed})


def run_job(job: Job) -> Outcome:
    """Run one job in a worker process, after :func:`start_worker`."""
    keyed = _keyed.get(job.attack)
    attack = get_attack(job.attack) if keyed is None else keyed.create(_target.bound)
    if job.budget is None:
        # A budget of chosen pictures is not a number of images, so the controls get the fewest images they take.
        size = 1 if attack.threat_model.chooses else max(default_budgets(attack, len(_target.plain)))
        return Outcome(job, controls=tuple(run_controls(attack, _target, size, job.seed)))
    evaluation = evaluate(attack, _target, job.budget, job.seed)
    nothing = evaluation.reconstruction[:0]
    bare = replace(evaluation, reconstruction=nothing, scored=evaluation.scored[:0], inverse=None)
    return Outcome(job, bare, pictures=_keep_pictures(evaluation))


def _keep_pictures(evaluation: Evaluation) -> dict[int, NDArray[np.uint8]]:
    """The last few of the images that are scored at every budget, so that all attacks show the same ones."""
    places = np.flatnonzero(evaluation.scored < MAX_SCORED)[-_PICTURES:]
    shown = np.rint(255 * np.clip(np.nan_to_num(evaluation.reconstruction[places]), 0, 1)).astype(np.uint8)
    return dict(zip(evaluation.scored[places].tolist(), shown, strict=True))
