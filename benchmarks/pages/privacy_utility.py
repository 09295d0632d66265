"""docs/pictures/privacy-utility.svg: accuracy beside what ciphertexts give away, from the scheme comparison."""

from pathlib import Path
from typing import Any

from committed import ROOT
from drawings import draw, line, text
from record_tables import load

OUT = ROOT / "docs" / "pictures" / "privacy-utility.svg"
LEFT, RIGHT, TOP, ROW = 118, 300, 44, 23
LOW, HIGH, STEP = 30, 60, 10
"""Accuracy at the ends of the axis, in percent, and between its lines."""


def write_pages() -> dict[Path, str]:
    record = load("scheme-comparison-cpu.json")
    if record is None:
        return {}
    schemes = summarize(record["results"]["rows"])
    bottom = TOP + ROW * len(schemes)
    parts = [
        text((LEFT + RIGHT) / 2, 14, "accuracy without the key", "mid bold"),
        text(360, 14, "read", "end bold"),
    ]
    for percent in range(LOW, HIGH + 1, STEP):
        parts += [
            text(place(percent), 34, f"{percent}%", "mid soft"),
            line(place(percent), TOP, place(percent), bottom),
        ]
    for number, (name, accuracy, leak) in enumerate(schemes):
        parts += draw_scheme(name, accuracy, leak, TOP + ROW * (number + 0.5))
    shown = draw(
        "privacy-utility",
        "Accuracy against leakage",
        "For every scheme the best accuracy without the key, and the SSIM that our best ciphertext-only attack "
        "reaches. Nearly all schemes are read: those that keep much accuracy, and those that keep little.",
        int(bottom) + 6,
        parts,
    )
    return {OUT: shown}


def summarize(rows: list[dict[str, Any]]) -> list[tuple[str, float, float | None]]:
    """Name, best accuracy in percent, and leakage of each scheme; the most accurate first."""
    found = []
    for scheme in dict.fromkeys(row["scheme"] for row in rows):
        mine = [row for row in rows if row["scheme"] == scheme and row["way"] not in ("locked", "folded")]
        if mine:
            leak = 1.0 if scheme == "identity" else find_leak(mine[0]["leakage"])
            name = "plain images" if scheme == "identity" else scheme.replace(" block=4", "")
            found.append((name, 100 * max(row["mean"] for row in mine), leak))
    return sorted(found, key=lambda one: -one[1])


def find_leak(attacks: list[dict[str, Any]]) -> float | None:
    """SSIM of the best ciphertext-only attack; None where none applies."""
    return max((float(attack["ssim"]) for attack in attacks if attack["threat_model"] == "coa"), default=None)


def place(percent: float) -> float:
    return LEFT + (RIGHT - LEFT) * (percent - LOW) / (HIGH - LOW)


def draw_scheme(name: str, accuracy: float, leak: float | None, y: float) -> list[str]:
    """A dot, full where the scheme is read."""
    x = place(accuracy)
    dot = 'fill="var(--a)"' if leak else 'fill="var(--paper)" stroke="var(--b)" stroke-width="2"'
    return [
        text(0, y + 4.5, name),
        line(LEFT, y, x, y, "2 3"),
        f'<circle cx="{x:.1f}" cy="{y:g}" r="5" {dot}/>',
        text(x + 9, y + 4.5, f"{accuracy:.0f}"),
        text(360, y + 4.5, f"{leak:.2f}" if leak else "no attack", "end" if leak else "end soft"),
    ]
