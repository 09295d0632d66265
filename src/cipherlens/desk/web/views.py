"""The desk's page and its parts, as HTML."""

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined

from cipherlens.desk.desk import MAX_PHOTOS, Desk
from cipherlens.desk.setting import BLOCKS, SCHEMES, SIZES, Setting
from cipherlens.desk.state import Reading

_SHOWN = 24
"""Photos on the page at a time, the last ones. Chosen by hand."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 350, 20, 120
"""The curve's frame in its picture."""
_PLACE = files("cipherlens.desk.web")


def _load() -> Environment:
    templates = {
        item.name: item.read_text("utf-8") for item in (_PLACE / "templates").iterdir() if item.name.endswith(".j2")
    }
    page = Environment(
        loader=DictLoader(templates),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page.filters["similarity"] = lambda value: f"{value:.2f}"
    page.filters["percent"] = lambda value: f"{value:.0%}"
    return page


_PAGE = _load()


def read_static(name: str) -> bytes | None:
    """A file of the page: style, script, icon. None for another name."""
    found = {item.name: item for item in (_PLACE / "static").iterdir()}
    return found[name].read_bytes() if name in found else None


def show(part: str, desk: Desk, **facts: Any) -> str:
    """One part of the page, or ``page``, which is all of it."""
    given: dict[str, Any] = {
        "desk": desk,
        "schemes": SCHEMES,
        "blocks": BLOCKS,
        "sizes": SIZES,
        "most": MAX_PHOTOS,
        "problem": "",
        "shown": desk.photos[: -_SHOWN - 1 : -1],
        "answered": sum(bool(photo.answer) for photo in desk.sent),
        "curve": draw_curve(desk.readings),
    }
    return _PAGE.get_template(f"{part}.html.j2").render(given | facts)


def draw_curve(readings: Sequence[Reading]) -> str:
    """Similarity against the number of photos sent, as SVG; empty for fewer than two readings."""
    best = {reading.photos: reading for reading in readings}
    points = [best[count] for count in sorted(best)]
    if len(points) < 2:  # a line has two ends
        return ""
    first, span = points[0].photos, points[-1].photos - points[0].photos

    def place(photos: int) -> float:
        return round(_LEFT + (_RIGHT - _LEFT) * (photos - first) / span, 1)

    def height(similarity: float) -> float:
        return round(_BOTTOM - (_BOTTOM - _TOP) * min(1.0, max(0.0, similarity)), 1)

    return _PAGE.get_template("curve.svg.j2").render(points=points, place=place, height=height)


def propose(desk: Desk) -> dict[str, Any]:
    """What the form of trials shows first."""
    return {"tried": desk.trials[-1].setting if desk.trials else Setting("stream", size=desk.setting.size)} | {
        "count": desk.trials[-1].count if desk.trials else 20
    }
