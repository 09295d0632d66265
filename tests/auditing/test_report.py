"""The report: what it concludes, what it shows, and that its page stands on its own."""

import base64
import copy
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

from PIL import Image

from cipherlens.attacks import THREAT_MODELS
from cipherlens.auditing import wording as words
from cipherlens.auditing.report import html as page_module
from cipherlens.auditing.report.figures import display_ciphertext, picture_uri
from cipherlens.auditing.report.plots import draw_accuracy, draw_leakage
from cipherlens.auditing.result import AuditReport
from cipherlens.auditing.samples import PictureRow
from cipherlens.auditing.summary import summary_lines
from cipherlens.errors import DataError, UsageError

HOSTILE = (
    '"><script src="https://evil.example/x.js"></script><img src=http://evil.example>\x1b[31m\n$x_{ --> {{ 7 }}'
)


def make_attack(**changes: Any) -> dict[str, Any]:
    attack: dict[str, Any] = {
        "attack": "covariance",
        "threat_model": "coa",
        "summary": "compares statistics",
        "budget": 1000,
        "budget_unit": "ciphertexts",
        "n": 1000,
        "ssim": 0.97,
        "psnr": 35.0,
        "exact_pixels": 0.5,
        "ms_ssim": None,
        "st_lpips": None,
        "guess_ssim": 0.12,
        "beats_guessing": True,
        "seconds": 1.5,
        "prior": "2000 other images",
        "seed": 7,
        "flags": (),
        "details": {},
    } | changes
    return {"ssim_ci95": (attack["ssim"] - 0.01, attack["ssim"] + 0.01), **attack}


def make_known(**changes: Any) -> dict[str, Any]:
    return make_attack(
        **{"attack": "known", "threat_model": "kpa", "budget_unit": "known pairs", "budget": 4} | changes
    )


def make_accuracy(name: str, cipher: str, adaptation: bool, accuracy: float | None) -> dict[str, Any]:
    fields = {"name": name, "cipher": cipher, "adaptation": adaptation, "accuracy": accuracy}
    return fields | {"model": "preresnet20", "n": 1000, "chance": 0.1, "epochs": 6}


ACCURACY = [
    make_accuracy("plain images", "identity", False, 0.81),
    make_accuracy("hill images", "hill", False, 0.482),
    make_accuracy("hill images, adaptation network", "hill", True, 0.653),
]


def make_report(attacks: list[dict[str, Any]] | None = None, **changes: Any) -> AuditReport:
    attacks = [make_attack()] if attacks is None else attacks
    names = dict.fromkeys(attack["attack"] for attack in attacks)
    report = {
        "created": "2026-11-21",
        "command": "cipherlens audit sealed",
        "sealed": {
            "cipher": "hill",
            "params": {"block": 4, "orthogonal": False},
            "key_fingerprint": "3f9c" * 8,
            "plain_shape": [3, 32, 32],
            "ct_dtype": "float32",
            "splits": {"train": 6000, "test": 1000},
            "classes": ["circle", "square"],
            "threat_note": "read by eavesdroppers",
        },
        "environment": {"python": "3.12", "cpu": "a", "cores": 2, "packages": {"numpy": "2.3.0"}, "commit": None},
        "attacks": attacks,
        "controls": [
            {"attack": name, "control": control, "ssim": ssim, "guess_ssim": 0.12, "passed": True}
            for name in names
            for control, ssim in (("identity", 0.99), ("stream", 0.11))
        ],
        "effort": {"workers": 2, "minutes": 10.0, "seconds": 12.5},
        "not_run": [],
        "accuracy": ACCURACY,
        "thresholds": [],
    }
    return AuditReport(**copy.deepcopy(report | changes))


def make_rows() -> list[PictureRow]:
    rng = np.random.default_rng(0)
    plain = rng.integers(0, 256, (2, 3, 32, 32), dtype=np.uint8)
    ct = rng.normal(0, 3, (2, 3, 32, 32)).astype(np.float32)
    guess = np.full((3, 32, 32), 0.5, np.float32)
    titles: list[dict[str, Any]] = [{"covariance (1,000 ciphertexts)": guess}, {"known (4 known pairs)": guess}]
    return [PictureRow(*row) for row in zip(plain, ct, titles, strict=True)]


class Elements(HTMLParser):
    """All start tags with their attributes, and the text outside of style."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] != "style":
            self.text += data


def render(tmp_path: Path, report: AuditReport, rows: list[PictureRow] | None = None) -> str:
    return replace(report, pictures=tuple(rows or ())).write(tmp_path / "report").read_text("utf-8")


def decode(uri: str) -> bytes:
    return base64.b64decode(uri.split(",", 1)[1])


@pytest.mark.parametrize("hostile", [False, True])
def test_page_loads_nothing_from_outside(tmp_path: Path, hostile: bool) -> None:
    report = make_report([make_attack(), make_known()])
    rows = make_rows()
    if hostile:
        attack = make_attack(attack=HOSTILE, summary=HOSTILE, prior=HOSTILE, flags=(HOSTILE,), budget_unit=HOSTILE)
        facts = {"classes": [HOSTILE], "params": {HOSTILE: HOSTILE}, "threat_note": HOSTILE}
        report = replace(
            report,
            attacks=[*report.attacks, attack],
            sealed=report.sealed | facts,
            accuracy=[report.accuracy[0] | {"name": HOSTILE, "model": HOSTILE}, *report.accuracy[1:]],
            command=HOSTILE,
            environment={HOSTILE: HOSTILE, "packages": {HOSTILE: HOSTILE}},
        )
        rows.append(PictureRow(rows[0].plain, rows[0].ct, {HOSTILE: np.ones((3, 32, 32), np.float32)}))
    page = render(tmp_path, report, rows)
    elements = Elements(page)
    names = {tag for tag, _ in elements.tags}
    assert not names & {"script", "iframe", "object", "embed", "video", "audio", "svg", "form", "base"}
    loaded = [(tag, attrs[name]) for tag, attrs in elements.tags for name in ("src", "href") if name in attrs]
    shown = (
        3 + hostile + 2 * 3 + 3 + 2 * 2 * 1 + (3 if hostile else 0)
    )  # plots, table, first screen, two worst cases
    assert len([tag for tag, _ in loaded if tag == "img"]) == shown
    for tag, target in loaded:
        assert target is not None
        assert target.startswith("#" if tag == "a" else "data:"), target[:60]
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style and "@import" not in style
    assert not [attrs for _, attrs in elements.tags if any(name.startswith("on") for name in attrs)]
    assert (HOSTILE.split("\n", maxsplit=1)[0] in elements.text) == hostile


def test_all_attacks_and_pictures_are_in_the_page(tmp_path: Path) -> None:
    attacks = [make_attack(budget=budget, ssim=ssim) for budget, ssim in ((10, 0.412), (1000, 0.973))]
    attacks.append(make_known(ssim=0.999, flags=("only 3 images scored",)))
    page = render(tmp_path, make_report(attacks), make_rows())
    text = " ".join(Elements(page).text.split())
    for part in ("0.412", "0.973", "0.999", "covariance", "known", "only 3 images scored", "10", "1,000"):
        assert part in text
    assert page.count('class="name">covariance') == 2 + 2  # two attacks, two controls
    alts = re.findall(r'alt="(picture [^"]*)"', page)
    assert alts == [
        *(f"picture 1, {what}" for what in ("original", "stored and sent", "read without the key")),
        "picture 1, original",
        "picture 1, encrypted",
        "picture 1, covariance (1,000 ciphertexts)",
        "picture 2, original",
        "picture 2, encrypted",
        "picture 2, known (4 known pairs)",
    ]


def test_the_worst_case_has_its_sentence_and_pictures(tmp_path: Path) -> None:
    attacks = [make_attack(ssim=0.4, budget=10), make_attack(), make_known(budget=1, exact_pixels=1, seconds=0.01)]
    rows = make_rows()
    page = render(tmp_path, make_report(attacks), rows)
    text = " ".join(Elements(page).text.split())
    assert (
        "Anybody who sees the encrypted images gets back pictures that are close to the originals. "
        "The attack had 1,000 encrypted images, and took 1.5 s." in text
    )
    assert (
        "gets back pictures that are exactly the originals, every pixel of them. The attack had 1 original" in text
    )
    assert "Not tried" in text
    alts = re.findall(r'alt="(Eavesdropper, [^"]*|Knows some pictures, [^"]*)"', page)
    assert alts == ["Eavesdropper, picture 1, original", "Eavesdropper, picture 1, given back"]
    assert (
        page.count(picture_uri(np.full((3, 32, 32), 128, np.uint8))) == 1 + 1 + 2
    )  # the first screen's, the worst case's, the table's


def make_missing(**changes: Any) -> dict[str, Any]:
    row = {"attack": "covariance", "threat_model": "coa", "what": "attack", "budget": 10}
    return row | {"budget_unit": "ciphertexts", "reason": "out of time"} | changes


def test_further_measures_are_shown_where_there_are_any(tmp_path: Path) -> None:
    page = render(tmp_path, make_report())
    assert "MS-SSIM" not in page and "ST-LPIPS" not in page
    page = render(tmp_path, make_report([make_attack(ms_ssim=0.8765), make_attack(budget=10)]))
    assert "0.876" in page and '<th scope="col" class="n">MS-SSIM</th>' in page and ">none</td>" in page
    assert ">ST-LPIPS</th>" not in page


def test_alike_pictures_are_a_caution_but_not_because_of_a_few(tmp_path: Path) -> None:
    lucky = make_attack(budget=1, n=5, guess_ssim=0.6)
    assert "Caution" not in render(tmp_path, make_report([make_attack(), lucky]))
    assert "Caution" in render(tmp_path, make_report([lucky]))
    assert "Caution" in render(tmp_path, make_report([make_attack(guess_ssim=0.6), lucky]))


def test_what_was_not_run_is_listed(tmp_path: Path) -> None:
    rows = [
        make_missing(),
        make_missing(what="controls", budget=None),
        make_missing(attack="chosen", threat_model="cpa", budget=None, reason="needs the key"),
    ]
    limit = {"metric": "ssim", "limit": 2.0, "measured": 0.97, "attack": "covariance", "exceeded": False}
    for late in (True, False):
        report = make_report(not_run=rows if late else rows[2:], thresholds=[limit | {"complete": not late}])
        page = render(tmp_path, report)
        text = " ".join(Elements(page).text.split())
        assert "chosen: needs the key" in text
        assert "Not tried (needs the key), which says nothing either way." in text
        assert ("covariance with 10 encrypted images: out of time" in text) == late
        assert ("the controls of covariance: out of time" in text) == late
        assert ("Not everything was run" in page[: page.index("<h2>")]) == late
        assert ("Time was too short for all of it (covariance)" in report.verdict_text) == late
        assert ("Time was too short" in summary_lines(report)[-1]) == late
        assert any("more time" in advice for advice in report.advice) == late
        assert ("kept by those that were run" in text) == late
    assert "Every attack that an audit has for this method was run" in render(tmp_path, make_report())


@pytest.mark.parametrize(
    ("make", "exact", "more"), [("attack", 0.2, True), ("attack", 1, False), ("known", 1, True)]
)
def test_more_than_everything_cannot_leak_to_the_weakest(make: str, exact: float, more: bool) -> None:
    row = (make_attack if make == "attack" else make_known)(ssim=1.0, exact_pixels=exact)
    report = make_report([row], not_run=[make_missing()])
    for text in (report.verdict_text, summary_lines(report)[-1]):
        assert "Time was too short" in text and ("more may leak" in text) == more


def fail_control(report: AuditReport, attack: str, control: str) -> AuditReport:
    rows = [
        row | {"passed": row["passed"] and (row["attack"], row["control"]) != (attack, control)}
        for row in report.controls
    ]
    return replace(report, controls=rows)


def test_a_failed_identity_control_makes_a_lower_bound(tmp_path: Path) -> None:
    report = make_report([make_attack(ssim=0.7), make_known(ssim=0.4)])
    sound = render(tmp_path, report)
    report = fail_control(report, "covariance", "identity")
    page = render(tmp_path, report)
    said = "More may be readable than was read here: with as little material covariance did not"
    assert "<h1>These encrypted images can be read without the key</h1>" in page  # its own finding stands
    assert said in page[: page.index("<h2>")] and said in report.verdict_text and said in summary_lines(report)[-1]
    assert page.count("at least; more may be readable") == 1 and page.count(">failed<") == 1
    assert "More may be readable" not in sound and ">failed<" not in sound and "at least" not in sound


def test_a_failed_stream_control_strikes_its_attack_alone(tmp_path: Path) -> None:
    report = make_report([make_attack(ssim=0.7), make_known(ssim=0.4)])
    struck = fail_control(report, "covariance", "stream")
    page = render(tmp_path, struck)
    assert "<h1>These encrypted images can be read in part without the key</h1>" in page  # the other's finding
    assert struck.worst.keys() == {"kpa"} and struck.worst["kpa"]["attack"] == "known"
    assert "Not counted: covariance" in struck.verdict_text and "Run, but not counted" in page
    assert "not counted, a control failed" in summary_lines(struck)[2]
    assert page.count('class="lined struck"') == page.count("not counted</span>") == 1
    # Both attacks struck: nothing is left to conclude from.
    nothing = fail_control(struck, "known", "stream")
    page = render(tmp_path, nothing)
    assert "<h1>No attack of this audit counts</h1>" in page and "No attack counts, so this audit says" in page
    assert "Verdict: no attack counts." in summary_lines(nothing)[-1]
    # An attack that fails both is struck, not bounded.
    both = fail_control(fail_control(report, "covariance", "stream"), "covariance", "identity")
    assert "at least; more may" not in render(tmp_path, both) and "More may be" not in both.verdict_text


def test_missing_controls_are_said(tmp_path: Path) -> None:
    assert "No control was run" in render(tmp_path, make_report(controls=[]))
    report = make_report([make_attack(), make_known()])
    assert "Without both controls" not in render(tmp_path, report)
    kept = [c for c in report.controls if (c["attack"], c["control"]) != ("known", "identity")]
    report = replace(report, controls=kept)
    page = render(tmp_path, report)
    assert "Without both controls: known." in page and "No control was run" not in page


@pytest.mark.parametrize(
    ("ssim", "beats", "verdict"),
    [
        (0.6, True, words.READABLE),
        (0.599, True, words.PARTLY),
        (0.3, True, words.PARTLY),
        (0.299, True, words.UNREAD),
        (0.99, False, words.UNREAD),
    ],
)
def test_verdict_at_its_limits(tmp_path: Path, ssim: float, beats: bool, verdict: str) -> None:
    report = make_report([make_attack(ssim=ssim, beats_guessing=beats)])
    page = render(tmp_path, report)
    assert report.verdict == verdict
    assert (report.worst["coa"] is None) == (not beats)
    assert ("guarantee" in page) == (verdict == words.UNREAD)
    assert ("no proof" in report.verdict_text) == (verdict == words.UNREAD)
    assert list(report.worst) == ["coa"]


def test_verdict_rests_on_the_least_equipped_attacker_who_reaches_it() -> None:
    report = make_report([make_known(ssim=0.999), make_attack(ssim=0.7)])
    assert "Anybody who sees the encrypted images can read them" in report.verdict_text
    report = make_report([make_known(ssim=0.999), make_attack(ssim=0.5)])
    text = report.verdict_text
    assert "has some of the originals can read them" in text
    assert "4 original pictures with their encrypted form" in text


def test_worst_is_the_highest_and_among_equals_the_cheapest(tmp_path: Path) -> None:
    attacks = [make_known(budget=budget, ssim=ssim) for budget, ssim in ((100, 0.9999), (4, 0.9998), (1, 0.8))]
    attacks += [make_attack(ssim=0.99, beats_guessing=False), make_attack(ssim=0.4, budget=7)]
    report = make_report(attacks)
    render(tmp_path, report)
    assert report.worst["kpa"]["budget"] == 4
    assert report.worst["coa"]["budget"] == 7
    assert any("4 original pictures with their encrypted form were enough" in a for a in report.advice)


def test_report_json_holds_everything(tmp_path: Path) -> None:
    report = make_report([make_attack(psnr=float("inf")), make_known()])
    page = replace(report, pictures=tuple(make_rows())).write(tmp_path / "deep" / "report")
    assert page == tmp_path / "deep" / "report" / "report.html"
    assert sorted(path.name for path in page.parent.iterdir()) == ["report.html", "report.json"]

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    stored = json.loads((page.parent / "report.json").read_bytes(), parse_constant=refuse)
    assert {"worst", "verdict", "verdict_text", "advice"} < set(stored)
    assert stored["attacks"][0]["psnr"] is None
    assert report.attacks[0]["psnr"] == float("inf")
    assert stored == json.loads(json.dumps(report.to_record()))
    assert (stored["format"], stored["version"]) == ("cipherlens-audit", 1)
    assert stored["attacks"][1]["ssim"] == report.attacks[1]["ssim"]


def test_summary_has_five_lines() -> None:
    lines = summary_lines(make_report([make_attack(), make_known(beats_guessing=False, ssim=0.1)]))
    assert len(lines) == 5
    assert "6,000 train + 1,000 test" in lines[0] and "hill (block 4, orthogonal no)" in lines[0]
    assert "plain 81.0%, encrypted 48.2%, encrypted with adaptation 65.3%, guessing 10.0%" in lines[1]
    assert "similarity 0.97 of 1" in lines[2] and "1,000 encrypted images" in lines[2]
    assert "no better than guessing" in lines[3]
    assert lines[4].startswith("Verdict: readable.") and "Treat the sealed images like the plain ones" in lines[4]


def test_summary_passes_no_terminal_codes_on() -> None:
    report = make_report([])
    report = replace(report, sealed=report.sealed | {"params": {"block": HOSTILE}})
    lines = summary_lines(report)
    assert len(lines) == 5
    assert all(line.isprintable() for line in lines)
    assert "not tried" in lines[2] and "nothing was attacked" in lines[4]


def test_without_attacks_accuracy_and_pictures(tmp_path: Path) -> None:
    report = make_report([], accuracy=[])
    page = render(tmp_path, report)
    assert "<h1>Nothing was attacked</h1>" in page and "<img" not in page
    assert "none was given" in page and "none was given" in summary_lines(report)[1]
    assert report.verdict == words.UNREAD and report.worst == {}


def test_accuracy_that_was_not_measured_is_no_number(tmp_path: Path) -> None:
    report = make_report(accuracy=[make_accuracy("hill images", "hill", False, None)])
    assert "not measured" in render(tmp_path, report)
    assert "none was given" in summary_lines(report)[1]


def test_accuracy_under_another_cipher_does_not_count() -> None:
    others = [*ACCURACY[:2], make_accuracy("le images", "le", False, 0.99)]
    assert words.best_accuracies("hill", others) == {"plain": 0.81, "encrypted": 0.482, "guessing": 0.1}


@pytest.mark.parametrize("guess", [0.29, 0.3])
def test_pictures_that_are_easy_to_guess_call_for_caution(tmp_path: Path, guess: float) -> None:
    page = render(tmp_path, make_report([make_attack(guess_ssim=guess), make_known()]))
    assert (f"guessing alone reaches {guess:.2f}" in page) == (guess >= 0.3)


@pytest.mark.parametrize("exceeded", [True, False])
def test_exceeded_limits_are_said_first(tmp_path: Path, exceeded: bool) -> None:
    row = {"metric": "ssim", "limit": 0.3, "measured": 0.97, "attack": "covariance", "exceeded": exceeded}
    row |= {"complete": True}
    report = make_report(thresholds=[row, row | {"measured": None, "attack": None, "exceeded": False}])
    page = render(tmp_path, report)
    assert ("Limit exceeded: covariance reached similarity (SSIM) 0.97; you allowed 0.3" in page) == exceeded
    assert ("do not hand these images out" in report.advice[0]) == exceeded
    assert page.count(">not measured<") == 1


@pytest.mark.parametrize("cipher", ["hill", "identity", "stream"])
def test_words_promise_nothing(tmp_path: Path, cipher: str) -> None:
    report = make_report([make_attack(threat_model=model, ssim=0.2) for model in words.ATTACKERS])
    report = replace(report, sealed=report.sealed | {"cipher": cipher})
    page = render(tmp_path, report, make_rows())
    said = "\n".join([Elements(page).text, *summary_lines(report), *report.advice]).lower()
    assert "secure" not in said
    assert ("obfuscation and access control, not encryption" in said) == (cipher != "stream")


def test_every_threat_model_has_its_words() -> None:
    assert list(words.ATTACKERS) == list(THREAT_MODELS)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"attacks": [make_attack(ssim=float("nan"))]}, DataError),
        ({"attacks": [make_attack(threat_model="psychic")]}, UsageError),
        ({"sealed": {}}, KeyError),
    ],
)
def test_nothing_is_written_for_a_record_that_cannot_be_shown(
    tmp_path: Path, changes: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        make_report(**changes).write(tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_a_failure_leaves_the_old_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = render(tmp_path, make_report())
    before = {path.name: path.read_bytes() for path in (tmp_path / "report").iterdir()}

    def fail(*_: Any) -> str:
        raise RuntimeError("no ink")

    monkeypatch.setattr(page_module, "draw_leakage", fail)
    with pytest.raises(RuntimeError, match="no ink"):
        render(tmp_path, make_report([make_attack(ssim=0.31)]))
    assert {path.name: path.read_bytes() for path in (tmp_path / "report").iterdir()} == before
    assert before["report.html"].decode() == old


def test_ciphertext_is_stretched_between_percentiles() -> None:
    ct = np.arange(-50, 51, dtype=np.float32).reshape(1, 1, 101)
    shown = display_ciphertext(ct)
    assert shown.dtype == np.uint8
    assert shown[0, 0, :2].tolist() == [0, 0] and shown[0, 0, -2:].tolist() == [255, 255]
    assert shown[0, 0, 2] > 0 and shown[0, 0, -3] < 255
    assert shown[0, 0, 50] in (127, 128)
    integers = np.array([[[3, 250]]], np.uint8)
    assert display_ciphertext(integers).tolist() == integers.tolist()
    with np.errstate(all="raise"):
        assert not display_ciphertext(np.full((3, 4, 4), 2.5, np.float32)).any()


@pytest.mark.parametrize(
    ("shape", "mode", "size"),
    [
        ((3, 32, 20), "RGB", (20, 32)),
        ((1, 8, 8), "L", (8, 8)),
        ((2, 8, 8), "L", (8, 8)),
        ((3, 112, 64), "RGB", (32, 56)),
    ],
)
def test_small_pictures_are_exact(shape: tuple[int, int, int], mode: str, size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    uri = picture_uri(image, 64, noise=True)
    assert uri.startswith("data:image/png;base64,")
    picture = Image.open(io.BytesIO(decode(uri)))
    assert (picture.mode, picture.size) == (mode, size)
    step = shape[1] // size[1]
    expected = image[0, ::step, ::step] if mode == "L" else np.moveaxis(image[:, ::step, ::step], 0, -1)
    assert np.array_equal(np.asarray(picture), expected)


def test_large_pictures_are_close_and_noise_stays_noise() -> None:
    y, x = np.mgrid[:512, :300]
    photo = np.stack([(y / 2) % 256, x * 0.8, 255 - y / 2.1]).astype(np.uint8)
    uri = picture_uri(photo)
    assert uri.startswith("data:image/jpeg;base64,")
    shown = np.asarray(Image.open(io.BytesIO(decode(uri)))).astype(float)
    expected = photo.reshape(3, 256, 2, 150, 2).mean(axis=(2, 4)).transpose(1, 2, 0)
    assert shown.shape == (256, 150, 3) and np.abs(shown - expected).mean() < 3
    noise = np.random.default_rng(0).integers(0, 256, (3, 512, 512), dtype=np.uint8)
    kept = np.asarray(Image.open(io.BytesIO(decode(picture_uri(noise, noise=True)))))
    averaged = np.asarray(Image.open(io.BytesIO(decode(picture_uri(noise)))))
    assert kept.shape == averaged.shape == (256, 256, 3) and kept.std() > 1.5 * averaged.std()


@pytest.mark.parametrize("budgets", [(5,), (0,), (0, 3), (1, 10, 100, 1000), (999, 1000)])
def test_leakage_is_drawn_at_any_budgets(budgets: tuple[int, ...]) -> None:
    attacks = [make_attack(budget=budget, ssim=-0.05 + budget / 2000) for budget in budgets]
    attacks += [make_known(attack=name, budget=budget) for name in (HOSTILE, "$x_{$") for budget in budgets]
    panels = draw_leakage(attacks)
    assert list(panels) == ["encrypted images", "known pairs"]
    for uri in panels.values():
        assert uri.startswith("data:image/svg+xml;base64,")
        root = ElementTree.fromstring(decode(uri))
        assert root.tag.endswith("svg")
        assert not [element for element in root.iter() if element.tag.endswith(("script", "image", "text"))]
    assert panels == draw_leakage(attacks)  # nothing random, no date


def test_plots_follow_the_mode() -> None:
    """Every colour is a variable with a value for light and one for dark; guessing has each attack's colour."""
    (uri,) = draw_leakage(
        [make_attack(budget=budget, attack=name) for name in "ab" for budget in (10, 100)]
    ).values()
    svg = decode(uri).decode()
    style = svg[svg.index("<style>") : svg.index("</style>")]
    assert style.count("--c0:") == 2 and "prefers-color-scheme:dark" in style
    drawn = svg.replace(style, "")
    assert not re.findall(r"#[0-9a-f]{6}", drawn)
    dashed = re.findall(r"stroke-dasharray[^\"]*stroke: var\(--(c\d)\)|var\(--(c\d)\)[^\"]*stroke-dasharray", drawn)
    dashed_colours = {one or other for one, other in dashed}
    assert {"c2", "c3"} <= dashed_colours


def test_material_in_words() -> None:
    assert words.budget_words(make_known(budget=1)) == "1 original picture with its encrypted form"
    assert words.budget_words(make_attack(budget=1)) == "1 encrypted image"
    assert words.budget_words(make_attack(budget=1, budget_unit="oracle queries")) == "1 chosen picture"
    assert words.budget_words(make_attack(budget_unit="queries", budget=2000)) == "2,000 queries"


def test_labels_are_cut_to_fit() -> None:
    assert words.printable("a\nb\x1b" + "c" * 50, 10) == "a?b?ccccc…"
    assert words.printable("abc", 3) == "abc"


def test_accuracy_bars_are_drawn() -> None:
    root = ElementTree.fromstring(decode(draw_accuracy(ACCURACY)))
    assert root.tag.endswith("svg")


def test_plots_leave_the_callers_settings_alone() -> None:
    import matplotlib as mpl

    with mpl.rc_context({"figure.facecolor": "black", "text.color": "white"}):
        dark = draw_accuracy(ACCURACY)
        assert mpl.rcParams["figure.facecolor"] == "black"
    assert dark == draw_accuracy(ACCURACY)
