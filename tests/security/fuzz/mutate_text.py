"""Mutations of key files: lines dropped, doubled and moved, other line breaks, other costs."""

import hashlib
from random import Random

BREAKS = ("\r\n", "\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", "\n\n", "\n ")
COSTS = (
    "0",
    "-1",
    "1",
    "2",
    "8",
    "17",
    "1048577",
    "9" * 30,
    "9" * 5000,
    "1_0",
    " 8",
    "8 ",
    "٣",
    "²",
    "0x8",
    "8.0",
    "",
    "1e3",
)
VALUES = (
    "",
    "x",
    "none",
    "argon2id-aes256gcm",
    "2",
    "é",
    "\x1b[2J",
    "\x9b",
    "\x00",
    "=",
    "AAAA",
    "A" * 3000,
    "A===",
    "ü==",
)


def mutate_key_file(rng: Random, text: str, recompute: bool) -> tuple[str, str]:
    """Change lines of a key file; with ``recompute`` its checksum is right afterwards."""
    body = text.rpartition("checksum: ")[0]
    lines = body.splitlines()
    done = [_change_lines(rng, lines) for _ in range(rng.choice((1, 1, 2, 3)))]
    joint = rng.choice(BREAKS) if rng.random() < 0.1 else "\n"
    body = joint.join(lines) + "\n"
    if not recompute:
        return body + "checksum: " + text.rpartition("checksum: ")[2], ", ".join(done)
    checksum = hashlib.sha256(body.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    ending = rng.choice(("\n", "\n", "\n", "", "\n\n", "\r\n", " \n", "\nmore: 1\n"))
    return f"{body}checksum: {checksum}{ending}", f"{', '.join(done)}, checksum recomputed"


def _change_lines(rng: Random, lines: list[str]) -> str:
    if not lines:
        lines.append("cipherlens-key: 1")
    at, change = rng.randrange(len(lines)), rng.choice(_CHANGES)
    text = lines[at]
    change(rng, lines, at)
    return f"{change.__name__.strip('_')} {text[:20]!r}"


def _drop(_: Random, lines: list[str], at: int) -> None:
    lines.pop(at)


def _double(rng: Random, lines: list[str], at: int) -> None:
    lines.insert(rng.randrange(len(lines) + 1), lines[at])


def _move(rng: Random, lines: list[str], at: int) -> None:
    lines.insert(rng.randrange(len(lines)), lines.pop(at))


def _break(rng: Random, lines: list[str], at: int) -> None:
    name, _, value = lines[at].partition(": ")
    lines[at] = f"{name}: {value[:3]}{rng.choice(BREAKS)}{rng.choice(('key: AAAA', 'comment: b', value[3:]))}"


def _cost(rng: Random, lines: list[str], at: int) -> None:
    costs = [i for i, line in enumerate(lines) if line.startswith(("memory-kib", "passes", "lanes"))]
    at = rng.choice(costs or [at])
    lines[at] = f"{lines[at].partition(': ')[0]}: {rng.choice(COSTS)}"


def _rewrite(rng: Random, lines: list[str], at: int) -> None:
    name, _, value = lines[at].partition(": ")
    forms = (f"{name}:{value}", f"{name} : {value}", f"{name.upper()}: {value}", name, f"#{lines[at]}")
    lines[at] = rng.choice(forms)


def _insert(rng: Random, lines: list[str], at: int) -> None:
    more = ("extra: 1", "# a comment", "checksum: 0", "key: AAAA", "protection: none", "\x00")
    lines.insert(at, rng.choice(more))


def _field(rng: Random, lines: list[str], at: int) -> None:
    lines[at] = f"{lines[at].partition(': ')[0]}: {rng.choice(VALUES)}"


_CHANGES = (_drop, _double, _move, _break, _cost, _rewrite, _insert, _field)
