"""Figures of experiments."""

import io
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cipherlens.files import write_atomic

Row = dict[str, Any]
_MARKERS = "os^vDPX*"


def draw_grid(path: Path, title: str, rows: Sequence[Row], axes: dict[str, Sequence[Any]]) -> None:
    """Plot accuracy (mean, with the range over seeds) along the longest numeric axis, as PNG.

    There is one line for each combination of the other axes. Without a numeric axis, bars are drawn.
    """
    numeric = {name: values for name, values in axes.items() if all(map(_is_number, values))}
    across = max(numeric, key=lambda name: len(numeric[name])) if numeric else None
    with _plots(path, 1) as (plot,):
        if across is None:
            _draw_bars(plot, rows)
        else:
            _draw_lines(plot, rows, across)
        plot.set_title(title)


def draw_rounds(
    path: Path, title: str, histories: dict[str, Sequence[float]], rounds: int, rows: Sequence[Row]
) -> None:
    """Plot several rounds of training, as PNG: test accuracy by epoch, and SSIM of the adaptation network's output.

    ``histories`` are accuracies by run; ``rows`` are decryptors with ``name``, ``seed``, ``ssim``, ``guess_ssim``.
    """
    with _plots(path, 2) as (left, right):
        for name, history in histories.items():
            left.plot(range(1, len(history) + 1), [100 * value for value in history], marker=".", label=name)
        longest = max(map(len, histories.values()))
        for number in range(1, rounds):
            left.axvline(number * longest / rounds + 0.5, color="grey", linewidth=0.8, linestyle=":")
        left.set_xlabel("epoch; dotted: a new round")
        left.set_ylabel("test accuracy, %")
        left.set_title(title, loc="left")
        _draw_decryptors(right, rounds, rows)
        left.legend()
        right.legend()


def draw_leakage(path: Path, title: str, rows: Sequence[Row]) -> None:
    """Plot SSIM against the budget, as PNG: a plot for each threat model, a line with range for each scheme.

    Attacks with chosen pictures are not plotted, because each asks for as many as it needs.
    """
    models = list(dict.fromkeys(row["threat_model"] for row in rows if row["threat_model"] != "cpa"))
    schemes = list(dict.fromkeys(row["scheme"] for row in rows))
    if not models:
        return
    with _plots(path, len(models)) as plots:
        for plot, model in zip(plots, models, strict=True):
            chosen = [row for row in rows if row["threat_model"] == model]
            for number, scheme in enumerate(schemes):
                mine = [row for row in chosen if row["scheme"] == scheme]
                # A scheme without such an attack is in the legend too.
                _draw_scheme(plot, scheme, mine, number)
            guesses = [row["guess_ssim"] for row in chosen if row["alignment"] == "none"]
            if guesses:
                plot.axhline(statistics.mean(guesses), color="grey", linestyle="--")
            plot.set_xscale("log")
            plot.set_xlabel(chosen[0]["budget_unit"])
            plot.set_ylim(-0.02, 1.02)
            plot.set_title(f"{title}: {model}", fontsize="medium")
        plots[0].set_ylabel("SSIM; dashed: guessing")
        plots[-1].legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1.02, 0.5))


def _draw_scheme(plot: Any, scheme: str, rows: Sequence[Row], number: int) -> None:
    """Plot the best attack at each budget: the one with the largest gain over guessing."""
    gains = sorted(rows, key=lambda row: (row["budget"], row["ssim"]["mean"] - row["guess_ssim"]))
    farthest = {row["budget"]: row["ssim"] for row in gains}
    budgets, best = list(farthest), list(farthest.values())
    means = [ssim["mean"] for ssim in best]
    spread = [[s["mean"] - s["min"] for s in best], [s["max"] - s["mean"] for s in best]]
    # Twenty colours, alternately dark and light, and eight markers distinguish the schemes.
    look = {"color": f"C{number // 2 % 10}", "alpha": 0.5 if number % 2 else 1.0, "marker": _MARKERS[number % 8]}
    plot.errorbar(budgets, means, spread, capsize=3, label=scheme, **look)


def _draw_decryptors(plot: Any, rounds: int, rows: Sequence[Row]) -> None:
    labelled: set[str] = set()
    for row in rows:
        number = row["name"].rpartition(" ")[2].replace("untrained", "0")
        others = ("s", "C1") if number == "round" else ("^", "C2")
        place, marker, colour = (int(number), "o", "C0") if number.isdecimal() else (rounds, *others)
        label = "adaptation network after a round" if number.isdecimal() else row["name"]
        if row["seed"] is None:
            plot.axhline(row["ssim"], color="black", label=f"{row['name']} attack")
            plot.axhline(row["guess_ssim"], color="grey", linestyle="--", label="guessing")
            continue
        shown = None if label in labelled else label
        plot.plot([place], [row["ssim"]], marker, markersize=9, mfc="none", color=colour, label=shown)
        labelled.add(label)
    plot.set_xticks(range(rounds + 1))
    plot.set_xlabel("round")
    plot.set_ylabel("SSIM (adaptation network: after the best affine fit)")
    plot.set_ylim(min(0.0, *(row["ssim"] for row in rows)) - 0.02, 1.02)


@contextmanager
def _plots(path: Path, count: int) -> Iterator[list[Any]]:
    """Plots side by side, written as PNG at the end."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=({1: 8, 2: 12}.get(count, 18), 4.5), layout="constrained")
    plots: list[Any] = list(figure.subplots(1, count, squeeze=False)[0])
    yield plots
    for plot in plots:
        plot.grid(alpha=0.3)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    write_atomic(path, buffer.getvalue())


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


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
    if min(row["axes"][across] for row in rows) > 0:
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
    """A row's values on the axes of the grid, as text."""
    parts = [
        f"{value}" if isinstance(value, str) else f"{name} {value}"
        for name, value in row["axes"].items()
        if name != without
    ]
    return ", ".join(parts) or "all"
