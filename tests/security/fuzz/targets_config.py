"""cipherlens.toml in the current folder: read, or refused, and never another cipher than asked for."""

import json
import tomllib
from pathlib import Path
from random import Random
from typing import Any

from tests.security.fuzz.commands import run_here
from tests.security.fuzz.mutate_bytes import mutate_bytes
from tests.security.fuzz.mutate_toml import make_toml
from tests.security.fuzz.outcome import Misbehaved
from tests.security.fuzz.target import PHOTOS, Case, Target
from tests.security.fuzz.trees import FORMATS, Tree, replace_node

FILE = "cipherlens.toml"
_USUAL = b'[encrypt]\non_error = "skip"\nsize = 16\n\n[ciphers]\njson = true\n'


class ConfigTarget(Target):
    """``ciphers``, ``inspect`` and ``encrypt --dry-run`` beside a configuration file."""

    name, share, codes = "toml", 6, frozenset({2, 3, 4})
    seeds_kept = 3

    def make(self, rng: Random, number: int) -> Case:
        command = rng.choice(("encrypt", "encrypt", "encrypt", "ciphers", "inspect"))
        cipher = rng.choice((None, "hill", "pixel-permutation", "etc"))
        facts = {"command": command, "cipher": cipher}
        if number < self.seeds_kept:
            return Case({FILE: _USUAL}, "a usual one", facts, untouched=True)
        kind, tree = rng.random(), {FILE: _USUAL}
        if kind < 0.02:
            tree, note = replace_node(rng, tree, FILE)
        elif kind < 0.25:
            tree[FILE], note = mutate_bytes(rng, _USUAL, make_toml(rng).encode())
        else:
            tree[FILE], note = make_toml(rng).encode(), "values"
        return Case(tree, f"{note}, {facts}", facts, outside=_USUAL)

    def use(self, case: Case, root: Path) -> None:
        command, cipher = case.facts["command"], case.facts["cipher"]
        if command == "ciphers":
            run_here(["ciphers"])
        elif command == "inspect":
            run_here(["inspect", str(FORMATS / "hill")])
        else:
            asked = [] if cipher is None else ["--cipher", cipher]
            places = [str(PHOTOS), str(root / "out"), "--key", str(FORMATS / "client.key")]
            written = run_here(["encrypt", *places, "--size", "16", "--dry-run", "--json", *asked])
            _check_cipher(json.loads(written)["cipher"], cipher, case.tree)


def _check_cipher(used: str, asked: str | None, tree: Tree) -> None:
    """A flag beats the file, the file beats the default; what cannot be read is no reason for the default."""
    content = tree.get(FILE)
    expected = asked or (_read_cipher(content) if isinstance(content, bytes) else None) or "hill"
    if used != expected and not (expected.count("+") and used == "composed"):
        raise Misbehaved(f"another cipher than asked for: {used} instead of {expected}")


def _read_cipher(content: bytes) -> Any:
    try:
        table: Any = tomllib.loads(content.decode())
    except (ValueError, RecursionError):
        raise Misbehaved("a configuration that cannot be read was passed over") from None
    encrypt = table.get("encrypt")
    return encrypt.get("cipher") if isinstance(encrypt, dict) else None
