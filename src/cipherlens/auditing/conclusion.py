"""What follows from an audit's figures: the worst case of each threat model, the verdict, the advice."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cipherlens.auditing import verdict as conclusions
from cipherlens.auditing import wording as words
from cipherlens.auditing.trust import control_words, list_counted
from cipherlens.auditing.wording import Record


@dataclass(frozen=True)
class Conclusion:
    """``worst`` is the best attack of each threat model that was tried, None where none beat guessing.

    ``headline`` is the one on which the verdict rests.
    """

    worst: Mapping[str, Record | None]
    headline: Record | None
    verdict: str
    verdict_text: str
    advice: tuple[str, ...]


def conclude(
    cipher: str,
    attacks: Sequence[Record],
    controls: Sequence[Record],
    not_run: Sequence[Record],
    thresholds: Sequence[Record],
) -> Conclusion:
    """Draw the conclusion from the rows of a report (see :class:`cipherlens.auditing.result.AuditReport`)."""
    counted, late = list_counted(attacks, controls), conclusions.list_late(not_run)
    worst = find_worst(counted)
    verdict, headline = _judge(worst)
    sentences = [
        conclusions.verdict_words(verdict, headline, bool(attacks), bool(counted)),
        conclusions.late_words(late, headline) if late else "",
        control_words(controls),
    ]
    exceeded = any(row["exceeded"] for row in thresholds)
    advice = conclusions.advise(cipher, verdict, worst, exceeded, late)
    return Conclusion(worst, headline, verdict, " ".join(filter(None, sentences)), tuple(advice))


def find_worst(attacks: Sequence[Record]) -> dict[str, Record | None]:
    """For each threat model that was tried the attack with the highest SSIM; among equals the smallest budget."""
    worst: dict[str, Record | None] = {}
    for model in words.ATTACKERS:
        tried = [attack for attack in attacks if attack["threat_model"] == model]
        if tried:
            successful = [attack for attack in tried if attack["beats_guessing"]]
            worst[model] = max(successful, key=lambda a: (round(a["ssim"], 3), -a["budget"]), default=None)
    return worst


def _judge(worst: dict[str, Record | None]) -> tuple[str, Record | None]:
    """Verdict, and the attack on which it is based: the weakest attacker who reaches that level."""
    successful = [attack for attack in worst.values() if attack is not None]
    for verdict, level in words.LEVELS.items():
        for attack in successful:
            if attack["ssim"] >= level:
                return verdict, attack
    return words.UNREAD, max(successful, key=lambda attack: attack["ssim"], default=None)
