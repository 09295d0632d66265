"""docs/pictures/privacy-utility.png: accuracy against what ciphertexts give away, from the scheme comparison."""

from pathlib import Path
from typing import Any

from committed import Pictures
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_MIDDLE = 0.5
OUT = Path(__file__).parents[2] / "docs" / "pictures" / "privacy-utility.png"


def draw(rows: list[dict[str, Any]]) -> None:
    """One point per scheme: its best accuracy without the key, and the best SSIM of a ciphertext-only attack."""
    figure = Figure(figsize=(8, 5), layout="constrained", dpi=90)
    FigureCanvasAgg(figure)
    plot = figure.subplots()
    places: dict[tuple[float, float], list[str]] = {}
    for scheme in dict.fromkeys(row["scheme"] for row in rows):
        mine = [row for row in rows if row["scheme"] == scheme and row["way"] not in ("locked", "folded")]
        if mine:
            leak = 1.0 if scheme == "identity" else find_leak(mine[0]["leakage"])
            accuracy = 100 * max(row["mean"] for row in mine)
            places.setdefault((round(leak, 2), round(accuracy, 0)), []).append(scheme.replace(" block=4", ""))
            plot.scatter(leak, accuracy, edgecolors="tab:blue", color="tab:blue" if leak else "white", zorder=2)
    for (leak, accuracy), names in places.items():
        offset, side = ((-6, 5), "right") if leak > _MIDDLE else ((6, 5), "left")
        plot.annotate(", ".join(names), (leak, accuracy), offset, textcoords="offset points", fontsize=8, ha=side)
    plot.margins(y=0.12)
    guesses = [attack["guess_ssim"] for row in rows for attack in row["leakage"] if attack["threat_model"] == "coa"]
    if guesses:
        plot.axvline(min(guesses), linestyle=":", color="grey")
        plot.text(min(guesses), plot.get_ylim()[0], " guessing", fontsize=8, color="grey")
    plot.set_xlim(-0.05, 1.05)
    plot.set_xlabel("SSIM of the best ciphertext-only attack of ours (0 where none applies)")
    plot.set_ylabel("test accuracy without the key, best way, %")
    plot.grid(alpha=0.3)
    Pictures.save(figure, OUT)


def find_leak(attacks: list[dict[str, Any]]) -> float:
    return max((float(attack["ssim"]) for attack in attacks if attack["threat_model"] == "coa"), default=0.0)
