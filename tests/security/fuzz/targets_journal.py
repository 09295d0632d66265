"""Journals of interrupted sealing jobs: the job ends with the right bytes, or says what is wrong."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

from tests.security.fuzz.mutate_bytes import mutate_bytes
from tests.security.fuzz.mutate_json import mutate_json, to_text
from tests.security.fuzz.mutate_tensors import mutate_tensors
from tests.security.fuzz.outcome import Altered
from tests.security.fuzz.target import Case, Target
from tests.security.fuzz.trees import FORMATS, VERSION_2, Tree, read_tree, remove_tree, replace_node

JOURNAL = "journal.jsonl"
SOURCE = "synthetic:objects?n=8&test=4&size=32"
OTHER_SOURCE = "synthetic:objects?n=8&test=4&size=32&seed=7"
SHARD_BYTES = 20_000


class _Stop(Exception):
    """Interrupts a job."""


def resume(out: Path, key: Any, source: str = SOURCE, progress: Any = None) -> None:
    """Run the job that the seed was interrupted in."""
    from cipherlens.ciphers import create_cipher
    from cipherlens.data.sealed import job
    from cipherlens.data.sealed import seal as sealing

    known = hashlib.sha256(source.encode()).hexdigest()[:32]  # a random one would make other inputs every time
    moment = patch.object(sealing, "tell_time", lambda: "2026-01-01T00:00:00Z")
    with patch.object(job, "draw_id", lambda: known), patch.object(job, "SHARD_BYTES", SHARD_BYTES), moment:
        sealing.seal(source, out, create_cipher("hill", block=4), key, progress=progress)


class JournalTarget(Target):
    """Resuming a job whose journal, or whose finished shard, was changed."""

    name, share, codes = "journal", 4, frozenset({2, 3, 4})
    seeds_kept = 1
    version = ""
    file = JOURNAL

    def __init__(self) -> None:
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            self._other = self._interrupt(place / "other", OTHER_SOURCE)
            whole = self._interrupt(place / "whole", SOURCE)
            self._tree = self._begin(whole)
            self.go_on(place / "whole")
            self._shards = _known(place / "whole", self.reader)
        trees = (self._tree, self._other, whole)
        self._lines = [line for tree in trees for line in tree[self.file].split(b"\n") if line]

    def _begin(self, whole: Tree) -> Tree:
        """The seed: an unfinished job; here one that another version has left."""
        return read_tree(FORMATS / self.version / "interrupted")

    def go_on(self, out: Path, source: str = SOURCE, progress: Any = None) -> None:
        """Run the job, or continue it."""
        resume(out, self.key, source, progress)

    @property
    def reader(self) -> Any:
        """The key that reads the finished data set."""
        return self.key

    def _interrupt(self, out: Path, source: str) -> Tree:
        """Another unfinished job with the same key: its lines are authentic, and out of place."""

        def stop(done: int, total: int) -> None:
            if done >= 3:
                raise _Stop

        try:
            self.go_on(out, source, stop)
        except _Stop:
            return read_tree(out)
        raise AssertionError("the job was not interrupted")

    def make(self, rng: Random, number: int) -> Case:
        if number < self.seeds_kept:
            return Case(self._tree, "interrupted", untouched=True)
        tree, kind = dict(self._tree), rng.random()
        whole = tree[self.file]
        if kind < 0.02:
            tree, note = replace_node(rng, tree, self.file)
        elif kind < 0.2:
            tree[self.file], note = mutate_bytes(rng, whole, self._other[self.file])
        elif kind < 0.45:
            tree[self.file], note = _mutate_record(rng, whole)
        elif kind < 0.75:
            tree[self.file], note = self._rearrange(rng, whole)
            if self.version and rng.random() < 0.5:  # in version 1 lines carried no plan, and so this was accepted
                shards = {path: node for path, node in self._other.items() if path.startswith("shards/")}
                tree, note = {**tree, **shards}, f"{note}, with the other job's shards"
        else:
            path = rng.choice([path for path in tree if path.startswith("shards/")])
            changes = (
                lambda: replace_node(rng, tree, path),
                lambda: ({**tree, path: mutate_tensors(rng, tree[path])[0]}, path),
            )
            tree, note = rng.choice(changes)()
        return Case(tree, note, outside=whole)

    def _rearrange(self, rng: Random, whole: bytes) -> tuple[bytes, str]:
        """Authentic lines, left out, doubled, in another order, from another job."""
        lines, done = [line for line in whole.split(b"\n") if line], []
        for _ in range(rng.choice((1, 1, 2, 3))):
            kind, at = rng.choice(("drop", "double", "swap", "foreign", "foreign")), rng.randrange(len(lines) + 1)
            if kind == "drop" and lines:
                lines.pop(at % len(lines))
            elif kind == "double" and lines:
                lines.insert(at, lines[at % len(lines)])
            elif kind == "swap":
                rng.shuffle(lines)
            else:
                lines.insert(at, rng.choice(self._lines))
            done.append(f"{kind} line {at}")
        return b"\n".join(lines) + rng.choice((b"\n", b"\n", b"", b"\n\n", b"\n{")), ", ".join(done)

    def use(self, case: Case, root: Path) -> None:
        out = root.with_name(f"{root.name}-out")
        try:
            root.rename(out)  # what it holds is now a job's destination
            root.mkdir()
            self.go_on(out)
            if _known(out, self.reader) != self._shards:
                raise Altered("the finished data set holds other images")
        finally:
            remove_tree(out)


class NewJournalTarget(JournalTarget):
    """The same in format version 2."""

    name, version = "journal-2", VERSION_2


class RotationTarget(JournalTarget):
    """The same of an unfinished rotation of the key."""

    name, version, file = "rotation", VERSION_2, "rotation.jsonl"

    def _begin(self, whole: Tree) -> Tree:
        return whole

    def go_on(self, out: Path, source: str = SOURCE, progress: Any = None) -> None:
        from cipherlens.data.sealed.rotation import rotate_key

        if not out.exists():
            resume(out, self.key, source)
        rotate_key(out, self.key, self.other_key, progress=progress)

    @property
    def reader(self) -> Any:
        return self.other_key


def _known(out: Path, key: Any) -> Any:
    """What the data set is when all went well: its spec (tags and ids differ) and its decrypted images."""
    from cipherlens.data.sealed.dataset import SealedDataset

    dataset = SealedDataset.open(out, key)
    bound = dataset.spec.bind(key)
    parts = {name: dataset.split(name) for name in dataset.splits}
    images = {name: bound.decrypt(part.read_all(), "uint8").tobytes() for name, part in parts.items()}
    return (
        replace(dataset.spec, source_tag="", id=""),
        images,
        {name: (part.labels.tolist(), part.index.tolist()) for name, part in parts.items()},
    )


def _mutate_record(rng: Random, whole: bytes) -> tuple[bytes, str]:
    lines = [line for line in whole.split(b"\n") if line]
    at = rng.randrange(len(lines))
    value, note = mutate_json(rng, json.loads(lines[at]))
    lines[at] = to_text(rng, value).encode().replace(b"\n", b" ")
    return b"\n".join(lines) + b"\n", f"line {at}: {note}"
