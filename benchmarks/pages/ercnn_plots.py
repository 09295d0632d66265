"""docs/pictures/ercnn-*.svg: a row of dots for every row of the study's tables, and accuracy against similarity."""

import math
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from committed import ROOT
from drawings import draw, line, text

Record = dict[str, Any]
LEFT, RIGHT, TOP, ROW = 158, 276, 40, 21
FAR = 360
"""Where a second column of numbers ends."""


def find_path(name: str) -> Path:
    return ROOT / "docs" / "pictures" / f"ercnn-{name}.svg"


class Scale:
    """Values between two ends as places between two others."""

    def __init__(self, values: Iterable[float], step: float, ends: tuple[float, float] = (LEFT, RIGHT)) -> None:
        found = list(values)
        self.low = step * math.floor(min(found) / step)
        self.high = max(step * math.ceil(max(found) / step), self.low + step)
        self.step, self.ends = step, ends

    def place(self, value: float) -> float:
        return round(self.ends[0] + (self.ends[1] - self.ends[0]) * (value - self.low) / (self.high - self.low), 1)

    def list_steps(self) -> list[float]:
        """At most five values, for lines."""
        count = round((self.high - self.low) / self.step)
        return [self.low + self.step * number for number in range(0, count + 1, math.ceil(count / 4))]


def plot_grid(name: str, title: str, rows: Sequence[Record]) -> dict[Path, str]:
    """A row of the grid is a dot, its range over seeds a bar; rows of one model stand together."""
    scale = Scale((100 * row[end] for row in rows for end in ("min", "max")), 5)
    scored = any("ssim" in row for row in rows)
    parts, y, model = [], TOP, None
    for row in rows:
        first, *others = row["axes"].items()
        if first[1] != model:
            model, y = first[1], y + ROW
            parts.append(text(0, y - 6, str(model), "bold"))
        y += ROW
        parts.append(text(8, y - 6, ", ".join(name_value(*one) for one in others)))
        parts += draw_dot(
            scale, [100 * row[end] for end in ("min", "mean", "max")], y - 10, f"{100 * row['mean']:.1f}"
        )
        if "ssim" in row:
            parts.append(text(FAR, y - 6, f"{row['ssim']:.2f}", "end"))
    heads = [text((LEFT + RIGHT) / 2, 14, "test accuracy, %", "mid bold")]
    heads += [text(FAR, 14, "SSIM", "end bold")] if scored else []
    told = "The test accuracy of every row of the table below, with its range over seeds."
    return finish(name, title, told, y, [*heads, *draw_axis(scale, y), *parts])


def name_value(axis: str, value: Any) -> str:
    """A string says what it is; a number and a yes need their axis."""
    return value if isinstance(value, str) else f"{axis.replace('_', ' ')} {value}"


def plot_decryptors(name: str, title: str, results: Record) -> dict[Path, str]:
    """What each decryptor's pictures share with the originals, and how many of them a plain classifier knows."""
    rows = results["rows"]
    names = list(dict.fromkeys(row["name"] for row in rows))
    guess, chance = rows[0]["guess_ssim"], rows[0]["recognition"]["chance"]
    scale = Scale([0, 1], 0.25)
    parts, y = [], TOP
    for decryptor in names:
        y += ROW
        mine = [row for row in rows if row["name"] == decryptor]
        parts.append(text(0, y - 6, decryptor.removeprefix("adaptation, ")))
        scores = [row["ssim"] for row in mine if "ssim" in row]
        if scores:
            shown = [min(scores), statistics.mean(scores), max(scores)]
            parts += draw_dot(scale, shown, y - 10, f"{shown[1]:.2f}")
        known = statistics.mean(row["recognition"]["accuracy"] for row in mine)
        parts.append(text(FAR, y - 6, f"{known:.0%}", "end"))
    parts += draw_mark(scale.place(guess), y, f"guessing {guess:.2f}")
    parts.append(text(FAR, y + 14, f"chance {chance:.0%}", "end soft"))
    heads = [text((LEFT + RIGHT) / 2, 14, "SSIM", "mid bold"), text(FAR, 14, "recognised", "end bold")]
    told = (
        "The similarity of each decryptor's pictures, beside guessing, and the share that a classifier recognises."
    )
    return finish(name, title, told, y + 18, [*heads, *draw_axis(scale, y), *parts])


def draw_axis(scale: Scale, bottom: float) -> list[str]:
    parts = []
    for value in scale.list_steps():
        x = scale.place(value)
        parts += [text(x, 32, f"{value:g}", "mid soft"), line(x, TOP, x, bottom)]
    return parts


def draw_dot(scale: Scale, ends_and_mean: Sequence[float], y: float, label: str) -> list[str]:
    low, mean, high = map(scale.place, ends_and_mean)
    parts = [f'<path d="M{low:g} {y:g}H{high:g}" stroke="var(--a)" stroke-width="3"/>'] if low < high else []
    parts.append(f'<circle cx="{mean:g}" cy="{y:g}" r="4.5" fill="var(--a)"/>')
    return [*parts, text(high + 8, y + 4.5, label)]


def draw_mark(x: float, bottom: float, label: str) -> list[str]:
    dashed = f'<path d="M{x:g} {TOP}V{bottom:g}" stroke="var(--b)" stroke-dasharray="4 3"/>'
    return [dashed, text(x, bottom + 14, label, "mid soft")]


def finish(name: str, title: str, told: str, height: float, parts: list[str]) -> dict[Path, str]:
    return {find_path(name): draw(f"ercnn-{name}", title, told, math.ceil(height) + 4, parts)}
