"""Figures of experiments."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cipherlens.data.files import write_atomic

Row = dict[str, Any]


def draw_grid(path: Path, title: str, rows: Sequence[Row], axes: dict[str, Sequence[Any]]) -> None:
    """Accuracy (mean, with the range over seeds) along the longest axis of numbers, a line for all else; as PNG.

    Without such an axis: bars.
    """
    numeric = {name: values for name, values in axes.items() if all(isinstance(v, int | float) for v in values)}
    across = max(numeric, key=lambda name: len(numeric[name])) if numeric else None
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    plot: Any = figure.add_subplot()
    if across is None:
        _draw_bars(plot, rows)
    else:
        _draw_lines(plot, rows, across)
    plot.set_title(title)
    plot.grid(alpha=0.3)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    write_atomic(path, buffer.getvalue())


def _draw_lines(plot: Any, rows: Sequence[Row], across: str) -> None:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(describe(row, without=across), []).append(row)
    for label, group in groups.items():
        places = [row["axes"][across] for row in group]
        means = [100 * row["mean"] for row in group]
        spread = [[100 * (r["mean"] - r["min"]) for r in group], [100 * (r["max"] - r["mean"]) for r in group]]
        plot.errorbar(places, means, spread, marker="o", capsize=3, label=label)
    values = sorted({row["axes"][across] for row in rows})
    plot.set_xscale("log")
    plot.set_xticks(values, [f"{value:g}" for value in values])
    plot.minorticks_off()
    plot.set_xlabel(across.replace("_", " "))
    plot.set_ylabel("test accuracy, %")
    plot.legend()


def _draw_bars(plot: Any, rows: Sequence[Row]) -> None:
    places = list(range(len(rows)))[::-1]
    means = [100 * row["mean"] for row in rows]
    spread = [[100 * (r["mean"] - r["min"]) for r in rows], [100 * (r["max"] - r["mean"]) for r in rows]]
    plot.barh(places, means, xerr=spread, capsize=3)
    plot.set_yticks(places, [describe(row) for row in rows])
    plot.set_xlabel("test accuracy, %")


def describe(row: Row, without: str | None = None) -> str:
    """A row's place in the grid in words."""
    parts = [
        f"{value}" if isinstance(value, str) else f"{name} {value}"
        for name, value in row["axes"].items()
        if name != without
    ]
    return ", ".join(parts) or "all"
