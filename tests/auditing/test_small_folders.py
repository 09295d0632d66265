"""Audits of forty photos in one folder: three attackers, every sealed image counts, and no contradiction."""

import json
import re

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")
pytest.importorskip("jinja2")

from cipherlens.attacks import get_attack
from cipherlens.auditing.jobs import plan_all_jobs
from cipherlens.ciphers import create_cipher
from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.data.sealed.reading import SealOptions
from cipherlens.data.sealed.seal import seal
from cipherlens.data.sources.registry import open_source
from cipherlens.evaluation.attackers import load_targets
from cipherlens.evaluation.load import NO_IMAGES
from cipherlens.evaluation.target import DOMAIN, ELSEWHERE, NOTHING
from cipherlens.keys import Key

KEY = Key(bytes([7]) * 32)
OTHERS = "synthetic:objects?n=40&test=40&size=32&seed=5"


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Forty generated pictures of two classes, stored as JPEG."""
    root = tmp_path_factory.mktemp("forty")
    source = open_source("synthetic:objects?n=40&test=10&size=64")
    for number, item in enumerate(source.read("train", range(40))):
        folder = root / "photos" / ("cat", "dog")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(item.decode().transpose(1, 2, 0)).save(folder / f"{number:02}.jpg", quality=92)
    return root


def make_set(photos, name, cipher, **options):
    out = photos / name
    if not out.exists():
        seal(str(photos / "photos"), out, cipher, KEY, SealOptions(**options))
    return SealedDataset.open(out)


@pytest.fixture(scope="module")
def held_out(photos):
    return make_set(photos, "held-out", create_cipher("hill", block=4), hold_out=5)


def test_every_split_is_seen_and_half_is_known(photos, held_out):
    plain = str(photos / "photos")
    nothing, domain = load_targets(held_out, plain, 1000)
    assert (nothing.knowledge, domain.knowledge) == (NOTHING, DOMAIN)
    assert len(nothing.plain) == 40 and nothing.public is None and nothing.prior == NO_IMAGES
    assert len(domain.plain) == len(domain.public) == 20 and domain.prior == "20 other images of the same kind"
    # Pairs stay together, and nobody knows what is scored.
    bound = held_out.spec.bind(KEY)
    for target in (nothing, domain):
        np.testing.assert_allclose(bound.decrypt(target.ct), target.plain)
        assert len(target.labels) == len(target.plain)
    np.testing.assert_array_equal(nothing.plain[domain.numbers], domain.plain)
    scored = {image.tobytes() for image in domain.plain}
    assert not scored & {image.tobytes() for image in domain.public}
    assert len({image.tobytes() for image in nothing.plain}) == 40


def test_a_split_or_a_limit_is_kept_to(photos, held_out):
    plain = str(photos / "photos")
    domain, nothing = load_targets(held_out, plain, 1000, split="test")
    assert len(domain.plain) == len(nothing.plain) == 8 and len(domain.public) == 32
    domain, nothing = load_targets(held_out, plain, 20)  # the larger part alone has as many
    assert len(domain.plain) == len(nothing.plain) == 20 and domain.numbers is None
    assert domain.knowledge == DOMAIN and not {i.tobytes() for i in domain.plain} & {
        i.tobytes() for i in domain.public
    }


def test_another_origin_is_a_third_attacker(photos, held_out):
    targets = load_targets(held_out, str(photos / "photos"), 1000, prior=OTHERS)
    assert [target.knowledge for target in targets] == [ELSEWHERE, DOMAIN, NOTHING]
    assert len(targets[0].plain) == len(targets[2].plain) == 40 and targets[0].public.shape[1:] == (3, 32, 32)
    (nothing,) = load_targets(held_out, str(photos / "photos"), 1000, prior="parametric")
    assert nothing.knowledge == NOTHING


def test_who_knows_nothing_alone_reads_no_other_split(photos, held_out, monkeypatch):
    monkeypatch.setattr("cipherlens.evaluation.attackers._pool", None)
    (nothing,) = load_targets(held_out, str(photos / "photos"), 20, prior="parametric")
    assert len(nothing.plain) == 20


def test_what_is_left_of_a_larger_set_is_known(tmp_path):
    source = "synthetic:tiny?n=50&test=30&size=16"
    seal(source, tmp_path / "s", create_cipher("hill", block=4), KEY, SealOptions())
    domain, _ = load_targets(SealedDataset.open(tmp_path / "s"), source, 40)
    assert len(domain.plain) == 40 and len(domain.public) == 40 and domain.numbers is None
    plain = open_source(source)
    tested = np.stack([item.decode() for item in plain.read("test", range(30))])
    np.testing.assert_array_equal(domain.plain[:30], tested)  # all of the test images, then others
    known = {image.tobytes() for image in domain.public}
    assert not known & {image.tobytes() for image in domain.plain} and len(known) == 40


def test_controls_run_where_the_attack_can(tmp_path):
    """Of sixty photos thirty are attacked by who knows the others: too few for this attack."""
    source = "synthetic:tiny?n=30&test=30&size=16"
    seal(source, tmp_path / "s", create_cipher("pixel-permutation"), KEY, SealOptions())
    targets = load_targets(SealedDataset.open(tmp_path / "s"), source, 1000)
    assert [len(target.plain) for target in targets] == [60, 30]
    jobs = plan_all_jobs([get_attack("correlation"), get_attack("known-plaintext")], targets, 0)
    assert {job.target for job in jobs} == {0} and "correlation, controls" in {job.name for job in jobs}


def test_controls_run_where_most_is_known(photos, held_out):
    targets = load_targets(held_out, str(photos / "photos"), 1000)
    jobs = plan_all_jobs([get_attack("covariance"), get_attack("known-plaintext")], targets, 0)
    assert {(job.attack, job.target) for job in jobs if job.budget is None} == {
        ("covariance", 1),
        ("known-plaintext", 0),
    }


def test_variants_of_what_is_attacked_are_never_known(photos):
    dataset = make_set(photos, "varied", create_cipher("hill", block=4), hold_out=5, augment=1)
    assert [t.knowledge for t in load_targets(dataset, str(photos / "photos"), 1000)] == [NOTHING]


def run_audit(call, photos, name):
    options = ("--plain", photos / "photos", "--out", photos / f"report-{name}", "--workers", "2", "--json")
    code, out, err = call("audit", photos / name, *options)
    assert code == 0, err
    page = (photos / f"report-{name}" / "report.html").read_text()
    return json.loads(out), page, re.search("<h1>(.*?)</h1>", page)[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "params", "headline"),
    [
        pytest.param(
            "hill", {"block": 4}, "These encrypted images can be read without the key", marks=pytest.mark.full
        ),
        pytest.param("negpos", {}, "These encrypted images can be read without the key", marks=pytest.mark.full),
        ("stream", {}, "Nothing was attacked"),
    ],
)
def test_an_audit_of_forty_photos(call, photos, name, params, headline):
    make_set(photos, name, create_cipher(name, **params), hold_out=5)
    report, page, said = run_audit(call, photos, name)
    assert said == headline
    assert "Not counted" not in report["verdict_text"] and 'class="struck"' not in page
    assert not [
        control for control in report["controls"] if control["control"] == "stream" and not control["passed"]
    ]
    if name == "hill":
        found = {row["knowledge"]: row for row in report["attacks"] if row["attack"] == "covariance"}
        assert found["domain"]["ssim"] > 0.85 and "other pictures of the same kind" in report["verdict_text"]
        assert found["nothing"]["budget"] == 40
        assert report["worst"]["coa"]["knowledge"] == "domain"
    if name != "stream":
        assert report["verdict"] == "readable"
