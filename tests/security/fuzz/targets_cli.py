"""The command line: the documented exit codes, clean output, nothing half-written, nothing altered."""

from pathlib import Path
from random import Random

from tests.security.fuzz.commands import run_apart, run_here
from tests.security.fuzz.outcome import Exited, Misbehaved
from tests.security.fuzz.recipes import RECIPES, Recipes
from tests.security.fuzz.target import Case, Target, warm_up
from tests.security.fuzz.targets_journal import SHARD_BYTES
from tests.security.fuzz.trees import Link, Pipe

PARTIAL = 6


class CliTarget(Target):
    """Commands by ``execute``, in this process."""

    name, codes = "cli", frozenset({2, 3, 4, PARTIAL})
    recipes: tuple[str, ...] = tuple(RECIPES)

    def __init__(self) -> None:
        self._makers = Recipes()
        warm_up()

    def make(self, rng: Random, number: int) -> Case:
        weights = [RECIPES[name][0] for name in self.recipes]
        name = rng.choices(self.recipes, weights)[0]
        return RECIPES[name][1](self._makers, rng)

    def use(self, case: Case, root: Path) -> None:
        arguments = [part.replace("{root}", str(root)) for part in case.facts["arguments"]]
        try:
            self._run(arguments, case, root)
        except Exited as error:
            if case.facts.get("atomic") and (root / "out").exists():
                raise Misbehaved(f"{arguments[0]} failed and left its result half-written") from error
            if error.code == PARTIAL:
                self._check(case, root)
            raise
        self._check(case, root)

    def _run(self, arguments: list[str], case: Case, root: Path) -> None:
        from cipherlens.data.sealed import job as place

        before = place.SHARD_BYTES
        place.SHARD_BYTES = SHARD_BYTES if case.facts.get("small_shards") else before
        try:
            run_here(arguments)
        finally:
            place.SHARD_BYTES = before

    def _check(self, case: Case, root: Path) -> None:
        kind = case.facts.get("check")
        if kind == "images":
            self._makers.sets[0].compare_images(case.facts["set"], root / "out")
        elif kind == "sealed" and "--dry-run" not in case.facts["arguments"]:
            self._check_sealed(root / "out")

    def _check_sealed(self, out: Path) -> None:
        """What was sealed can be read again, with the key."""
        from cipherlens.cli.commands.owner.inspect import describe
        from cipherlens.data.sealed.dataset import SealedDataset

        dataset = SealedDataset.open(out, self.key)
        for split in dataset.splits:
            dataset.split(split).read_all()
        describe(out)


class ProcessTarget(CliTarget):
    """The same in processes of their own, as the console script runs them."""

    name = "process"
    recipes = tuple(name for name in RECIPES if name != "resume")
    seconds, children = 120.0, True

    def make(self, rng: Random, number: int) -> Case:
        case = super().make(rng, number)
        endless = [path for path, node in case.tree.items() if isinstance(node, Pipe) or node == Link("/dev/zero")]
        case.tree |= dict.fromkeys(endless, b"")  # the target in process has them: a process takes too long
        return case

    def _run(self, arguments: list[str], case: Case, root: Path) -> None:
        run_apart(arguments, root)
