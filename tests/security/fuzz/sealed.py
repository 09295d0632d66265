"""What the targets of sealed data sets share: with the key nothing altered is accepted."""

import json
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from tests.security.fuzz.mutate_json import CHECKSUM, hash_json, to_text
from tests.security.fuzz.outcome import Altered
from tests.security.fuzz.target import SETS, Case, Target
from tests.security.fuzz.trees import FORMATS, Tree, read_tree, remove_tree

MANIFEST, OTHER = "manifest.json", "another key"


def recompute(rng: Random, content: Any) -> bytes:
    """The text of a manifest whose checksum is right, so that its fields are looked at; its MAC is not."""
    if isinstance(content, dict):
        content["checksum"] = CHECKSUM
    text = to_text(rng, content)
    try:
        read = json.loads(text)
        digest = hash_json({name: value for name, value in read.items() if name not in ("mac", "checksum")})
    except (ValueError, AttributeError, RecursionError):
        digest = ""
    return text.replace(CHECKSUM, digest).encode()


class SealedTarget(Target):
    """What manifests and shards have in common: the seeds, and what they are when they are intact."""

    codes = frozenset({2, 3, 4})

    def __init__(self, names: tuple[str, ...] = SETS) -> None:
        from cipherlens.data.sealed.dataset import SealedDataset

        self.names = names
        self.trees = {name: read_tree(FORMATS / name) for name in SETS}
        self._known = {name: SealedDataset.open(FORMATS / name, self.key) for name in SETS}
        self._images: dict[str, Tree] = {}
        self.seeds_kept = len(SETS)

    def seed_case(self, number: int) -> Case:
        """A set as it is."""
        name = SETS[number]
        return Case(self.trees[name], name, {"set": name, "key": True, "recomputed": False}, untouched=True)

    def open(self, case: Case, root: Path) -> Any:
        """The data set, whose manifest is the original one unless its checksum was recomputed (without the key)."""
        from cipherlens.data.sealed.dataset import SealedDataset

        name, key = case.facts["set"], case.facts["key"]
        dataset = SealedDataset.open(root, self.other_key if key == OTHER else self.key if key else None)
        if key == OTHER:
            raise Altered("another key")
        # Spliced into the whole manifest of another set it is authentic: what is read must then be that set's.
        authentic = [other for other, known in self._known.items() if known.manifest == dataset.manifest]
        name = case.facts["set"] = authentic[0] if authentic else name
        if (key or not case.facts["recomputed"]) and dataset.manifest != self._known[name].manifest:
            raise Altered("a manifest that was changed")
        return dataset

    def compare(self, case: Case, dataset: Any, split: str) -> None:
        """Read a split; it is the original's, whoever reads it, where no checksum was recomputed."""
        part = dataset.split(split)
        few = np.arange(min(len(part), 64))
        found = [part.read(few), part.labels, part.index, part.masks]
        if not case.facts["recomputed"]:
            known = self._known[case.facts["set"]].split(split)
            wanted = [known.read_all(), known.labels, known.index, known.masks]
            if not all(_same(one, other) for one, other in zip(found, wanted, strict=True)):
                raise Altered("a shard that was changed")

    def unseal(self, case: Case, root: Path) -> None:
        """Decrypt; the images are the original's."""
        from cipherlens.data.sealed.unseal import unseal

        out = root.with_name(f"{root.name}-out")
        try:
            unseal(root, out / "images", self.key)
            self.compare_images(case.facts["set"], out / "images")
        finally:
            remove_tree(out)

    def compare_images(self, name: str, found: Path) -> None:
        """Decrypted images are those of the intact set."""
        from cipherlens.data.sealed.unseal import unseal

        if name not in self._images:
            known = found.with_name("known")
            unseal(FORMATS / name, known, self.key)
            self._images[name] = read_tree(known)
        if read_tree(found) != self._images[name]:
            raise Altered("other images")


def _same(one: Any, other: Any) -> bool:
    return one is other or (one is not None and other is not None and np.array_equal(one, other))
