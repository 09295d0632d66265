"""Counts per target, failures by group, as text."""

import threading
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from tests.security.fuzz.outcome import Outcome
from tests.security.fuzz.runner import Chunk

_COLUMNS = ("accepted", "exit 2", "exit 3", "exit 4", "exit 6", "crash", "wrong", "altered")


@dataclass
class Group:
    """Failures with, very likely, one cause."""

    target: str
    outcome: Outcome
    first: int
    count: int = 0


@dataclass
class Tally:
    """What became of all inputs."""

    seed: int
    counts: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    groups: dict[tuple[str, ...], Group] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, chunk: Chunk, number: int, outcome: Outcome) -> None:
        """Count one input."""
        with self._lock:
            column = f"exit {outcome.code}" if outcome.status == "refused" else outcome.status
            self.counts[chunk.target][column] += 1
            if outcome.failed:
                group = self.groups.setdefault((chunk.target, *outcome.group), Group(chunk.target, outcome, number))
                group.first = min(group.first, number)
                group.count += 1

    @property
    def inputs(self) -> int:
        """How many there were so far."""
        return sum(sum(counts.values()) for counts in self.counts.values())

    @property
    def failures(self) -> int:
        """How many were not as they must be."""
        return sum(group.count for group in self.groups.values())

    def to_json(self) -> dict[str, Any]:
        """Counts by target, and the groups of failures."""
        groups = [
            {"target": one.target, "count": one.count} | one.outcome.to_json() for one in self.groups.values()
        ]
        return {"inputs": self.inputs, "failures": groups, "targets": {k: dict(v) for k, v in self.counts.items()}}

    def format(self) -> str:
        """The table, and one paragraph per group of failures."""
        lines = [f"{'target':10}{'inputs':>9}" + "".join(f"{name:>10}" for name in _COLUMNS)]
        rows = {**self.counts, "all": sum(self.counts.values(), Counter())}
        for name, counts in rows.items():
            numbers = "".join(f"{counts[column]:>10}" for column in _COLUMNS)
            lines.append(f"{name:10}{sum(counts.values()):>9}{numbers}")
        for group in sorted(self.groups.values(), key=lambda group: -group.count):
            lines += ["", *self._describe(group)]
        return "\n".join(lines)

    def _describe(self, group: Group) -> list[str]:
        found = group.outcome
        where = f" at {found.place}" if found.place else ""
        message = " ".join(ascii(found.message)[1:-1].split())[:200]
        return [
            f"{group.count} x {group.target} {found.status}: {found.kind}{where}",
            *([f"    {message}"] if message else []),
            f"    python -m tests.security.fuzz --seed {self.seed} --repeat {group.target}:{group.first}",
        ]
