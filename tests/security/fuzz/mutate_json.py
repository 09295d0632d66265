"""Mutations of JSON values: other types, borders, deep nesting, missing and surplus keys, hostile strings.

What ``json.dumps`` cannot write (5,000 levels, 5,000 digits, a key twice) stands as a token in the value until the
text is made.
"""

import copy
import hashlib
import json
import re
from collections.abc import Callable
from random import Random
from typing import Any

from tests.security.fuzz.mutate_bytes import LONGEST

STRINGS = (
    *("", "x", "1", "nan", "null", "\x00", "a\x00b", "\x1b[2J\x1b[31m", "\x9b31m", "\x07\r\n", "\ud800", "\udcff"),
    *("\u202e",),
    *("../../outside/copy", "../outside/copy", "/etc/passwd", "..", ".", "a/b", "a\\b", "C:\\x", "\u2028", "é"),
    *("\U0001f600",),
    *("y" * 300, "z" * 100_000, "hill", "identity", "stream", "train", "test", "float64", "uint8", "%s{0}", "-1"),
    *("@FILE",),
)
NUMBERS = (
    *(0, -1, 1, 2, 3, 255, 256, 2**31, -(2**31), 2**53 + 1, 2**63, 2**64, 10**30, 10**400, 0.5, 1.0, -0.0, 1e308),
    *(1e-320,),
    *(float("nan"), float("inf"), float("-inf")),
)
OTHERS: tuple[Any, ...] = (None, True, False, [], {}, [[]], [None], [1, 2, 3], {"a": 1}, [0] * 70, ["a"] * 3)
TOKENS = ("@deep:50@", "@deep:900@", "@deep:5000@", "@deep:100000@", "@digits:5000@", "@keys:5000@")
CHECKSUM = "@checksum@"


HUGE = 10**300
"""Larger numbers are no floats."""


def mutate_json(rng: Random, value: Any, times: int | None = None) -> tuple[Any, str]:
    """A changed copy, and what was changed."""
    value, done = copy.deepcopy(value), []
    for _ in range(times or rng.choice((1, 1, 1, 2, 3))):
        places = list(_places(value))
        if not places:
            return pick_value(rng), "replaced all"
        holder, name, path = rng.choice(places)
        done.append(f"{_change(rng, holder, name, places)} {path}")
    return value, ", ".join(done)


def to_text(rng: Random, value: Any) -> str:
    """JSON text, its tokens written out, sometimes with a key twice."""
    text = json.dumps(value, indent=rng.choice((None, 1)))[:LONGEST]
    text = re.sub(r'"@(deep|digits|keys):(\d+)@"', _expand_within(LONGEST), text)
    if rng.random() < 0.02 and text.startswith("{"):
        text = text.replace("{", '{"version": 7, "plan": {}, "config": 1, "format": "x",', 1)
    return text


def hash_json(value: Any) -> str:
    """SHA-256 of the canonical form, as the format's description says; nothing where it has none."""
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()
    except (ValueError, RecursionError):
        return ""


def _expand_within(left: int) -> Callable[[re.Match[str]], str]:
    """Write tokens out until the text has become longer by ``left``; those behind are plain zeros."""

    def expand(match: re.Match[str]) -> str:
        nonlocal left
        written = _expand(match) if left > 0 else "0"
        left -= len(written)
        return written

    return expand


def _expand(match: re.Match[str]) -> str:
    kind, count = match[1], int(match[2])
    if kind == "deep":
        return "[" * count + "]" * count
    return "9" * count if kind == "digits" else "{" + ",".join(f'"k{i}":{i}' for i in range(count)) + "}"


def _places(value: Any, path: str = "") -> Any:
    """Every member of every object and list: (holder, name, path)."""
    names = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for name in names:
        yield value, name, f"{path}/{name}"[:80]
        yield from _places(value[name], f"{path}/{name}"[:80])


def pick_value(rng: Random) -> Any:
    """Something that a reader may not expect."""
    # A copy: what is changed in it later must not change what other inputs are made from.
    return copy.deepcopy(rng.choice(rng.choice((STRINGS, NUMBERS, OTHERS, TOKENS))))


def _change(rng: Random, holder: Any, name: Any, places: list[Any]) -> str:
    old, kind = holder[name], rng.randrange(9)
    if kind == 0:
        holder.pop(name)
        return "dropped"
    if kind == 1:
        if isinstance(holder, dict):
            holder[rng.choice((*STRINGS, f"{name}2"))] = pick_value(rng)
        else:
            holder.insert(name, rng.choice((copy.deepcopy(old), pick_value(rng))))
        return "added beside"
    if kind == 2:
        other, other_name, path = rng.choice(places)
        holder[name], other[other_name] = copy.deepcopy(other[other_name]), copy.deepcopy(old)
        return f"swapped with {path}:"
    if kind == 3 and isinstance(old, int | float):
        holder[name] = rng.choice(
            (old + 1, old - 1, -old, old * 1000, float(max(-HUGE, min(old, HUGE))), str(old), [old])
        )
    elif kind == 3 and isinstance(old, str):
        holder[name] = rng.choice(
            (old + rng.choice(STRINGS), rng.choice(STRINGS) + old, old[:-1], old.upper(), [old])
        )
    elif kind == 3 and isinstance(old, list):
        holder[name] = rng.choice((old * 2, old[::-1], old[:-1], dict.fromkeys(map(str, old)), old * 3000))
    elif kind == 4:
        holder[name] = [old]
    else:
        holder[name] = pick_value(rng)
    return "changed"
