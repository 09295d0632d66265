"""Write the audit as two files: report.json for programs, and a self-contained report.html for people."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cipherlens.auditing import verdict as conclusions
from cipherlens.auditing import wording as words
from cipherlens.auditing.report.figures import PictureRow
from cipherlens.auditing.report.html import render
from cipherlens.auditing.trust import control_words, list_counted
from cipherlens.errors import DataError, unknown_name
from cipherlens.files import write_atomic

__all__ = ["PictureRow", "find_worst", "summary_lines", "write_report"]

_FORMAT = ("cipherlens-audit", 1)


def write_report(report: dict[str, Any], pictures: Sequence[PictureRow], out: Path) -> Path:
    """Write report.json and report.html into the folder ``out``; return the path of report.html.

    ``report`` is the record of an audit. It gets the keys ``worst``, ``verdict``, ``verdict_text`` and ``advice``.
    ``worst`` holds, for each threat model that was tried, the attack with the highest SSIM, or None if none beat
    guessing. Numbers that are not finite are written as null. Nothing is written unless both files could be made.

    Raises:
        DataError: for a record of another format, or an attack without a score.
        UsageError: for an unknown threat model.
    """
    _require_sound(report)
    report.update(_conclude(report))
    page = render(report, pictures).encode(errors="replace")
    record = json.dumps(_finite(report), indent=1, allow_nan=False).encode() + b"\n"
    out.mkdir(parents=True, exist_ok=True)
    write_atomic(out / "report.json", record)
    write_atomic(out / "report.html", page)
    return out / "report.html"


def summary_lines(report: dict[str, Any]) -> list[str]:
    """Five lines for the terminal: data, accuracy, eavesdropper, known pictures, verdict with the first advice."""
    sealed, conclusion = report["sealed"], _conclude(report)
    said, late = control_words(report["controls"]), conclusions.list_late(report["not_run"])
    cipher = f"{sealed['cipher']} ({words.params_words(sealed['params'])})"
    lines = [
        f"Sealed: {words.count_words(sealed['splits'])}, {words.shape_words(sealed['plain_shape'])}, "
        f"with {cipher}, key {sealed['key_fingerprint'][:12]}",
        f"Accuracy: {words.gain_words(words.best_accuracies(sealed['cipher'], report['accuracy']))}",
        f"Eavesdropper who only sees encrypted images: {_describe_worst(report, 'coa')}",
        f"Attacker who also knows some pictures: {_describe_worst(report, 'kpa')}",
        f"Verdict: {_name_verdict(report, conclusion['verdict'])}. "
        f"{said + ' ' if said else ''}"
        f"{conclusions.late_words(late) + ' ' if late else ''}"
        f"{conclusion['advice'][0]}",
    ]
    # Parameters come from an untrusted manifest; line breaks and control characters are removed.
    return [words.printable(line) for line in lines]


def _name_verdict(report: dict[str, Any], verdict: str) -> str:
    if list_counted(report["attacks"], report["controls"]):
        return verdict
    return "no attack counts" if report["attacks"] else "nothing was attacked"


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
    counted = list_counted(report["attacks"], report["controls"])
    worst = find_worst(counted)
    verdict, best = _judge(worst)
    late = conclusions.list_late(report["not_run"])
    text = conclusions.verdict_words(verdict, best, bool(report["attacks"]), bool(counted))
    if late:
        text = f"{text} {conclusions.late_words(late)}"
    if said := control_words(report["controls"]):
        text = f"{text} {said}"
    exceeded = any(row["exceeded"] for row in report["thresholds"])
    advice = conclusions.advise(report["sealed"]["cipher"], verdict, worst, exceeded, late)
    return {"worst": worst, "verdict": verdict, "verdict_text": text, "advice": advice}


def find_worst(attacks: Sequence[words.Record]) -> dict[str, words.Record | None]:
    """For each threat model that was tried the attack with the highest SSIM; among equals the smallest budget."""
    worst: dict[str, words.Record | None] = {}
    for model in words.ATTACKERS:
        tried = [attack for attack in attacks if attack["threat_model"] == model]
        if tried:
            successful = [attack for attack in tried if attack["beats_guessing"]]
            worst[model] = max(successful, key=lambda a: (round(a["ssim"], 3), -a["budget"]), default=None)
    return worst


def _judge(worst: dict[str, words.Record | None]) -> tuple[str, words.Record | None]:
    """Verdict, and the attack on which it is based: the weakest attacker who reaches that level."""
    successful = [attack for attack in worst.values() if attack is not None]
    for verdict, level in words.LEVELS.items():
        for attack in successful:
            if attack["ssim"] >= level:
                return verdict, attack
    return words.UNREAD, max(successful, key=lambda attack: attack["ssim"], default=None)


def _describe_worst(report: dict[str, Any], model: str) -> str:
    """One phrase on the best result in a threat model."""
    counted = list_counted(report["attacks"], report["controls"])
    tried = [attack for attack in counted if attack["threat_model"] == model]
    if not tried:
        struck = any(attack["threat_model"] == model for attack in report["attacks"])
        return "not counted, a control failed" if struck else "not tried"
    attack = find_worst(tried)[model] or max(tried, key=lambda attack: attack["ssim"])
    return (
        f"{words.score_words(attack)}; {attack['attack']} from {words.budget_words(attack)}"
        f"{words.knowing_words(attack)}: "
        f"similarity {words.similarity(attack['ssim'])} of 1, guessing {words.similarity(attack['guess_ssim'])}"
    )


def _finite(value: Any) -> Any:
    """The value with None in place of numbers that are not finite."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
