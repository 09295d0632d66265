"""Figures in the prose of docs/, from results/*.json: python benchmarks/pages/figures.py [--check] [PAGE...]

A figure stands between two comments: ``<!--=RECORD:PATH:FORMAT-->0.96<!--/-->``. RECORD is a file of results/
without .json. PATH leads into its "results": names and numbers joined by dots (``\\.`` is a dot in a name).
FORMAT is a format specification of Python. In a list, a part of the path may be

- ``name=value&other=value``: the only item that has these (``name/inner`` looks into an item);
- ``name=value&*`` or ``*`` (of a mapping, too): all items that do; what follows is taken of each;
- ``mean``, ``min``, ``max``, ``sum``, ``count`` of all.

Without --check the pages are refreshed in place. With it nothing is written, and a figure that is not its record's
fails.
"""

import json
import re
import statistics
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DOCS, RESULTS = ROOT / "docs", ROOT / "results"
MARK = re.compile(r"<!--=(?P<where>[^\n]*?)-->(?P<value>[^\n]*?)<!--/-->")
FIRST = re.compile(r"^[ \t]*(?:[-*>]|\d+\.)?[ \t]*<!--=[^\n]*?-->", re.MULTILINE)
SUMMARIES: dict[str, Callable[[Sequence[Any]], Any]] = {
    "mean": statistics.mean,
    "min": min,
    "max": max,
    "sum": sum,
    "count": len,
}


class FigureError(Exception):
    """A figure has no place in a record."""


class Each(list[Any]):
    """Items of which what follows in a path is taken one by one."""


def show(where: str, results: Path = RESULTS) -> str:
    """The figure at RECORD:PATH:FORMAT. Raises FigureError where there is none."""
    name, first, rest = where.partition(":")
    path, second, form = rest.rpartition(":")
    if not (first and second and path):
        raise FigureError("not RECORD:PATH:FORMAT")
    file = results / f"{name}.json"
    if not file.is_file():
        raise FigureError(f"there is no record results/{name}.json")
    value = look_up(read(file, file.stat().st_mtime_ns), path)
    try:
        return format(value, form)
    except (TypeError, ValueError):
        raise FigureError(f"{value!r} cannot be shown as {form!r}") from None


@cache
def read(file: Path, changed: int) -> Any:
    """The results of a record. ``changed`` keeps what was read of an earlier state from being taken."""
    return json.loads(file.read_text())["results"]


def look_up(value: Any, path: str) -> Any:
    """What is at ``path``. Raises FigureError, naming the part that leads nowhere."""
    for part in re.split(r"(?<!\\)\.", path):
        value = step(value, part.replace("\\.", "."))
    return value


def step(value: Any, part: str) -> Any:
    """One part of a path further."""
    if isinstance(value, Each):
        named = value and isinstance(value[0], dict) and part in value[0]
        summed = part in SUMMARIES and not named
        return SUMMARIES[part](value) if summed else Each(step(item, part) for item in value)
    if isinstance(value, dict):
        if part not in value and part != "*":
            raise FigureError(f"there is no {part!r} among: {', '.join(list(value)[:12])}")
        return Each(value.values()) if part == "*" else value[part]
    if not isinstance(value, list):
        raise FigureError(f"{value!r} has no {part!r}")
    return step_list(value, part)


def step_list(value: list[Any], part: str) -> Any:
    """One part of a path into a list."""
    if part in SUMMARIES:
        return SUMMARIES[part](value)
    if re.fullmatch(r"-?\d+", part):
        if not -len(value) <= int(part) < len(value):
            raise FigureError(f"there is no item {part} of {len(value)}")
        return value[int(part)]
    return choose(value, part)


def choose(items: list[Any], part: str) -> Any:
    """The only item that satisfies all conditions; or with ``*`` all of these."""
    conditions = part.split("&")
    wanted = [condition.partition("=") for condition in conditions if condition != "*"]
    found = Each(item for item in items if all(has(item, name, value) for name, _, value in wanted))
    if not found:
        raise FigureError(f"no item has {part!r}")
    if "*" in conditions:
        return found
    if len(found) > 1:
        raise FigureError(f"{len(found)} items have {part!r}")
    return found[0]


def has(item: Any, name: str, value: str) -> bool:
    """Whether an item's ``name``, or ``name/inner``, is written as ``value``."""
    for part in name.split("/"):
        if not isinstance(item, dict) or part not in item:
            return False
        item = item[part]
    return str(item) == value


def fill(text: str, results: Path = RESULTS) -> tuple[str, list[str]]:
    """A page with its records' figures, and what is wrong with those that have none."""
    problems = [
        f"{found[0].strip()}: a line begins with it; put a word before it" for found in FIRST.finditer(text)
    ]

    def replace(found: re.Match[str]) -> str:
        try:
            return f"<!--={found['where']}-->{show(found['where'], results)}<!--/-->"
        except FigureError as error:
            problems.append(f"{found['where']}: {error}")
            return found[0]

    return MARK.sub(replace, text), problems


def check(text: str, results: Path = RESULTS) -> list[str]:
    """What is wrong with the figures of a page."""
    filled, problems = fill(text, results)
    for old, new in zip(MARK.finditer(text), MARK.finditer(filled), strict=True):
        if old["value"] != new["value"]:
            problems.append(f"{old['where']}: the page says {old['value']!r}, the record {new['value']!r}")
    return problems


def main(arguments: Sequence[str] | None = None) -> int:
    parser = ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail where a figure is not the record's"
    )
    parser.add_argument("pages", nargs="*", type=Path)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    problems, count = [], 0
    for page in options.pages or sorted(DOCS.rglob("*.md")):
        text = page.read_text()
        count += len(MARK.findall(text))
        filled, wrong = fill(text, options.results)
        problems += [f"{page}: {problem}" for problem in (check(text, options.results) if options.check else wrong)]
        if not options.check and filled != text:
            page.write_text(filled)
    print(*problems, sep="\n", end="\n" if problems else "", file=sys.stderr)
    print(f"{count} figures, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
