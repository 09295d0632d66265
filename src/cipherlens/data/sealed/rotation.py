"""Rotate the key of a sealed data set: every shard is decrypted with the old key and encrypted with the new one.

New shards are written beside the old ones. Then the manifest is replaced at once, and the old shards are removed.
A killed rotation leaves the old data set as it was, and the same call continues.
"""

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cipherlens.ciphers import BoundCipher
from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.data.sealed.journal import Journal, Words
from cipherlens.data.sealed.manifest import (
    SHARDS,
    Manifest,
    Shard,
    draw_id,
    read_manifest,
    tag,
    tell_time,
    write_manifest,
)
from cipherlens.data.sealed.shards import (
    decrypt_masks,
    encrypt_masks,
    name_images,
    write_shard,
)
from cipherlens.data.sealed.spec import DatasetSpec
from cipherlens.data.sealed.workers import run_in_processes
from cipherlens.data.storage.base import Storage
from cipherlens.data.storage.opening import open_storage
from cipherlens.data.storage.url import Place
from cipherlens.errors import DataError, KeyFailureError, UsageError
from cipherlens.keys import Key

JOURNAL = "rotation.jsonl"
_GIVE_UP = "give it up with: cipherlens key rotate SEALED --discard"
_WORDS = Words("holds an unfinished rotation of another state of it", _GIVE_UP, _GIVE_UP)


@dataclass(frozen=True)
class RotationReport:
    """Result of a rotation. ``reused``: shards that an earlier, killed one had made."""

    images: int
    shards: int
    reused: int
    counter: int
    seconds: float


@dataclass(frozen=True)
class _Task:
    old: Shard
    file: str


def rotate_key(
    sealed: str | Place, old: Key, new: Key, workers: int = 1, progress: Callable[[int, int], None] | None = None
) -> RotationReport:
    """Seal a data set under the key ``new`` instead of ``old``, in its folder; the counter grows by one.

    The data set keeps its id; one of format version 1 gets one. ``progress`` is called with the number of finished
    and of all images. After the end, the same call changes nothing, and all shards count as reused. Copies made
    before stay readable with ``old``. Raises KeyFailureError where ``old`` is not its key, DataError for a damaged
    data set, CipherlensError where another process writes to it.
    """
    started, root = time.monotonic(), open_storage(sealed)
    if old == new:
        raise UsageError("the new key is the old one", hint="make a new one with: cipherlens keygen")
    read_manifest(root)  # for its errors: locking would make a folder
    with root.hold():
        current = read_manifest(root)
        if current.spec.key_fingerprint == new.fingerprint:
            current, reused = read_manifest(root, new), len(current.shards)
        else:
            current, reused = _rotate(root, read_manifest(root, old), old, new, workers, progress)
        _remove_unnamed(root, current)
    images = sum(shard.n for shard in current.shards)
    return RotationReport(images, len(current.shards), reused, current.counter, time.monotonic() - started)


def discard_rotation(sealed: str | Place) -> list[str]:
    """Remove what a killed rotation left, and return the paths. The data set stays as its manifest says."""
    root = open_storage(sealed)
    read_manifest(root)
    with root.hold():
        removed = _remove_unnamed(root, read_manifest(root))
        root.clean(SHARDS)
        return removed


def _rotate(
    root: Storage, before: Manifest, old: Key, new: Key, workers: int, progress: Callable[[int, int], None] | None
) -> tuple[Manifest, int]:
    """The manifest under the new key, written; and how many of its shards an earlier run had made."""
    if Journal(root, old).exists():
        raise DataError(f"{root} holds an unfinished sealing job", hint="finish it with: cipherlens encrypt")
    journal = Journal(root, new, JOURNAL, _WORDS)
    if journal.exists() and journal.name_key() == old.fingerprint:  # of the rotation to this key, which is finished
        _remove_unnamed(root, before)
    spec, done = _resume(root, before, new, journal)
    tasks, reused = _plan(before), len(done)
    todo = [task for task in tasks if task.file not in done]
    total = sum(shard.n for shard in before.shards)
    finished = sum(shard.n for shard in done.values())
    root.prepare([f"{SHARDS}/{task.file}" for task in tasks])
    root.clean(SHARDS)
    try:
        for shard, waiting in _make_shards(
            _Rotation(root, before, spec), todo, old, new, workers if root.shared else 1
        ):
            root.publish(waiting, f"{SHARDS}/{shard.file}")
            journal.add(shard)
            done[shard.file] = shard
            finished += shard.n
            if progress:
                progress(finished, total)
    finally:
        root.clean(SHARDS)
    after = Manifest(spec, tuple(done[task.file] for task in tasks), tell_time(), _count_on(before))
    write_manifest(root, after, new)
    return after, reused


def _resume(root: Storage, before: Manifest, new: Key, journal: Journal) -> tuple[DatasetSpec, dict[str, Shard]]:
    """The new plan, and the intact shards of an earlier run by file name."""
    # The tag binds the journal to this very state of the data set, as that of a sealing job to its source.
    wanted = replace(
        before.spec,
        key_fingerprint=new.fingerprint,
        id=before.spec.id or draw_id(),
        source_tag=tag(new, ["rotation", asdict(before)]),
    )
    if not journal.exists():
        journal.start(wanted)
        return wanted, {}
    if journal.name_key() not in (None, new.fingerprint):
        raise KeyFailureError(
            f"{root} holds an unfinished rotation to key {journal.name_key()}",
            hint=f"finish it with that key, or {_GIVE_UP}",
        )
    spec, done = journal.resume((wanted,))
    unnamed = SealedDataset(root, Manifest(spec))
    return spec, {name: shard for name, shard in done.items() if unnamed.is_intact(shard)}


def _count_on(before: Manifest) -> int:
    """The next state's counter; a data set of format version 1 has none, and counts as the first state."""
    return max(before.counter, 1) + 1


def _plan(before: Manifest) -> list[_Task]:
    """One new shard for each old one. Its name ends in the counter, so that both have a place."""
    counts = dict.fromkeys(before.spec.counts, 0)
    tasks = []
    for shard in before.shards:
        number = counts[shard.split]
        counts[shard.split] += 1
        tasks.append(_Task(shard, f"{shard.split}-{number:05d}-{_count_on(before)}.safetensors"))
    return tasks


@dataclass(frozen=True)
class _Rotation:
    """Makes new shards. It holds no key, so it can be sent to a worker process."""

    root: Storage
    before: Manifest
    spec: DatasetSpec

    def bind(self, old: Key, new: Key) -> tuple[BoundCipher, BoundCipher]:
        return self.before.spec.bind(old), self.spec.bind(new)

    def make(self, task: _Task, bound: tuple[BoundCipher, BoundCipher]) -> tuple[Shard, Path | None]:
        """Decrypt a shard and encrypt it anew, as a sealing job would have: the padding stays."""
        (old, new), split = bound, task.old.split
        tensors, names = SealedDataset(self.root, self.before).load_shard_and_names(task.old)
        positions = tensors["index"].tolist()
        plain = old.decrypt(tensors["images"], "uint8", name_images(self.before.spec.id, split, positions))
        made = {name: tensors[name] for name in ("labels", "index")}
        made["images"] = new.encrypt(plain, name_images(self.spec.id, split, positions))
        if "masks" in tensors:
            made["masks"] = encrypt_masks(new, decrypt_masks(old, tensors["masks"]))
        return write_shard(self.root, task.file, split, made, names or None, task.old.skipped)


def _make_shards(
    rotation: _Rotation, tasks: list[_Task], old: Key, new: Key, workers: int
) -> Iterator[tuple[Shard, Path | None]]:
    workers = min(workers, len(tasks))
    if workers <= 1:
        bound = rotation.bind(old, new)
        return (rotation.make(task, bound) for task in tasks)
    secrets = (rotation, old.to_bytes(), new.to_bytes())
    return run_in_processes(_make_in_worker, tasks, workers, _start_worker, secrets)


_worker: dict[str, Any] = {}


def _start_worker(rotation: _Rotation, old: bytes, new: bytes) -> None:
    # As in sealing, the keys reach a worker through a pipe.
    _worker.update(rotation=rotation, bound=rotation.bind(Key(old), Key(new)))


def _make_in_worker(task: _Task) -> tuple[Shard, Path | None]:
    rotation: _Rotation = _worker["rotation"]
    return rotation.make(task, _worker["bound"])


def _remove_unnamed(root: Storage, manifest: Manifest) -> list[str]:
    """Remove shards of this data set's splits that its manifest does not name, and then the journal.

    Before anything is removed, those that it names are compared. Raises DataError where one is missing or damaged.
    """
    splits = "|".join(map(re.escape, manifest.spec.counts))
    pattern = re.compile(rf"\.?({splits})-[0-9]{{5,}}(-[0-9]+)?\.safetensors(\.[0-9a-f]{{16}}\.tmp)?")
    named = {shard.file for shard in manifest.shards}
    removed = [
        f"{SHARDS}/{name}" for name in root.list_files(SHARDS) if pattern.fullmatch(name) and name not in named
    ]
    begun = root.exists(JOURNAL)
    if removed or begun:
        SealedDataset(root, manifest).verify()
    for name in removed:
        root.remove(name)
    if begun:
        root.remove_log(JOURNAL)
    return [f"{root}/{name}" for name in (*removed, *[JOURNAL] * begun)]
