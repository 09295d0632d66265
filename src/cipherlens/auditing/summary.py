"""An audit in five lines, for the terminal."""

from cipherlens.auditing import wording as words
from cipherlens.auditing.conclusion import find_worst
from cipherlens.auditing.result import AuditReport
from cipherlens.auditing.trust import control_words, list_counted
from cipherlens.auditing.verdict import late_words, list_late


def summary_lines(report: AuditReport) -> list[str]:
    """Data, accuracy, eavesdropper, known pictures, and the verdict with the first advice."""
    sealed = report.sealed
    said, late = control_words(report.controls), list_late(report.not_run)
    cipher = f"{sealed['cipher']} ({words.params_words(sealed['params'])})"
    lines = [
        f"Sealed: {words.count_words(sealed['splits'])}, {words.shape_words(sealed['plain_shape'])}, "
        f"with {cipher}, key {sealed['key_fingerprint'][:12]}",
        f"Accuracy: {words.gain_words(words.best_accuracies(sealed['cipher'], report.accuracy))}",
        f"Eavesdropper who only sees encrypted images: {_describe_worst(report, 'coa')}",
        f"Attacker who also knows some pictures: {_describe_worst(report, 'kpa')}",
        f"Verdict: {_name_verdict(report)}. "
        f"{said + ' ' if said else ''}"
        f"{late_words(late, report.headline) + ' ' if late else ''}"
        f"{report.advice[0]}",
    ]
    # Parameters come from an untrusted manifest; line breaks and control characters are removed.
    return [words.printable(line) for line in lines]


def _name_verdict(report: AuditReport) -> str:
    if list_counted(report.attacks, report.controls):
        return report.verdict
    return "no attack counts" if report.attacks else "nothing was attacked"


def _describe_worst(report: AuditReport, model: str) -> str:
    """One phrase on the best result in a threat model."""
    counted = list_counted(report.attacks, report.controls)
    tried = [attack for attack in counted if attack["threat_model"] == model]
    if not tried:
        struck = any(attack["threat_model"] == model for attack in report.attacks)
        return "not counted, a control failed" if struck else "not tried"
    attack = find_worst(tried)[model] or max(tried, key=lambda attack: attack["ssim"])
    return (
        f"{words.score_words(attack)}; {attack['attack']} from {words.budget_words(attack)}"
        f"{words.knowing_words(attack)}: "
        f"similarity {words.similarity(attack['ssim'])} of 1, guessing {words.similarity(attack['guess_ssim'])}"
    )
