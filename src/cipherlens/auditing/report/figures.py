"""Pictures and plots of the report as data URIs, so that the page needs no second file."""

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, groupby
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from numpy.typing import NDArray
from PIL import Image

from cipherlens.auditing.wording import LEVELS, Record, printable, unit_words
from cipherlens.evaluation.target import DOMAIN, ELSEWHERE, NOTHING

_LONGEST_SIDE, _THUMBNAIL = 256, 160
"""Longest side in pixels of the report's pictures, where there are _FEW of them, and where there are more.

They limit the page's size: forty photos make less than 1.5 MB. Chosen by hand.
"""
_FEW = 3
_EXACT_SIDE = 64
"""Longest side of a picture that is stored as it is; larger ones are stored as JPEG. Chosen by hand."""
_QUALITY = 82
"""Quality of these JPEG files. Chosen by hand: at the sizes shown one sees no difference."""
_LONGEST_LABEL = 60
"""Characters of a label that fit into a plot. Chosen by hand."""
_SHORT = {NOTHING: "nothing", ELSEWHERE: "others", DOMAIN: "alike"}
"""What attackers know, short enough for a label."""
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
_MARKERS = "osD^vP*"


@dataclass(frozen=True)
class PictureRow:
    """One image of the report: ``plain`` uint8 (C, H, W), ``ct`` (C, H', W') as sealed, reconstructions by title.

    Reconstructions are (C, H, W) floats in [0, 1]; values outside are clipped.
    """

    plain: NDArray[np.uint8]
    ct: NDArray[Any]
    reconstructions: Mapping[str, NDArray[np.float32]]


def display_ciphertext(ct: NDArray[Any]) -> NDArray[np.uint8]:
    """Ciphertext (C, H, W) as uint8: floats stretched from the 1st to the 99th percentile, integers as they are."""
    if ct.dtype == np.uint8:
        return ct
    low, high = np.percentile(ct, (1, 99))
    return _to_uint8((ct - low) / max(high - low, np.finfo(np.float32).tiny))


def picture_uri(image: NDArray[np.uint8], longest: int = _LONGEST_SIDE, noise: bool = False) -> str:
    """(C, H, W) uint8 as a data URI; the first three channels, or the first where there are fewer.

    A longer side is reduced by a whole factor: photos by averaging, ``noise`` by leaving pixels out, since averages
    would turn it into grey. Small pictures are stored as PNG, others as JPEG.
    """
    step = -(-max(image.shape[1:]) // longest)
    kept = image[: 3 if len(image) >= 3 else 1]
    kept = kept[:, ::step, ::step] if noise else kept
    shown = Image.fromarray(kept[0] if len(kept) == 1 else np.moveaxis(kept, 0, -1))
    if step > 1 and not noise:
        shown = shown.reduce(step)
    buffer = io.BytesIO()
    if max(shown.size) <= _EXACT_SIDE:
        shown.save(buffer, "PNG")
        return _data_uri("image/png", buffer.getvalue())
    shown.save(buffer, "JPEG", quality=_QUALITY)
    return _data_uri("image/jpeg", buffer.getvalue())


def tabulate_pictures(rows: Sequence[PictureRow]) -> tuple[list[str], list[list[str | None]]]:
    """Titles of the reconstructions, and per row the data URIs: plain, ciphertext, each title's (None: missing)."""
    titles = list(dict.fromkeys(title for row in rows for title in row.reconstructions))
    longest = _LONGEST_SIDE if len(rows) <= _FEW else _THUMBNAIL
    return titles, [
        [
            picture_uri(row.plain, longest),
            picture_uri(display_ciphertext(row.ct), longest, noise=True),
            *(
                picture_uri(_to_uint8(row.reconstructions[title]), longest)
                if title in row.reconstructions
                else None
                for title in titles
            ),
        ]
        for row in rows
    ]


def draw_leakage(attacks: Sequence[Record]) -> str:
    """Similarity against budget, one line per attack with its 95 % band, as an SVG data URI."""
    series = _by_attack(attacks)
    return _draw(lambda axes: _plot_leakage(axes, series), height=3.4 + 0.26 * (len(series) + 1))


def _by_attack(attacks: Sequence[Record]) -> list[list[Record]]:
    def identify(attack: Record) -> tuple[str, str, str]:
        return attack["attack"], attack["threat_model"], attack.get("knowledge", "")

    ordered = sorted(attacks, key=lambda attack: (*identify(attack), attack["budget"]))
    return [list(group) for _, group in groupby(ordered, identify)]


def _plot_leakage(axes: Any, series: Sequence[Sequence[Record]]) -> None:
    everything = [attack for attacks in series for attack in attacks]
    guesses = [attack["guess_ssim"] for attack in everything]
    axes.axhspan(min(guesses), max(guesses), color="0.85", linewidth=0)
    axes.axhline(max(guesses), color="0.35", linestyle="--", label="guessing: always the average picture")
    for attacks, colour, marker in zip(series, cycle(_COLOURS), cycle(_MARKERS), strict=False):
        budgets = [attack["budget"] for attack in attacks]
        low, high = zip(*(attack["ssim_ci95"] for attack in attacks), strict=True)
        given, known = unit_words(attacks[0]), attacks[0].get("knowledge")
        knowing = f", knows {_SHORT[known]}" if known else ""
        label = printable(f"{attacks[0]['attack']} (given {given}{knowing})", _LONGEST_LABEL)
        axes.plot(budgets, [attack["ssim"] for attack in attacks], color=colour, marker=marker, label=label)
        axes.fill_between(budgets, low, high, color=colour, alpha=0.2, linewidth=0)
        axes.vlines(budgets, low, high, color=colour, linewidth=1.2)
    bottom = min(0.0, *(attack["ssim_ci95"][0] for attack in everything))
    axes.set(ylim=(bottom - 0.02, 1.04), ylabel="similarity to the originals (SSIM)")
    axes.set_xlabel("what the attacker is given (number, logarithmic)")
    _mark_levels(axes)
    _tick_budgets(axes, sorted({attack["budget"] for attack in everything}))
    axes.figure.legend(loc="outside lower left", frameon=False)


def _mark_levels(axes: Any) -> None:
    for name, level in LEVELS.items():
        axes.axhline(level, color="0.6", linestyle=":", linewidth=1)
        axes.annotate(
            name.replace(" ", "\n"), (1.01, level), xycoords=axes.get_yaxis_transform(), va="bottom", color="0.3"
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
    axes.vlines(chances, places - 0.24, places + 0.24, color="black", linestyle="--", label="guessing")
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
        )
        figure = Figure(figsize=(5.2, height), layout="constrained")
        plot(figure.add_subplot())
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return _data_uri("image/svg+xml", buffer.getvalue())


def _to_uint8(image: NDArray[Any]) -> NDArray[np.uint8]:
    values: NDArray[np.uint8] = np.rint(np.clip(np.nan_to_num(image, nan=0.0), 0, 1) * 255).astype(np.uint8)
    return values


def _data_uri(media_type: str, content: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"
