"""Run the jobs of an audit in worker processes: attacks and their controls, the most informative first."""

import os
import secrets
from collections.abc import Generator, Mapping, Sequence
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
from cipherlens.evaluation.metrics import PACKAGES
from cipherlens.evaluation.target import DOMAIN, Target
from cipherlens.evaluation.views import MAX_SCORED
from cipherlens.keys import Key

_PICTURES = 6
"""At most this many reconstructed images of a job are kept for the report. Chosen by hand."""
_EXPOSED = 4
"""At most this many of the images that a job read best are kept: one strip of the report. Chosen by hand."""


@dataclass(frozen=True)
class Job:
    """One attack at one budget; without a budget, its two controls. ``target`` is the place of the one attacked.

    With several ``starts`` it repeats another job more thoroughly, where time is left.
    """

    attack: str
    budget: int | None
    seed: int
    target: int = 0
    starts: int = 1

    @property
    def optional(self) -> bool:
        """Whether nothing is missing without it."""
        return self.starts > 1

    @property
    def name(self) -> str:
        """The job's name in the progress display."""
        what = "controls" if self.budget is None else f"{self.budget:,}"
        more = f", {self.starts} starts" if self.optional else ""
        return f"{self.attack}, {what}" + (f", attacker {self.target + 1}" if self.target else "") + more


@dataclass(frozen=True)
class Outcome:
    """The result of a job: its two controls, or an evaluation, with a few pictures instead of the reconstruction.

    ``pictures`` are (C, H, W) uint8, by image number. ``exposed`` are those of the images read best, best first.
    """

    job: Job
    evaluation: Evaluation | None = None
    controls: tuple[Control, ...] = ()
    pictures: dict[int, NDArray[np.uint8]] = field(default_factory=dict)
    exposed: dict[int, NDArray[np.uint8]] = field(default_factory=dict)


def plan_all_jobs(
    attacks: Sequence[Attack], targets: Sequence[Target], seed: int, in_hand: Sequence[Attack] = ()
) -> list[Job]:
    """The jobs of each attack on the first target on which it can run, and once on those after it.

    Last come the most informative ones again, with several starts.
    """
    first, *others = targets
    jobs: list[Job] = []
    left = list(attacks)
    for place, target in enumerate(targets):
        able = {attack.name for attack in (*target.list_attacks(slow=True), *in_hand)}
        here = [attack for attack in left if attack.name in able]
        left = [attack for attack in left if attack.name not in able]
        planned = plan_jobs(here, len(target.plain), seed, first.key_per_image, others if target is first else ())
        jobs += [job if job.target else replace(job, target=place) for job in planned]
    return jobs + _plan_again(attacks, targets, jobs)


def _plan_again(attacks: Sequence[Attack], targets: Sequence[Target], jobs: Sequence[Job]) -> list[Job]:
    """The largest job of each search that starts at random, by the attacker who knows the domain.

    With a prior that is wrong anyway all starts end alike.
    """
    largest = {(job.attack, job.target): job for job in reversed(jobs) if job.budget is not None}
    again = []
    for attack in attacks:
        for place, target in enumerate(targets):
            starts = attack.count_starts(target.structure)
            job = largest.get((attack.name, place))
            if attack.uses_prior and starts > 1 and target.knowledge == DOMAIN and job is not None:
                again.append(replace(job, starts=starts))
    return again


def keep_best(outcomes: Mapping[Job, Outcome]) -> dict[Job, Outcome]:
    """The outcomes, with those of more starts in place of the first ones.

    More starts include the first, and the attacker keeps the lowest objective, for which no original is needed.
    """
    best = {job: outcome for job, outcome in outcomes.items() if not job.optional}
    return best | {replace(job, starts=1): outcome for job, outcome in outcomes.items() if job.optional}


def plan_jobs(
    attacks: Sequence[Attack], total: int, seed: int, key_per_image: bool = False, others: Sequence[Target] = ()
) -> list[Job]:
    """All jobs on ``total`` images, the most important first.

    First comes the worst case: every attack at its largest budget, the threat models in turn, then again on
    ``others``, whose attackers know something else. Then come the controls, which validate all figures. Then come
    the smaller budgets, in falling order.
    """
    by_model = [[attack for attack in attacks if attack.threat_model == model] for model in THREAT_MODELS.values()]
    turns = [attack for turn in zip_longest(*by_model) for attack in turn if attack is not None]
    budgets = [sorted(default_budgets(attack, total, key_per_image), reverse=True) for attack in turns]
    waves = [
        [Job(attack.name, budget, seed) for attack, budget in zip(turns, wave, strict=True) if budget is not None]
        for wave in zip_longest(*budgets)
    ]
    controls = [Job(attack.name, None, seed, _find_best(attack, others)) for attack in turns]
    waves.insert(1, controls)
    waves.insert(1, _plan_others(turns, seed, others))
    return [job for wave in waves for job in wave]


def _find_best(attack: Attack, others: Sequence[Target]) -> int:
    """The target for controls: for an attack that depends on what it knows, whose attacker knows the domain."""
    for place, target in enumerate(others, 1):
        able = target.missing_requirement(attack, len(target.plain)) is None
        if attack.uses_prior and target.knowledge == DOMAIN and able:
            return place
    return 0


def _plan_others(attacks: Sequence[Attack], seed: int, others: Sequence[Target]) -> list[Job]:
    """Each attack that depends on what its attacker knows, on the other targets, at the largest budget."""
    return [
        Job(attack.name, max(default_budgets(attack, len(target.plain), target.key_per_image)), seed, place)
        for place, target in enumerate(others, 1)
        for attack in attacks
        if attack.uses_prior and target.missing_requirement(attack, len(target.plain)) is None
    ]


def run_jobs(
    targets: Sequence[Target],
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
        # Workers share the images as files, each array once. A bound cipher holds the key and cannot be pickled.
        saved: dict[int, str] = {}
        facts = [_save(target, folder, saved) for target in targets]
        started = min(workers, len(jobs))
        arguments = (facts, str(folder), started, None if key is None else key.to_bytes(), tuple(keyed))
        yield from run_in_processes(run_job, jobs, started, start_worker, arguments, seconds, PACKAGES)


_ARRAYS = ("plain", "ct", "public", "labels", "public_labels", "numbers")
_FACTS = ("cipher", "prior", "images_apart", "knowledge")
_targets: list[Target] = []
_keyed: dict[str, KeyedRun] = {}


def _save(target: Target, folder: Path, saved: dict[int, str]) -> dict[str, Any]:
    """The target's facts, with its arrays as names of files; ``saved`` holds the names of those written before."""
    facts: dict[str, Any] = {name: getattr(target, name) for name in _FACTS}
    for name in _ARRAYS:
        images = getattr(target, name)
        if images is not None and id(images) not in saved:
            saved[id(images)] = f"{len(saved)}.npy"
            np.save(folder / saved[id(images)], images)
        facts[name] = None if images is None else saved[id(images)]
    return facts


def start_worker(
    targets: Sequence[dict[str, Any]], folder: str, workers: int, key: bytes | None, keyed: Sequence[KeyedRun] = ()
) -> None:
    """Load what all jobs of a worker share: the targets, with their images from the files of a folder.

    The last worker that opens the files removes them, so that a killed audit leaves no plain images on disk.
    """
    names = sorted({facts[name] for facts in targets for name in _ARRAYS if facts[name] is not None})
    images = {name: np.asarray(np.load(Path(folder) / name, mmap_mode="r")) for name in names}
    (Path(folder) / f"{os.getpid()}.open").touch()
    if os.name == "posix" and len(list(Path(folder).glob("*.open"))) == workers:
        for name in names:
            (Path(folder) / name).unlink(missing_ok=True)
    _targets.clear()
    for facts in targets:
        arrays: dict[str, Any] = {name: None if facts[name] is None else images[facts[name]] for name in _ARRAYS}
        bound = None if key is None else facts["cipher"].bind(Key(key), arrays["plain"].shape[1:])
        _targets.append(Target(**{name: facts[name] for name in _FACTS}, **arrays, bound=bound))
    _keyed.clear()
    _keyed.update({run.attack: run for run in keyed})


def run_job(job: Job) -> Outcome:
    """Run one job in a worker process, after :func:`start_worker`."""
    target, keyed = _targets[job.target], _keyed.get(job.attack)
    attack = get_attack(job.attack) if keyed is None else keyed.create(target.bound)
    if job.budget is None:
        # A budget of chosen pictures is not a number of images, so the controls get the fewest images they take.
        size = 1 if attack.threat_model.chooses else max(default_budgets(attack, len(target.plain)))
        return Outcome(job, controls=tuple(run_controls(attack, target, size, job.seed)))
    evaluation = evaluate(attack, target, job.budget, job.seed, starts=job.starts)
    # The last few of the images that are scored at every budget, so that all attacks show the same ones.
    shown = np.flatnonzero(evaluation.scored < MAX_SCORED)[-_PICTURES:]
    nothing = evaluation.reconstruction[:0]
    bare = replace(
        evaluation, reconstruction=nothing, scored=evaluation.scored[:0], exposed=shown[:0], inverse=None
    )
    kept = (_keep_pictures(evaluation, target, places) for places in (shown, evaluation.exposed[:_EXPOSED]))
    return Outcome(job, bare, (), *kept)


def _keep_pictures(
    evaluation: Evaluation, target: Target, places: NDArray[np.intp]
) -> dict[int, NDArray[np.uint8]]:
    """The reconstructions at these places, by image number."""
    shown = np.rint(255 * np.clip(np.nan_to_num(evaluation.reconstruction[places]), 0, 1)).astype(np.uint8)
    numbers = evaluation.scored[places] if target.numbers is None else target.numbers[evaluation.scored[places]]
    return dict(zip(numbers.tolist(), shown, strict=True))
