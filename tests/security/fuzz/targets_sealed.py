"""Manifests and shards of sealed data sets, altered in every way."""

import hashlib
import json
from pathlib import Path
from random import Random
from typing import Any

from tests.security.fuzz.mutate_bytes import mutate_bytes
from tests.security.fuzz.mutate_json import mutate_json, to_text
from tests.security.fuzz.mutate_tensors import mutate_tensors
from tests.security.fuzz.sealed import MANIFEST, OTHER, SealedTarget, recompute
from tests.security.fuzz.target import SETS, Case
from tests.security.fuzz.trees import Tree, replace_node


class ManifestTarget(SealedTarget):
    """``SealedDataset.open`` with and without the key; what is accepted without it is read and described."""

    name, share = "manifest", 22

    def make(self, rng: Random, number: int) -> Case:
        if number < len(SETS):
            return self.seed_case(number)
        name, kind = rng.choice(self.names), rng.random()
        key = rng.choices((True, False, OTHER), (6, 12, 1))[0]
        tree, facts = dict(self.trees[name]), {"set": name, "key": key, "recomputed": False}
        whole = tree[MANIFEST]
        assert isinstance(whole, bytes)
        if kind < 0.01:
            tree, note = replace_node(rng, tree, MANIFEST)
        elif kind < 0.2:
            tree[MANIFEST], note = mutate_bytes(rng, whole, self.trees[rng.choice(SETS)][MANIFEST])
            # Spliced at its beginning it is another set's: its checksum is right, and only the MAC could tell.
            facts["recomputed"] = any(tree[MANIFEST] == other[MANIFEST] for other in self.trees.values())
        else:
            facts["recomputed"] = rng.random() < 0.75
            mixed = _mix(rng, json.loads(whole), self.trees)
            if key == OTHER:
                mixed["plan"]["key_fingerprint"] = self.other_key.fingerprint
            content, note = mutate_json(rng, mixed)
            tree[MANIFEST] = recompute(rng, content) if facts["recomputed"] else to_text(rng, content).encode()
        return Case(tree, f"{name}: {note} {facts}", facts, outside=whole)

    def use(self, case: Case, root: Path) -> None:
        from cipherlens.cli.commands.owner.inspect import describe

        dataset = self.open(case, root)
        describe(root)
        for split in list(dataset.splits)[:3]:
            self.compare(case, dataset, split)
        if case.facts["key"]:
            self.unseal(case, root)


def _mix(rng: Random, content: Any, trees: dict[str, Tree]) -> Any:
    """Sometimes with the spec or the shards of another set."""
    if rng.random() < 0.1:
        other, part = json.loads(trees[rng.choice(SETS)][MANIFEST]), rng.choice(("plan", "shards", "mac"))
        content[part] = other[part]
    return content


class ShardTarget(SealedTarget):
    """Shards that were changed: found by their hash, and, where that was recomputed, without a crash."""

    name, share = "shard", 14

    def make(self, rng: Random, number: int) -> Case:
        if number < len(SETS):
            return self.seed_case(number)
        name = rng.choice(self.names)
        facts = {"set": name, "key": rng.random() < 0.3, "recomputed": rng.random() < 0.7}
        tree = dict(self.trees[name])
        path = rng.choice([path for path in tree if path != MANIFEST])
        whole = tree[path]
        assert isinstance(whole, bytes)
        tree, note = self._mutate(rng, tree, path, whole)
        if facts["recomputed"]:
            tree[MANIFEST] = _rehash(rng, tree)
        return Case(tree, f"{name} {path}: {note} {facts}", facts, outside=whole)

    def _mutate(self, rng: Random, tree: Tree, path: str, whole: bytes) -> tuple[Tree, str]:
        kind, other = rng.random(), rng.choice(list(self.trees.values()))
        stranger = other[rng.choice([name for name in other if name != MANIFEST])]
        if kind < 0.02:
            return replace_node(rng, tree, path)
        if kind < 0.05:
            return {**tree, path: stranger}, "another set's shard"
        content, note = mutate_bytes(rng, whole, stranger) if kind < 0.4 else mutate_tensors(rng, whole)
        return {**tree, path: content}, note

    def use(self, case: Case, root: Path) -> None:
        dataset = self.open(case, root)
        if case.facts["key"]:
            self.unseal(case, root)
        for split in list(dataset.splits)[:3]:
            self.compare(case, dataset, split)


def _rehash(rng: Random, tree: Tree) -> bytes:
    """A manifest with the sizes and hashes that the shards have now."""
    content = json.loads(tree[MANIFEST])
    for shard in content["shards"]:
        node = tree.get(f"shards/{shard['file']}", b"")
        if isinstance(node, bytes):
            shard |= {"bytes": len(node), "sha256": hashlib.sha256(node).hexdigest()}
    return recompute(rng, content)
