"""The audit as two files: report.json for machines, and one self-contained report.html that people read."""

import json
import math
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from cipherlens.audit import words
from cipherlens.audit.figures import PictureRow, draw_accuracy, draw_leakage, tabulate_pictures
from cipherlens.data.files import write_atomic
from cipherlens.errors import DataError, unknown_name

__all__ = ["PictureRow", "find_worst", "summary_lines", "write_report"]

_FORMAT = ("cipherlens-audit", 1)
_HEADLINES = {
    words.READABLE: "These encrypted images can be read without the key",
    words.PARTLY: "These encrypted images can be read in part without the key",
    words.UNREAD: "No attack of this audit read these images",
}
_FILTERS = (
    words.attacker_words,
    words.budget_words,
    words.duration_words,
    words.gain_words,
    words.list_words,
    words.params_words,
    words.score_words,
    words.shape_words,
    words.similarity,
    words.unit_words,
)


def write_report(report: dict[str, Any], pictures: Sequence[PictureRow], out: Path) -> Path:
    """Write report.json and report.html into the folder ``out``; return the path of report.html.

    ``report`` is the record of an audit and gets the keys ``worst`` (per threat model that was tried, the attack
    that read most, or None if none beat guessing), ``verdict``, ``verdict_text`` and ``advice``. Numbers that JSON
    does not have are written as null. Nothing is written unless both files could be made.

    Raises:
        DataError: for a record of another format, or an attack without a score.
        UsageError: for an unknown threat model.
    """
    _require_sound(report)
    report.update(_conclude(report))
    page = _render(report, pictures).encode(errors="replace")
    record = json.dumps(_finite(report), indent=1, allow_nan=False).encode() + b"\n"
    out.mkdir(parents=True, exist_ok=True)
    write_atomic(out / "report.json", record)
    write_atomic(out / "report.html", page)
    return out / "report.html"


def summary_lines(report: dict[str, Any]) -> list[str]:
    """Five lines for the terminal: data, accuracy, eavesdropper, known pictures, verdict with the first advice."""
    sealed, conclusion, failed = report["sealed"], _conclude(report), _failed_controls(report)
    splits = " + ".join(f"{count:,} {name}" for name, count in sealed["splits"].items())
    cipher = f"{sealed['cipher']} ({words.params_words(sealed['params'])})"
    lines = [
        f"Sealed: {splits} images, {words.shape_words(sealed['plain_shape'])}, with {cipher}, "
        f"key {sealed['key_fingerprint'][:12]}",
        f"Accuracy: {words.gain_words(words.best_accuracies(sealed['cipher'], report['accuracy']))}",
        f"Eavesdropper who only sees encrypted images: {_describe_worst(report, 'coa')}",
        f"Attacker who also knows some pictures: {_describe_worst(report, 'kpa')}",
        f"Verdict: {conclusion['verdict'] if report['attacks'] else 'nothing was attacked'}. "
        f"{words.control_words(failed) + ' ' if failed else ''}"
        f"{conclusion['advice'][0]}",
    ]
    # Parameters come from a manifest that others may have written: no line breaks or terminal codes from there.
    return [words.printable(line) for line in lines]


def _require_sound(report: dict[str, Any]) -> None:
    if (report.get("format"), report.get("version")) != _FORMAT:
        raise DataError("this is no audit of a version that is known", hint="run the audit again with this version")
    for attack in report["attacks"]:
        if attack["threat_model"] not in words.ATTACKERS:
            raise unknown_name("threat model", attack["threat_model"], list(words.ATTACKERS))
        if not math.isfinite(attack["ssim"]):
            raise DataError(
                f"attack {attack['attack']!r} has no score ({attack['ssim']})",
                hint="leave it out or run it again; it must not pass for an attack that read nothing",
            )


def _conclude(report: dict[str, Any]) -> dict[str, Any]:
    """The computed keys of a report."""
    worst = find_worst(report["attacks"])
    verdict, best = _judge(worst)
    text = words.verdict_words(verdict, best, bool(report["attacks"]))
    if failed := _failed_controls(report):
        text = f"{words.control_words(failed)} {text}"
    exceeded = any(row["exceeded"] for row in report["thresholds"])
    advice = words.advise(report["sealed"]["cipher"], verdict, worst, exceeded)
    return {"worst": worst, "verdict": verdict, "verdict_text": text, "advice": advice}


def find_worst(attacks: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any] | None]:
    """Per threat model that was tried the attack with the highest SSIM; among equals the one that needs least."""
    worst: dict[str, dict[str, Any] | None] = {}
    for model in words.ATTACKERS:
        tried = [attack for attack in attacks if attack["threat_model"] == model]
        if tried:
            successful = [attack for attack in tried if attack["beats_guessing"]]
            worst[model] = max(successful, key=lambda a: (round(a["ssim"], 3), -a["budget"]), default=None)
    return worst


def _judge(worst: dict[str, dict[str, Any] | None]) -> tuple[str, dict[str, Any] | None]:
    """Verdict, and the attack it rests on: the least equipped attacker who reaches that level."""
    successful = [attack for attack in worst.values() if attack is not None]
    for verdict, level in words.LEVELS.items():
        for attack in successful:
            if attack["ssim"] >= level:
                return verdict, attack
    return words.UNREAD, max(successful, key=lambda attack: attack["ssim"], default=None)


def _failed_controls(report: dict[str, Any]) -> list[dict[str, Any]]:
    return [control for control in report["controls"] if not control["passed"]]


def _describe_worst(report: dict[str, Any], model: str) -> str:
    """One phrase on what this kind of attacker got."""
    tried = [attack for attack in report["attacks"] if attack["threat_model"] == model]
    if not tried:
        return "not tried"
    attack = find_worst(tried)[model] or max(tried, key=lambda attack: attack["ssim"])
    return (
        f"{words.score_words(attack)}; {attack['attack']} from {words.budget_words(attack)}: "
        f"similarity {words.similarity(attack['ssim'])} of 1, guessing {words.similarity(attack['guess_ssim'])}"
    )


def _render(report: dict[str, Any], pictures: Sequence[PictureRow]) -> str:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {function.__name__: function for function in _FILTERS}
    source = files("cipherlens.audit").joinpath("templates/report.html.j2").read_text("utf-8")
    attacks, measured = report["attacks"], [e for e in report["accuracy"] if e["accuracy"] is not None]
    failed, (titles, rows) = _failed_controls(report), tabulate_pictures(pictures)
    return environment.from_string(source).render(
        report=report,
        sealed=report["sealed"],
        headline=_choose_headline(report["verdict"], bool(attacks), bool(failed)),
        failed=failed,
        unchecked=_find_unchecked(report),
        gain=words.best_accuracies(report["sealed"]["cipher"], report["accuracy"]),
        attackers=words.ATTACKERS,
        controls=words.CONTROLS,
        metrics=words.METRICS,
        levels=words.LEVELS,
        best_guess=max((attack["guess_ssim"] for attack in attacks), default=0.0),
        picture_titles=titles,
        picture_rows=rows,
        leakage_plot=draw_leakage(attacks) if attacks else None,
        accuracy_plot=draw_accuracy(measured) if measured else None,
    )


def _choose_headline(verdict: str, attacked: bool, failed: bool) -> str:
    if failed:
        return "A control failed: do not use this audit"
    return _HEADLINES[verdict] if attacked else "Nothing was attacked"


def _find_unchecked(report: dict[str, Any]) -> list[str]:
    """Attacks for which one of the two controls was not run."""
    run = {(control["attack"], control["control"]) for control in report["controls"]}
    names = dict.fromkeys(attack["attack"] for attack in report["attacks"])
    return [name for name in names if any((name, control) not in run for control in words.CONTROLS)]


def _finite(value: Any) -> Any:
    """The value with None for the numbers that JSON does not have."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
