"""An audit from Python: one call, one frozen report, and several starts where time is left."""

import dataclasses
import json
import re

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("jinja2")

import cipherlens as cl
from cipherlens.attacks import get_attack
from cipherlens.auditing.jobs import Job, Outcome, keep_best, plan_all_jobs
from cipherlens.ciphers import create_cipher
from cipherlens.data.sealed.reading import SealOptions
from cipherlens.data.sealed.seal import seal
from cipherlens.errors import UsageError
from cipherlens.evaluation.attackers import load_targets
from cipherlens.evaluation.harness import evaluate
from cipherlens.keys import Key

SOURCE = "synthetic:tiny?n=60&test=60&size=32"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("python") / "sealed"
    seal(SOURCE, out, create_cipher("hill", block=4), Key(bytes([3]) * 32), SealOptions())
    return out


@pytest.fixture(scope="module")
def report(folder):
    config = cl.AuditConfig(attacks=("covariance", "known-plaintext"), minutes=5, limits={"ssim": 0.3})
    return cl.audit(folder, plain=SOURCE, config=config)


def test_a_report_says_who_read_most_and_is_written(report, tmp_path):
    assert isinstance(report, cl.AuditReport)
    assert report.headline == report.worst["coa"] and report.headline["attack"] == "covariance"
    assert report.verdict == "readable" and report.thresholds[0]["exceeded"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.attacks = ()
    before = report.to_record()
    page = report.to_html(tmp_path / "new" / "page.html")
    found = json.loads(report.to_json(tmp_path / "new" / "facts.json").read_text())
    assert found == json.loads(json.dumps(before)) == json.loads(json.dumps(report.to_record()))
    assert found["effort"]["workers"] == 1 and found["command"] == "cipherlens.audit"
    assert report.verdict_text in page.read_text()


def test_the_most_exposed_pictures_are_shown(report, tmp_path):
    """They are those of the worst attack with the highest scores, the best first."""
    title = "covariance (60 ciphertexts, knows other pictures of the same kind)"
    rows = [row for row in report.exposed if title in row.reconstructions]
    assert 3 <= len(rows) <= 4
    errors = [np.abs(row.reconstructions[title] - row.plain / 255).mean() for row in rows]
    others = [row for row in report.pictures if title in row.reconstructions]
    typical = np.mean([np.abs(row.reconstructions[title] - row.plain / 255).mean() for row in others])
    assert max(errors) < 1.5 * typical
    page = report.to_html(tmp_path / "page.html").read_text()
    shown = re.findall(r'alt="(Eavesdropper, most exposed picture[^"]*)"', page)
    assert len(shown) == 2 * len(rows) and shown[0].endswith("picture 1, original")


def test_a_search_is_repeated_with_more_starts_where_photos_are_known(folder):
    targets = load_targets(cl.SealedDataset.open(folder), SOURCE, 1000)
    attacks = [get_attack(name) for name in ("covariance", "known-plaintext")]
    jobs = plan_all_jobs(attacks, targets, 0)
    again = [job for job in jobs if job.optional]
    assert [(job.attack, targets[job.target].knowledge, job.starts) for job in again] == [
        ("covariance", "domain", 6)
    ]
    assert jobs[-1] == again[0] and dataclasses.replace(again[0], starts=1) in jobs
    assert "6 starts" in again[0].name
    joint = [get_attack("covariance")]
    mixed = dataclasses.replace(targets[1], cipher=create_cipher("patch", block=4))
    assert not any(job.optional for job in plan_all_jobs(joint, [mixed], 0))


def test_the_lowest_objective_is_kept(folder):
    target = load_targets(cl.SealedDataset.open(folder), SOURCE, 1000)[1]
    one, more = (evaluate(get_attack("covariance"), target, 60, starts=starts) for starts in (1, 6))
    assert one.details["searches"] == 1 and 2 <= more.details["searches"] <= 6
    assert more.details["objective"] <= one.details["objective"] + 1e-6
    job = Job("covariance", 60, 0)
    first, second = Outcome(job, one), Outcome(dataclasses.replace(job, starts=6), more)
    assert keep_best({second.job: second, job: first}) == {job: second}
    assert keep_best({job: first}) == {job: first}


def test_a_key_authenticates_and_lets_pictures_be_chosen(folder, tmp_path):
    """With the victim's key the same call attacks with chosen pictures; another key is refused."""
    heard = []
    config = cl.AuditConfig(attacks=("chosen-plaintext",), images=60)
    dataset = cl.SealedDataset.open(folder)
    report = cl.audit(dataset, SOURCE, config, key=Key(bytes([3]) * 32), progress=lambda *now: heard.append(now))
    assert report.headline["attack"] == "chosen-plaintext" and report.headline["exact_pixels"] == 1
    assert heard[0][:2] == (0, 2) and heard[-1][:2] == (2, 2)
    with pytest.raises(cl.CipherlensError):
        cl.audit(folder, SOURCE, config, key=Key(bytes([4]) * 32))
    assert report != dataclasses.replace(report)  # arrays could not be compared


def test_half_a_report_is_never_written(report, tmp_path):
    strange = dataclasses.replace(report, effort=report.effort | {"seconds": object()})
    with pytest.raises(TypeError):
        strange.write(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_photos_without_detail_do_not_end_an_audit(folder):
    target = load_targets(cl.SealedDataset.open(folder), SOURCE, 1000)[1]
    public = target.public.copy()
    public[0] = 0
    black = dataclasses.replace(target, public=public)
    for budget in (1, 10):
        assert np.isfinite(evaluate(get_attack("covariance"), black, budget).ssim)


def test_settings_are_checked():
    for settings in (
        {"images": 0},
        {"attacks": "covariance"},
        {"limits": {"ssim": 3.0}},
        {"limits": {"beauty": 0.1}},
        {"workers": 0},
    ):
        with pytest.raises(UsageError):
            cl.AuditConfig(**settings)
