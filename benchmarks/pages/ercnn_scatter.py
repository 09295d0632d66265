"""docs/pictures/ercnn-reading.svg: accuracy against similarity of the front end's pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from drawings import line, text
from ercnn_plots import Scale, finish

Points = Mapping[str, Sequence[tuple[float, float]]]
LEFT, RIGHT, TOP, BOTTOM = 30, 352, 28, 340
KEY = (150, 128, 15)
"""Where the names of the marks begin, below the points that are read, and how far they are apart."""
MARKS = ("M-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0z", "M-4.5-4.5h9v9h-9z", "M0-6L5.5 4.5h-11z", "M0-6.5L6 0 0 6.5-6 0z")
"""Circle, square, triangle and diamond, around their middle."""


def plot_reading(read: Points, alone: Points, levels: Mapping[str, float]) -> dict[Path, str]:
    """SSIM and accuracy by name: of maps that were read first, and of maps learnt from labels alone.

    ``levels`` are accuracies without a front end.
    """
    accuracies = [accuracy for group in (read, alone) for points in group.values() for _, accuracy in points]
    high = Scale((100 * value for value in [*accuracies, *levels.values()]), 10, (BOTTOM, TOP))
    wide = Scale([0, 1], 0.25, (LEFT, RIGHT))
    parts = [*draw_axes(wide, high), *draw_levels(levels, high), *draw_read(read, wide, high)]
    for name, points in alone.items():
        for ssim, accuracy in points:
            x, y = wide.place(ssim), high.place(100 * accuracy)
            parts += [draw_mark(MARKS[0], x, y, "b"), text(x + 8, y + 14, name)]
    told = (
        "Front ends that an attack found first reach high similarity and high accuracy. Those that learnt from "
        "labels alone reach neither."
    )
    return finish("reading", "Accuracy against similarity", told, BOTTOM + 38, parts)


def draw_axes(wide: Scale, high: Scale) -> list[str]:
    parts = [text(0, 14, "test accuracy, %"), text(RIGHT, BOTTOM + 36, "SSIM of the front end's pictures", "end")]
    parts += [text(wide.place(value), BOTTOM + 18, f"{value:g}", "mid soft") for value in wide.list_steps()]
    for value in high.list_steps():
        y = high.place(value)
        parts += [line(LEFT, y, RIGHT, y), text(LEFT - 6, y + 4, f"{value:g}", "end soft")]
    return parts


def draw_levels(levels: Mapping[str, float], high: Scale) -> list[str]:
    parts = []
    for name, accuracy in levels.items():
        y = high.place(100 * accuracy)
        dashes = f'<path d="M{LEFT} {y:g}H{RIGHT}" stroke="var(--c)" stroke-dasharray="5 4"/>'
        parts += [dashes, text(LEFT + 4, y - 5, name)]
    return parts


def draw_read(read: Points, wide: Scale, high: Scale) -> list[str]:
    """A mark for each source of photos, with their names where no point is."""
    x, y, apart = KEY
    parts = [text(x, y, "read first; prior:", "bold")]
    for mark, (name, points) in zip(MARKS, ((name, found) for name, found in read.items() if found), strict=False):
        y += apart
        parts += [draw_mark(mark, x + 6, y - 4.5, "a"), text(x + 18, y, name)]
        parts += [draw_mark(mark, wide.place(ssim), high.place(100 * accuracy), "a") for ssim, accuracy in points]
    return parts


def draw_mark(mark: str, x: float, y: float, colour: str) -> str:
    return f'<path d="{mark}" transform="translate({x:g} {y:g})" fill="var(--{colour})" fill-opacity="0.85"/>'
