"""The report as one self-contained HTML page."""

from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined

from cipherlens.auditing import wording as words
from cipherlens.auditing.report.figures import picture_size, show_pair, tabulate_pictures
from cipherlens.auditing.report.plots import draw_accuracy, draw_leakage
from cipherlens.auditing.samples import PictureRow
from cipherlens.auditing.trust import find_bounded, find_struck, list_counted
from cipherlens.auditing.verdict import COST_SOURCES, list_late
from cipherlens.evaluation.views import FEW_IMAGES

_STRIP = 4
"""Pictures side by side; more would be too small on a phone. Chosen by hand."""
_HEADLINES = {
    words.READABLE: "These encrypted images can be read without the key",
    words.PARTLY: "These encrypted images can be read in part without the key",
    words.UNREAD: "No attack of this audit read these images",
}
_MORE = (("MS-SSIM", "ms_ssim"), ("ST-LPIPS", "st_lpips"))
"""Metrics that not every audit has."""
_FILTERS = (
    words.attacker_words,
    words.budget_words,
    words.count_words,
    words.duration_words,
    words.gain_words,
    words.list_words,
    words.missing_words,
    words.params_words,
    words.score_words,
    words.shape_words,
    words.similarity,
    words.unit_words,
    words.worst_words,
)


def render(report: Mapping[str, Any], pictures: Sequence[PictureRow], exposed: Sequence[PictureRow]) -> str:
    """The page of a report (the fields of :class:`cipherlens.auditing.result.AuditReport`, with its conclusion)."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {function.__name__: function for function in _FILTERS}
    source = files("cipherlens.auditing.report").joinpath("templates/report.html.j2").read_text("utf-8")
    attacks, measured = report["attacks"], [e for e in report["accuracy"] if e["accuracy"] is not None]
    titles, rows = tabulate_pictures(pictures)
    return environment.from_string(source).render(
        report=report,
        sealed=report["sealed"],
        headline=_choose_headline(report),
        bounded=find_bounded(report["controls"]),
        struck=find_struck(report["controls"]),
        unchecked=_find_unchecked(report),
        late=list_late(report["not_run"]),
        cost_sources=COST_SOURCES,
        gain=words.best_accuracies(report["sealed"]["cipher"], report["accuracy"]),
        attackers=words.ATTACKERS,
        controls=words.CONTROLS,
        metrics=words.METRICS,
        more=[(title, name) for title, name in _MORE if any(attack[name] is not None for attack in attacks)],
        levels=words.LEVELS,
        best_guess=_find_best_guess(attacks),
        picture_titles=titles,
        picture_rows=rows,
        strips=_find_strips(report["worst"], lambda title: _pair_shown(title, titles, rows)),
        exposed=_find_strips(report["worst"], lambda title: _pair_exposed(title, exposed, picture_size(len(rows)))),
        lead=_find_lead(report, titles, rows),
        leakage_plots=draw_leakage(attacks),
        accuracy_plot=draw_accuracy(measured) if measured else None,
    )


def _find_best_guess(attacks: Sequence[words.Record]) -> float:
    """Best SSIM of guessing. Attacks that scored fewer than FEW_IMAGES count only if there are no others."""
    several = [attack for attack in attacks if attack["n"] >= FEW_IMAGES] or attacks
    return max((attack["guess_ssim"] for attack in several), default=0.0)


Pairs = list[tuple[str | None, ...]]


def _find_strips(worst: Mapping[str, words.Record | None], find_pairs: Callable[[str], Pairs]) -> dict[str, Pairs]:
    """For each threat model a few originals and their reconstructions by its worst case, side by side."""
    pairs = {model: find_pairs(words.title_words(attack)) for model, attack in worst.items() if attack is not None}
    return {model: list(zip(*found[:_STRIP], strict=True)) for model, found in pairs.items() if found}


def _pair_shown(title: str, titles: Sequence[str], rows: Sequence[Sequence[str | None]]) -> Pairs:
    """Originals and reconstructions of the pictures that all attacks show."""
    place = 2 + titles.index(title) if title in titles else None
    return [] if place is None else [(row[0], row[place]) for row in rows if row[place]]


def _pair_exposed(title: str, exposed: Sequence[PictureRow], longest: int) -> Pairs:
    """Originals and reconstructions of the pictures that an attack read best."""
    return [show_pair(row, title, longest) for row in exposed if title in row.reconstructions]


def _find_lead(
    report: Mapping[str, Any], titles: Sequence[str], rows: Sequence[Sequence[str | None]]
) -> list[tuple[str | None, ...]]:
    """A few pictures for the first screen: original, stored, and as the verdict's attack read them, if one did."""
    worst, level = report["worst"].values(), words.LEVELS.get(report["verdict"], -1.0)
    found = [attack for attack in worst if attack is not None and words.title_words(attack) in titles]
    best = next((attack for attack in found if attack["ssim"] >= level), None)
    places = [0, 1] if best is None else [0, 1, 2 + titles.index(words.title_words(best))]
    chosen = [[row[place] for place in places] for row in rows if row[places[-1]]]
    return list(zip(*chosen[:_STRIP], strict=True))


def _choose_headline(report: Mapping[str, Any]) -> str:
    if list_counted(report["attacks"], report["controls"]):
        return _HEADLINES[report["verdict"]]
    return "No attack of this audit counts" if report["attacks"] else "Nothing was attacked"


def _find_unchecked(report: Mapping[str, Any]) -> list[str]:
    """Attacks for which one of the two controls was not run."""
    run = {(control["attack"], control["control"]) for control in report["controls"]}
    names = dict.fromkeys(attack["attack"] for attack in report["attacks"])
    return [name for name in names if any((name, control) not in run for control in words.CONTROLS)]
