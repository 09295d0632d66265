"""Training curves as a picture."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cipherlens.files import write_atomic
from cipherlens.training.engine.metrics import EpochMetrics


def draw_curves(history: Sequence[EpochMetrics], path: Path) -> None:
    """Draw loss and accuracy over all epochs of all rounds as PNG; dotted lines separate the rounds."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4))
    figure.subplots_adjust(left=0.07, right=0.98, bottom=0.13, top=0.95)  # much faster than a layout engine
    epochs = list(range(1, len(history) + 1))
    starts = [epoch for epoch, metrics in zip(epochs, history, strict=True) if metrics.epoch == 1 < epoch]
    for place, quantity in enumerate(("loss", "accuracy"), start=1):
        axes: Any = figure.add_subplot(1, 2, place)
        for role, style in (("train", "C0o-"), ("test", "C1s-")):
            values = [getattr(metrics, f"{role}_{quantity}") for metrics in history]
            if None not in values:
                axes.plot(epochs, values, style, markersize=3, label=role)
        for start in starts:
            axes.axvline(start - 0.5, color="0.6", linestyle=":")
        axes.set_xlabel("epoch (all rounds)" if starts else "epoch")
        axes.set_ylabel(quantity)
        axes.legend()
        axes.grid(alpha=0.3)
    picture = io.BytesIO()
    FigureCanvasAgg(figure).print_png(picture)
    write_atomic(path, picture.getvalue())
