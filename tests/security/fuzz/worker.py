"""A process that tries inputs: asked for them on stdin, it answers on stdout, one JSON line each."""

import json
import os
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from tests.security.fuzz.guard import Guard, Hang
from tests.security.fuzz.outcome import Misbehaved, Outcome, judge
from tests.security.fuzz.target import Case, Target, make_case
from tests.security.fuzz.targets import TARGETS
from tests.security.fuzz.trees import Link, Pipe, measure_tree, remove_tree, write_tree

_LARGE = 1_000_000
_SHORT = 1.0
"""Seconds for what has a pipe or a device in it: it is refused at once, or waited for without end."""


class Trier:
    """Tries inputs of targets in this process, each in a folder of its own."""

    def __init__(self, scratch: Path) -> None:
        self._scratch, self._targets = scratch, {}
        self._outside = scratch / "outside"
        self._outside.mkdir()
        self._guard = Guard(scratch)

    def prepare(self, name: str) -> Target:
        """The target, its seeds made; measured memory begins here."""
        self._guard.free_memory()
        if name not in self._targets:
            self._targets[name] = TARGETS[name]()
        self._guard.limit_memory()
        return self._targets[name]

    def try_one(self, target: Target, seed: int, number: int, keep: bool = False) -> tuple[Outcome, Case, Path]:
        """Make the input, use it, judge; its files go unless they are to be kept."""
        case = make_case(target, seed, number)
        root = self._scratch / f"{target.name}-{seed}-{number}"
        if measure_tree(case.tree) > _LARGE:
            self._guard.reset_memory()  # what making it took is not the reader's
        remove_tree(root)
        write_tree(root, case.tree, self._outside)
        (self._outside / "copy").write_bytes(case.outside)
        os.chdir(root)
        try:
            outcome = self._use(target, case, root)
        finally:
            os.chdir(self._scratch)
            if not keep:
                remove_tree(root)
        return outcome, case, root

    def _use(self, target: Target, case: Case, root: Path) -> Outcome:
        endless = any(
            isinstance(node, Pipe) or (isinstance(node, Link) and node.target == "/dev/zero")
            for node in case.tree.values()
        )
        seconds = _SHORT if endless else target.seconds
        children = target.children or case.facts.get("children", False)
        error: BaseException | None = None
        try:
            with self._guard.watch(seconds, children, target.growth + 4 * measure_tree(case.tree)):
                target.use(case, root)
        except KeyboardInterrupt:
            raise
        except BaseException as caught:
            error = caught
        outcome = judge(error, target.codes, self._guard.seen)
        if isinstance(error, Hang):
            outcome = Outcome("crash", kind="hang", place=outcome.place, message=case.note)
        if case.untouched and outcome.status == "refused":
            return judge(Misbehaved(f"refused the seed {case.note}: {outcome.message}"), target.codes, [])
        return outcome


def serve(scratch: Path) -> None:
    """Answer requests {target, seed, first, count} with one line per input."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    trier = Trier(scratch)
    for line in sys.stdin:
        asked: dict[str, Any] = json.loads(line)
        target = trier.prepare(asked["target"])
        _answer(answers, {"ready": target.name})
        for number in range(asked["first"], asked["first"] + asked["count"]):
            outcome, _, _ = trier.try_one(target, asked["seed"], number)
            _answer(answers, outcome.to_json())
            if outcome.kind.startswith("memory grew"):
                return  # the next input starts in a small process again


def _answer(answers: TextIO, content: dict[str, Any]) -> None:
    answers.write(json.dumps(content) + "\n")
    answers.flush()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    place = Path(sys.argv[1])
    with suppress(BrokenPipeError):  # whoever asked is gone
        serve(place)
    remove_tree(place)
