"""The audit on the command line: in parallel, within its time, and nothing dropped in silence."""

import itertools
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("jinja2")

from cipherlens.attacks import ATTACKS, list_attacks
from cipherlens.attacks.covariance.attack import CovarianceAttack
from cipherlens.auditing import jobs as jobs_module
from cipherlens.auditing import run as auditing
from cipherlens.auditing.coverage import choose_attacks
from cipherlens.auditing.jobs import Job, Outcome, plan_jobs, run_job, run_jobs
from cipherlens.ciphers import create_cipher
from cipherlens.ciphers.threat_models import CIPHERTEXT_ONLY
from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.data.sealed.workers import run_in_processes
from cipherlens.errors import UsageError
from cipherlens.evaluation.harness import default_budgets
from cipherlens.evaluation.load import load_target
from cipherlens.evaluation.target import Target
from cipherlens.keys import Key

SOURCE = "synthetic:tiny?n=60&test=60"


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from cipherlens.cli.main import execute

    root = tmp_path_factory.mktemp("audit")
    Key(bytes(range(32))).save(root / "client.key")
    for cipher in ("hill", "pe", "stream"):
        given = ["--key", str(root / "client.key"), "--cipher", cipher, "--workers", "1"]
        assert execute(["encrypt", SOURCE, str(root / cipher), *given]) == 0
    return root


def open_target(sealed: Path, cipher: str, key: Key | None = None) -> tuple[SealedDataset, Target]:
    dataset = SealedDataset.open(sealed / cipher)
    return dataset, load_target(dataset, SOURCE, key=key)


def test_the_worst_case_of_every_threat_model_comes_first() -> None:
    attacks = list_attacks(create_cipher("pe"), (3, 16, 16), (3, 16, 16))
    models = [attack.threat_model for attack in attacks]
    assert models.count(CIPHERTEXT_ONLY) > 1
    jobs = plan_jobs(attacks, 500, 7)
    assert len(set(jobs)) == len(jobs)
    assert {job.seed for job in jobs} == {7}
    wanted = {(a.name, budget) for a in attacks for budget in (*default_budgets(a, 500), None)}
    assert {(job.attack, job.budget) for job in jobs} == wanted
    most, controls = jobs[: len(attacks)], jobs[len(attacks) : 2 * len(attacks)]
    assert all(job.budget == max(default_budgets(ATTACKS[job.attack], 500)) for job in most)
    first = [ATTACKS[job.attack].threat_model for job in most]
    assert set(first[: len(set(models))]) == set(models)
    assert all(job.budget is None for job in controls)
    for name in {job.attack for job in jobs}:
        budgets = [job.budget for job in jobs if job.attack == name and job.budget is not None]
        assert budgets == sorted(budgets, reverse=True)
    assert plan_jobs([], 500, 0) == []


@pytest.mark.slow
@pytest.mark.full
def test_same_results_with_any_number_of_workers_and_in_any_order(sealed: Path) -> None:
    _, target = open_target(sealed, "pe", Key(bytes(range(32))))
    attacks = [ATTACKS[name] for name in ("minimum-difference", "known-plaintext", "chosen-plaintext")]
    jobs = plan_jobs(attacks, len(target.plain), 3)

    def collect(jobs: list[Job], workers: int) -> dict[Job, Any]:
        outcomes = run_jobs([target], jobs, Key(bytes(range(32))), workers, 100)
        return {outcome.job: strip(outcome) for outcome in outcomes}

    def strip(outcome: Outcome) -> Any:
        pictures = {number: picture.tobytes() for number, picture in outcome.pictures.items()}
        facts = outcome.evaluation and outcome.evaluation.to_json() | {"seconds": 0}
        return facts, pictures, [replace(c, ssim=0) if c.control == "stream" else c for c in outcome.controls]

    one, two = collect(jobs, 1), collect(jobs[::-1], 2)
    assert list(one) == jobs
    assert one == two


def test_budgets_and_controls_are_all_in_the_report(sealed: Path, call: Any, tmp_path: Path) -> None:
    out = tmp_path / "report"
    command = ("audit", sealed / "hill", "--plain", SOURCE, "--out", out, "--workers", 1, "--json")
    code, text, err = call(*command)
    assert code == 0, err
    report = json.loads(text)
    got = [(row["attack"], row.get("knowledge"), row["budget"]) for row in report["attacks"]]
    assert got == [
        *(("covariance", "nothing", budget) for budget in (1, 10, 100, 120)),  # every image of both splits
        ("covariance", "domain", 60),  # half of them, by who knows the others
        *(("known-plaintext", None, budget) for budget in (1, 10, 100)),
    ]
    pairs = itertools.product(("covariance", "known-plaintext"), ("identity", "stream"))
    assert [(row["attack"], row["control"]) for row in report["controls"]] == list(pairs)
    reasons = {row["attack"]: row["reason"] for row in report["not_run"] if row["budget"] is None}
    assert list(reasons) == ["chosen-plaintext", "itn", "itn-pairs", "gan", "sia-gan", "folded-model"]
    assert "the client's key" in reasons["chosen-plaintext"] and "asked for" in reasons["gan"]
    assert "not run" not in err
    assert json.loads((out / "report.json").read_text())["not_run"] == report["not_run"]


def test_what_time_was_too_short_for_is_said(
    sealed: Path, call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of all jobs only the first two are done in time."""

    def hurry(targets: list[Target], jobs: list[Job], *_: Any) -> Any:
        monkeypatch.setattr(jobs_module, "_targets", list(targets))
        yield from map(run_job, jobs[:2])

    monkeypatch.setattr(auditing, "run_jobs", hurry)
    monkeypatch.setattr(CovarianceAttack, "origins", ())  # one search, not five
    command = ("audit", sealed / "hill", "--plain", SOURCE, "--out", tmp_path / "r", "--minutes", 0.5, "--json")
    code, text, err = call(*command)
    assert code == 0
    report = json.loads(text)
    assert [row["budget"] for row in report["attacks"]] == [120, 100]
    late = {(row["attack"], row["what"], row["budget"]) for row in report["not_run"] if "time" in row["reason"]}
    assert late == {
        *(("covariance", "attack", budget) for budget in (1, 10, 60, 100)),  # 60: by who knows the domain
        *((name, "controls", None) for name in ("covariance", "known-plaintext")),
        *(("known-plaintext", "attack", budget) for budget in (1, 10)),
    }
    assert "not run, out of time (0.5 minutes)" in err and "the controls of covariance" in err
    code, _, err = call(*command, "--fail-above", "psnr=100")
    assert code == 6
    assert "some attacks did not run" in err
    code, _, err = call(*command, "--fail-above", "ssim=0.3")
    assert code == 5
    assert "some attacks did not run" in err


def test_the_time_ends_workers(sealed: Path, call: Any, tmp_path: Path) -> None:
    """No worker is ready after so short a time, and none is left over."""
    started = time.monotonic()
    out = tmp_path / "report"
    command = ("audit", sealed / "hill", "--plain", SOURCE, "--out", out, "--minutes", 1e-4, "--json")
    code, text, _ = call(*command, "--fail-above", "ssim=0.3")
    assert code == 6
    assert time.monotonic() - started < 30
    report = json.loads(text)
    assert report["attacks"] == report["controls"] == []
    assert report["thresholds"][0]["measured"] is None
    assert len([row for row in report["not_run"] if row["reason"] == "out of time"]) == 10
    assert sorted(path.name for path in out.iterdir()) == ["report.html", "report.json"]
    assert multiprocessing.active_children() == []


def test_a_task_that_overruns_the_time_is_ended() -> None:
    started = time.monotonic()
    results = list(run_in_processes(time.sleep, [0, 0, 300, 300, 0], 2, time.time, (), seconds=8))
    assert results == [None, None]
    assert 7.9 < time.monotonic() - started < 60
    assert multiprocessing.active_children() == []
    assert list(run_in_processes(abs, [-1], 1, time.time, (), seconds=100)) == [1]


def test_chosen_attacks(sealed: Path, call: Any, tmp_path: Path) -> None:
    command = ("audit", sealed / "hill", "--plain", SOURCE, "--out", tmp_path / "r", "--workers", 1, "--json")
    for names in ("covarianze", "correlation", "chosen-plaintext", "covariance,correlation", ""):
        code, _, err = call(*command, "--attacks", names)
        assert code == 2, names
        assert "attacks that can: covariance, known-plaintext" in " ".join(err.split())
        assert not (tmp_path / "r").exists()
    code, text, _ = call(*command, "--attacks", "hill-known-plaintext")
    assert code == 0
    report = json.loads(text)
    assert {row["attack"] for row in report["attacks"]} == {"known-plaintext"}
    reasons = {row["attack"]: row["reason"] for row in report["not_run"]}
    assert reasons["covariance"] == "not asked for"
    for option in (("--minutes", 0), ("--minutes", "nan"), ("--minutes", "inf"), ("--workers", 0)):
        assert call(*command, *option)[0] == 2


def test_attacks_are_chosen_in_their_order(sealed: Path) -> None:
    _, target = open_target(sealed, "hill")
    assert len(target.labels) == len(target.plain)
    assert len(target.public_labels) == len(target.public)
    assert set(target.labels.tolist()) <= set(target.public_labels.tolist())
    names = ["known-plaintext", "covariance"]
    assert [attack.name for attack in choose_attacks([target], names)] == names[::-1]
    _, target = open_target(sealed, "stream")
    assert choose_attacks([target], []) == []
    with pytest.raises(UsageError, match="covariance does not apply"):
        choose_attacks([target], ["covariance"])


def test_what_a_target_lacks_for_an_attack() -> None:
    plain = np.zeros((40, 3, 8, 8), np.uint8)
    target = Target(create_cipher("pixel-permutation"), plain, plain, None, "")
    reasons = {name: target.missing_requirement(ATTACKS[name], 40) for name in ("correlation", "known-plaintext")}
    assert reasons == {"correlation": "needs 50 images or more", "known-plaintext": None}
    assert "chosen-plaintext" not in {attack.name for attack in target.list_attacks()}


@pytest.mark.skipif(os.name != "posix", reason="needs process groups")
def test_an_interrupt_ends_the_workers(sealed: Path, tmp_path: Path) -> None:
    # Shells have jobs in the background ignore interrupts, and so would all of their children.
    listen = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{listen}; from cipherlens.cli.main import run; run(sys.argv[1:])"
    command = ["audit", str(sealed / "pe"), "--plain", SOURCE, "--out", str(tmp_path / "r"), "--workers", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", code, *command],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not children.exists():
        process.kill()
        pytest.skip("needs /proc")
    limit = time.monotonic() + 60
    while not (workers := children.read_text().split()) and time.monotonic() < limit:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the workers get it too, half-started as they are
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "interrupted" in err and "Traceback" not in err
    assert not (tmp_path / "r").exists()
    assert workers
    while any(Path(f"/proc/{worker}").exists() for worker in workers) and time.monotonic() < limit:
        time.sleep(0.05)
    assert not [worker for worker in workers if Path(f"/proc/{worker}").exists()]
