"""Parquet files and CIFAR batches: images that can be sealed, or DataError."""

from pathlib import Path
from random import Random
from typing import Any

from tests.security.fuzz.guard import DECODING
from tests.security.fuzz.mutate_bytes import mutate_bytes
from tests.security.fuzz.outcome import Misbehaved
from tests.security.fuzz.seeds_cifar import make_cifar, spoil_cifar
from tests.security.fuzz.seeds_parquet import make_parquet
from tests.security.fuzz.target import Case, Target
from tests.security.fuzz.targets_images import check_pixels
from tests.security.fuzz.trees import Tree, remove_tree, replace_node

KINDS = ("named", "unnamed", "masked")
CIFAR_FOLDER = "cifar-10-batches-py"


class SourceTarget(Target):
    """Opening a source, reading its labels and its first and last images, sometimes sealing them."""

    codes = frozenset({2, 4})

    def use(self, case: Case, root: Path) -> None:
        from cipherlens.data.images import Preprocess
        from cipherlens.data.sources.registry import open_source

        spec = case.facts["spec"].format(root=root)
        source, preprocess = open_source(spec), Preprocess(size=16)
        if not all(isinstance(name, str) for name in source.classes):
            raise Misbehaved("class names that are not text")
        problems: list[Exception] = []
        for split, count in source.splits.items():
            try:
                source.read_labels(split)
                self._read(source, split, count, preprocess)
            except Exception as error:
                problems.append(error)
        if case.facts["seal"]:
            self._seal(spec, root)
        if problems:
            raise sorted(problems, key=lambda error: hasattr(error, "exit_code"))[0]

    @staticmethod
    def _read(source: Any, split: str, count: int, preprocess: Any) -> None:
        for item in source.read(split, sorted({0, count - 1} if count else ())):
            check_pixels(preprocess.apply(item))
            if source.masked:
                preprocess.apply_to_mask(item)

    def _seal(self, spec: str, root: Path) -> None:
        """What can be sealed can be opened again, with the key."""
        from cipherlens.ciphers import create_cipher
        from cipherlens.cli.commands.owner.inspect import describe
        from cipherlens.data.images import Preprocess
        from cipherlens.data.sealed.dataset import SealedDataset
        from cipherlens.data.sealed.reading import SealOptions
        from cipherlens.data.sealed.seal import seal
        from cipherlens.errors import CipherlensError

        out = root.with_name(f"{root.name}-out")
        try:
            seal(
                spec,
                out,
                create_cipher("pixel-permutation"),
                self.key,
                SealOptions(Preprocess(size=16), on_error="skip"),
            )
        except CipherlensError as error:
            if error.exit_code not in self.codes:
                raise
            return
        else:
            dataset = SealedDataset.open(out, self.key)
            for split in dataset.splits:
                dataset.split(split).read_all()
            describe(out)
        finally:
            remove_tree(out)


class ParquetTarget(SourceTarget):
    """Parquet files in the Hugging Face layout, with and without names of classes, with masks."""

    name, share = "parquet", 9
    growth = DECODING
    seeds_kept = len(KINDS)

    def __init__(self) -> None:
        self._seeds = {kind: make_parquet(Random(0), False, kind) for kind in KINDS}

    def make(self, rng: Random, number: int) -> Case:
        file = "train-00000-of-00001.parquet"
        facts = {"spec": rng.choice(("{root}", f"{{root}}/{file}")), "seal": rng.random() < 0.2}
        if number < len(KINDS):
            return Case({file: self._seeds[KINDS[number]]}, KINDS[number], facts, untouched=True)
        kind, what = rng.choice(KINDS), rng.random()
        tree: Tree = {file: self._seeds[kind]}
        if what < 0.01:
            tree, note = replace_node(rng, tree, file)
        elif what < 0.6:
            tree[file], note = make_parquet(rng, True, kind), "columns or metadata"
        else:
            other = self._seeds[rng.choice(KINDS)]
            tree[file], note = mutate_bytes(rng, self._seeds[kind], other)
        if rng.random() < 0.15:
            tree["test-00000-of-00001.parquet"], note = (
                self._seeds[rng.choice(KINDS)],
                f"{note}, beside another kind",
            )
        return Case(tree, f"{kind}: {note}", facts)


class CifarTarget(SourceTarget):
    """CIFAR-10 batches in torchvision's layout."""

    name, share = "cifar", 6
    seeds_kept = 1

    def __init__(self) -> None:
        self._tree = make_cifar()

    def make(self, rng: Random, number: int) -> Case:
        facts = {"spec": "cifar10:{root}", "seal": rng.random() < 0.15}
        if number < self.seeds_kept:
            return Case(self._tree, "cifar", facts, untouched=True)
        path = f"{CIFAR_FOLDER}/{rng.choice(('data_batch_1', 'data_batch_5', 'test_batch', 'batches.meta'))}"
        tree, what, whole = dict(self._tree), rng.random(), self._tree[path]
        assert isinstance(whole, bytes)
        if what < 0.01:
            tree, note = replace_node(rng, tree, path)
        elif what < 0.6:
            tree[path], note = spoil_cifar(rng, whole), "other content"
        else:
            tree[path], note = mutate_bytes(rng, whole, self._tree[rng.choice(list(self._tree))])
        return Case(tree, f"{path}: {note}", facts)
