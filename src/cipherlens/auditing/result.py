"""The result of an audit, as an object: what was measured, what follows, and how it is written."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from cipherlens.auditing.conclusion import Conclusion, conclude
from cipherlens.auditing.samples import PictureRow
from cipherlens.auditing.wording import ATTACKERS, Record
from cipherlens.errors import DataError, unknown_name
from cipherlens.files import write_atomic, write_together
from cipherlens.holders import CLIENT, FIELD

_FORMAT = {"format": "cipherlens-audit", "version": 1, FIELD: CLIENT}
"""A report shows pictures of the client, and what was recovered of them."""
_PICTURES = {"pictures", "exposed"}


@dataclass(frozen=True, eq=False)
class AuditReport:
    """What an audit found. :func:`cipherlens.audit` makes it.

    ``attacks`` has a row for each attack and budget, ``controls`` for each control, ``not_run`` for what was left
    out and why, ``accuracy`` for each run folder, ``thresholds`` for each limit (docs/attacks.md names the fields).
    ``pictures`` are images that all attacks show, ``exposed`` those that the worst attacks read best.

    Raises DataError for an attack without a score, UsageError for an unknown threat model.
    """

    created: str
    command: str
    sealed: Record
    environment: Record
    effort: Record
    attacks: tuple[Record, ...]
    controls: tuple[Record, ...]
    not_run: tuple[Record, ...]
    accuracy: tuple[Record, ...]
    thresholds: tuple[Record, ...]
    pictures: tuple[PictureRow, ...] = field(default=(), repr=False)
    exposed: tuple[PictureRow, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        for attack in self.attacks:
            if attack["threat_model"] not in ATTACKERS:
                raise unknown_name("threat model", attack["threat_model"], list(ATTACKERS))
            if not math.isfinite(attack["ssim"]):
                raise DataError(
                    f"attack {attack['attack']!r} has no score ({attack['ssim']})",
                    hint="leave it out or run it again; it must not pass for an attack that read nothing",
                )

    @cached_property
    def conclusion(self) -> Conclusion:
        """What follows from the figures."""
        return conclude(self.sealed["cipher"], self.attacks, self.controls, self.not_run, self.thresholds)

    @property
    def worst(self) -> Mapping[str, Record | None]:
        """For each threat model that was tried the attack with the highest SSIM; None if none beat guessing."""
        return self.conclusion.worst

    @property
    def headline(self) -> Record | None:
        """The attack on which the verdict rests; None if none beat guessing."""
        return self.conclusion.headline

    @property
    def verdict(self) -> str:
        """``readable``, ``partly readable``, or that no attack read the pictures."""
        return self.conclusion.verdict

    @property
    def verdict_text(self) -> str:
        """The verdict in a few sentences."""
        return self.conclusion.verdict_text

    @property
    def advice(self) -> tuple[str, ...]:
        """Advice, the most urgent first."""
        return self.conclusion.advice

    def to_record(self) -> dict[str, Any]:
        """The content of report.json; numbers that are not finite are None."""
        record: dict[str, Any] = _finite(_FORMAT | self._list_facts())
        return record

    def _list_facts(self) -> dict[str, Any]:
        facts = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in _PICTURES}
        return facts | {name: getattr(self, name) for name in ("worst", "verdict", "verdict_text", "advice")}

    def to_json(self, path: str | Path) -> Path:
        """Write the report for programs, and return its path."""
        return _write(Path(path), self._encode())

    def to_html(self, path: str | Path) -> Path:
        """Write the report for people, one page that needs no other file, and return its path."""
        return _write(Path(path), self._render())

    def write(self, folder: str | Path) -> Path:
        """Write report.json and report.html into a folder, and return the path of the page.

        What cannot be made leaves the folder as it was.
        """
        page, record = Path(folder) / "report.html", Path(folder) / "report.json"
        content = {record: self._encode(), page: self._render()}
        page.parent.mkdir(parents=True, exist_ok=True)
        write_together(content)
        return page

    def _render(self) -> bytes:
        from cipherlens.auditing.report.html import render  # jinja2 and matplotlib are for pages only

        return render(self._list_facts(), self.pictures, self.exposed).encode(errors="replace")

    def _encode(self) -> bytes:
        return json.dumps(self.to_record(), indent=1, allow_nan=False).encode() + b"\n"


def _write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, content)
    return path


def _finite(value: Any) -> Any:
    """The value with None in place of numbers that are not finite, as lists and dictionaries."""
    if isinstance(value, Mapping):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
