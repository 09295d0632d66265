"""Plots of the report: SVG data URIs that follow the page's light or dark mode, without a second file."""

import io
from collections.abc import Callable, Sequence
from itertools import cycle, groupby
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from cipherlens.auditing.report.figures import data_uri
from cipherlens.auditing.wording import ATTACKERS, LEVELS, Record, printable, unit_words
from cipherlens.evaluation.target import DOMAIN, ELSEWHERE, NOTHING

_LONGEST_LABEL = 60
"""Characters of a label that fit into a plot. Chosen by hand."""
_SHORT = {NOTHING: "nothing", ELSEWHERE: "others", DOMAIN: "alike"}
"""What attackers know, short enough for a label."""
_LIGHT = ("#1c1d1f", "#b9bab6", "#0072b2", "#d55e00", "#009e73", "#b8528c", "#2b8fc7", "#b87a00", "#000000")
_DARK = ("#ececea", "#55585e", "#56b4e9", "#ff8a4c", "#2fd6a3", "#e6a1c9", "#a8daf9", "#ffc44d", "#ffffff")
"""Ink, faint lines, and those of the attacks, after Okabe and Ito. Chosen by hand for contrast with the page."""
_STANDS_FOR = tuple(f"#0123{number:02x}" for number in range(len(_LIGHT)))
"""What plots are drawn with; each becomes a variable of the picture's style, which has one value per mode."""
_INK, _FAINT, *_COLOURS = _STANDS_FOR
_MARKERS = "osD^v"  # fewer than colours, so that both together repeat late


def draw_leakage(attacks: Sequence[Record]) -> dict[str, str]:
    """Similarity against budget as SVG data URIs, one for each unit of budget.

    Each attack has a line with its 95 % band. A dashed line of the same colour says what guessing reaches where it
    is scored as the attack is.
    """
    panels: dict[str, list[list[Record]]] = {}
    order = list(ATTACKERS)
    for series in sorted(_by_attack(attacks), key=lambda rows: order.index(rows[0]["threat_model"])):
        panels.setdefault(unit_words(series[0]), []).append(series)
    return {unit: _draw_panel(unit, group) for unit, group in panels.items()}


def _draw_panel(unit: str, series: Sequence[Sequence[Record]]) -> str:
    return _draw(lambda axes: _plot_leakage(axes, unit, series), height=2.9 + 0.26 * (len(series) + 1))


def _by_attack(attacks: Sequence[Record]) -> list[list[Record]]:
    def identify(attack: Record) -> tuple[str, str, str]:
        return attack["attack"], attack["threat_model"], attack.get("knowledge", "")

    ordered = sorted(attacks, key=lambda attack: (*identify(attack), attack["budget"]))
    return [list(group) for _, group in groupby(ordered, identify)]


def _plot_leakage(axes: Any, unit: str, series: Sequence[Sequence[Record]]) -> None:
    everything = [attack for attacks in series for attack in attacks]
    for attacks, colour, marker in zip(series, cycle(_COLOURS), cycle(_MARKERS), strict=False):
        budgets = [attack["budget"] for attack in attacks]
        low, high = zip(*(attack["ssim_ci95"] for attack in attacks), strict=True)
        known = attacks[0].get("knowledge")
        knowing = f" (knows {_SHORT[known]})" if known else ""
        label = printable(f"{attacks[0]['attack']}{knowing}", _LONGEST_LABEL)
        axes.plot(budgets, [attack["ssim"] for attack in attacks], color=colour, marker=marker, label=label)
        axes.fill_between(budgets, low, high, color=colour, alpha=0.2, linewidth=0)
        axes.vlines(budgets, low, high, color=colour, linewidth=1.2)
        guesses = [attack["guess_ssim"] for attack in attacks]
        dashes = {"color": colour, "linestyle": "--", "linewidth": 1.2}
        if len(set(budgets)) == 1:  # a line through one point would not show
            axes.axhline(guesses[0], **dashes)
        else:
            axes.plot(budgets, guesses, **dashes)
    axes.plot([], [], color=_INK, linestyle="--", linewidth=1.2, label="guessing, scored as that attack is")
    bottom = min(0.0, *(attack["ssim_ci95"][0] for attack in everything))
    axes.set(ylim=(bottom - 0.02, 1.04), ylabel="similarity (SSIM)")
    axes.set_xlabel(printable(f"{unit} (number, logarithmic)", _LONGEST_LABEL))
    _mark_levels(axes)
    _tick_budgets(axes, sorted({attack["budget"] for attack in everything}))
    axes.figure.legend(loc="outside lower left", frameon=False)


def _mark_levels(axes: Any) -> None:
    for name, level in LEVELS.items():
        axes.axhline(level, color=_FAINT, linestyle=":", linewidth=1)
        axes.annotate(
            name.replace(" ", "\n"), (1.01, level), xycoords=axes.get_yaxis_transform(), va="bottom", color=_INK
        )


def _tick_budgets(axes: Any, budgets: Sequence[int]) -> None:
    """Ticks at the measured budgets, without those whose labels would overlap."""
    axes.set_xscale("symlog" if budgets[0] < 1 else "log", **({"linthresh": 1} if budgets[0] < 1 else {}))
    ratio = max(1.3, (budgets[-1] / max(1, budgets[0])) ** 0.09)
    ticks = [budgets[0]]
    for budget in budgets[1:]:
        if budget > ratio * ticks[-1]:
            ticks.append(budget)
    axes.xaxis.set(major_locator=FixedLocator(ticks), minor_locator=NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda budget, _: f"{budget:,.0f}"))
    axes.margins(x=0.06)


def draw_accuracy(accuracy: Sequence[Record]) -> str:
    """Test accuracy as bars with the chance level, as an SVG data URI. Entries need an accuracy."""
    return _draw(lambda axes: _plot_accuracy(axes, accuracy), height=1.3 + 0.62 * len(accuracy))


def _plot_accuracy(axes: Any, accuracy: Sequence[Record]) -> None:
    places = np.arange(len(accuracy))[::-1]
    values = [100 * entry["accuracy"] for entry in accuracy]
    chances = [100 * entry["chance"] for entry in accuracy]
    colours = [_COLOURS[0] if entry["cipher"] == "identity" else _COLOURS[1] for entry in accuracy]
    axes.barh(places, values, height=0.4, color=colours)
    axes.vlines(chances, places - 0.24, places + 0.24, color=_INK, linestyle="--", label="guessing")
    for place, value, entry in zip(places, values, accuracy, strict=True):
        axes.annotate(f" {value:.1f}", (value, place), va="center")
        axes.annotate(
            printable(f"{entry['name']} ({entry['model']})", _LONGEST_LABEL), (0.8, place + 0.26), va="bottom"
        )
    axes.set(xlim=(0, 112), xticks=range(0, 101, 20), xlabel="test pictures named right (%)")
    axes.set(yticks=[], ylim=(-0.5, len(accuracy) - 0.2))
    axes.figure.legend(loc="outside lower right", frameon=False)


def _draw(plot: Callable[[Any], None], height: float) -> str:
    """One plot in matplotlib's default style, independent of the user's settings; text is drawn as outlines."""
    buffer = io.BytesIO()
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(
            {"svg.hashsalt": "cipherlens", "text.parse_math": False, "font.size": 11}
            | {"axes.spines.top": False, "axes.spines.right": False}
            | {"figure.facecolor": "none", "axes.facecolor": "none", "savefig.facecolor": "none"}
            | dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), _INK)
        )
        figure = Figure(figsize=(5.2, height), layout="constrained")
        plot(figure.add_subplot())
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return data_uri("image/svg+xml", _follow_mode(buffer.getvalue().decode()).encode())


def _follow_mode(svg: str) -> str:
    """The picture with a variable for each colour, whose values depend on the mode that the page is shown in."""

    def give(values: Sequence[str]) -> str:
        return "svg{" + "".join(f"--c{number}:{value};" for number, value in enumerate(values)) + "}"

    for number, colour in enumerate(_STANDS_FOR):
        svg = svg.replace(colour, f"var(--c{number})")
    style = f"<style>{give(_LIGHT)}@media(prefers-color-scheme:dark){{{give(_DARK)}}}</style>"
    start = svg.index(">", svg.index("<svg")) + 1
    return svg[:start] + style + svg[start:]
