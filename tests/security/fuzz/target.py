"""What a target of the fuzzer is: how it makes an input, and what it does with it."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any

from tests.security.fuzz.guard import GROWTH
from tests.security.fuzz.trees import FORMATS, VERSION_2, Tree

OPEN_SESAME = "open sesame"


@dataclass
class Case:
    """One input: files, what was done to them, and what its target has to know to judge."""

    tree: Tree
    note: str
    facts: dict[str, Any] = field(default_factory=dict)
    untouched: bool = False
    """A seed as it is: to refuse it is a failure too."""
    outside: bytes = b""
    """What the file ``copy`` in the folder beside the case's holds."""


class Target:
    """One kind of input. ``share`` is its part of all inputs, ``codes`` the exit codes that refuse one."""

    name = ""
    share = 0
    codes: frozenset[int] = frozenset({4})
    seconds = 20.0
    growth = GROWTH
    """By so many bytes the process may grow, besides four times the files' size."""
    children = False
    """Whether its inputs are used in processes of their own."""
    seeds_kept = 0
    """So many of the first inputs are seeds as they are."""

    def make(self, rng: Random, number: int) -> Case:
        """The input of this number, following from ``rng`` alone."""
        raise NotImplementedError

    def use(self, case: Case, root: Path) -> None:
        """Read the files of the case, written to ``root``; raise what is raised, Altered or Misbehaved."""
        raise NotImplementedError

    @cached_property
    def key(self) -> Any:
        """The key of all seeds."""
        from cipherlens.keys import Key

        return Key(bytes(range(32)))

    @cached_property
    def other_key(self) -> Any:
        """A key that nothing was made with."""
        from cipherlens.keys import Key

        return Key(bytes(range(32, 64)))


def make_case(target: Target, seed: int, number: int) -> Case:
    """The input of a number: the same for the same seed, whatever was made before."""
    return target.make(Random(f"{seed}:{target.name}:{number}"), number)


def warm_up() -> None:
    """Import what commands import, so that no import is taken for an input's doing."""
    import accelerate  # noqa: F401
    import timm  # noqa: F401
    import torch

    import cipherlens.auditing.report.html
    import cipherlens.auditing.run
    import cipherlens.auditing.summary
    import cipherlens.cli.main
    import cipherlens.client
    import cipherlens.service.app
    import cipherlens.training.fit

    cipherlens.cli.main.load_all()
    torch.set_num_threads(1)


OLD_SETS = ("hill", "permutation", "etc-per-image", "plain", "oblong", "augmented", "stream", "composed", "masked")
SETS = (*OLD_SETS, *(f"{VERSION_2}/{name}" for name in ("hill", "permutation", "etc-per-image")))
RUNS = ("run-plain", "run-hill", "run-locked")
KEYS = ("client.key", "locked.key", "odd-comment.key", "long-comment.key")
PHOTOS = FORMATS / "photos"
