"""Sealing: encrypt a source into a sealed data set, in worker processes, resumable at any moment."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cipherlens.ciphers import Cipher
from cipherlens.data.augmentation import augment, choose_positions
from cipherlens.data.files import commit, sha256_of
from cipherlens.data.journal import Journal
from cipherlens.data.manifest import FILE_NAME, Manifest, Plan, Shard, read_manifest, tag, write_manifest
from cipherlens.data.shards import SealOptions, ShardMaker, ShardTask, make_shards
from cipherlens.data.sources import Source, canonical_source, open_source, require_split
from cipherlens.data.splits import select
from cipherlens.errors import DataError, UsageError
from cipherlens.keys import Key

MASK_CIPHERS = ("pixel-permutation", "identity")
"""Ciphers that treat a mask as they treat an image: they move pixels and leave values alone."""

SHARD_BYTES = 16 << 20
"""About this much ciphertext goes into one shard: large enough to read fast, small enough to redo."""


@dataclass(frozen=True)
class SealReport:
    """What a job did. ``skipped`` names what this run skipped and why; ``skipped_images`` counts all runs."""

    images: int
    skipped_images: int
    skipped: tuple[tuple[str, str], ...]
    shards: int
    reused: int
    seconds: float


def seal(
    source: str,
    out: Path,
    cipher: Cipher,
    key: Key,
    options: SealOptions | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SealReport:
    """Encrypt ``source`` (as :func:`open_source` takes it) into the folder ``out``.

    Interrupted, the same call goes on where it was; finished, it checks what is there and returns. ``progress`` is
    called with images done and in total. Raises DataError for a bad image unless ``on_error`` is ``"skip"``.
    """
    options = options or SealOptions()
    started = time.monotonic()
    source = canonical_source(source)
    plan, tasks = plan_job(source, cipher, key, options)
    done = _prepare(out, plan, key)
    todo = [task for task in tasks if task.file not in done]
    journal = Journal(out, key)
    finished = sum(len(task.indices) for task in tasks) - sum(len(task.indices) for task in todo)
    total = sum(plan.counts.values())
    skipped: list[tuple[str, str]] = []
    try:
        for made in make_shards(ShardMaker(source, out, plan, options), todo, key, options.workers):
            commit(made.temporary, out / "shards" / made.shard.file)
            journal.add(made.shard)
            done[made.shard.file] = made.shard
            skipped += made.skipped
            finished += made.looked_at
            if progress:
                progress(finished, total)
    finally:
        _remove_leftovers(out)
    if journal.exists():
        write_manifest(out, Manifest(plan, tuple(done[task.file] for task in tasks)), key)
        journal.remove()
    return SealReport(
        images=sum(shard.n for shard in done.values()),
        skipped_images=sum(shard.skipped for shard in done.values()),
        skipped=tuple(skipped),
        shards=len(tasks),
        reused=len(tasks) - len(todo),
        seconds=time.monotonic() - started,
    )


def plan_job(source: str, cipher: Cipher, key: Key, options: SealOptions) -> tuple[Plan, list[ShardTask]]:
    """Fix everything about a job before the first image is encrypted."""
    opened = augment(select(open_source(source), options.classes), options.augment)
    if opened.masked and cipher.name not in MASK_CIPHERS:
        raise UsageError(
            f"masks cannot be sealed with {cipher.name}", hint=f"choose a cipher of: {', '.join(MASK_CIPHERS)}"
        )
    splits = options.splits or tuple(opened.splits)
    for split in splits:
        require_split(opened, split)
    chosen = {split: choose_positions(opened, split, options.augment, options.limit) for split in splits}
    plain_shape = _first_shape(opened, chosen, options)
    padded_shape = options.preprocess.padded_shape(plain_shape, cipher.block)
    bound = cipher.bind(key, padded_shape)
    per_image = int(np.prod(bound.ct_shape)) * np.dtype(bound.ct_dtype).itemsize
    plan = Plan(
        cipher=cipher.name,
        params=cipher.params,
        key_fingerprint=key.fingerprint,
        plain_shape=plain_shape,
        padded_shape=padded_shape,
        ct_shape=bound.ct_shape,
        ct_dtype=bound.ct_dtype,
        classes=opened.classes,
        size=options.preprocess.size,
        pad=options.preprocess.pad,
        counts={split: len(indices) for split, indices in chosen.items()},
        shard_images=max(1, SHARD_BYTES // per_image),
        source_tag=tag(key, [source, options.keep_names]),
        masked=opened.masked,
        augment=options.augment,
    )
    tasks = [
        ShardTask(f"{split}-{number:05d}.safetensors", split, tuple(part.tolist()))
        for split, indices in chosen.items()
        for number, part in enumerate(_cut(indices, plan.shard_images))
    ]
    return plan, tasks


def _cut(indices: np.ndarray[Any, Any], size: int) -> list[np.ndarray[Any, Any]]:
    return [indices[start : start + size] for start in range(0, len(indices), size)]


def _first_shape(
    source: Source, chosen: dict[str, np.ndarray[Any, Any]], options: SealOptions
) -> tuple[int, int, int]:
    """Shape of the first image that can be decoded: all others must have it."""
    for split, indices in chosen.items():
        for index in indices:
            try:
                shape = options.preprocess.apply(source.read(split, [int(index)])[0]).shape
            except DataError:
                if options.on_error == "stop":
                    raise
                continue
            return shape[0], shape[1], shape[2]
    raise DataError("no image of the source can be decoded", hint="check the source")


def _prepare(out: Path, plan: Plan, key: Key) -> dict[str, Shard]:
    """Make the folder, or find out what an earlier run of the same job left; refuse any other content."""
    journal = Journal(out, key)
    if (out / FILE_NAME).exists():
        manifest = read_manifest(out, key)
        if manifest.plan != plan:
            raise DataError(f"{out} holds another sealed data set", hint="choose another destination, or remove it")
        if journal.exists():
            journal.remove()
        done = {shard.file: shard for shard in manifest.shards}
    elif journal.exists():
        done = journal.resume(plan)
    else:
        if out.exists() and any(out.iterdir()):
            raise UsageError(f"{out} is not empty", hint="choose a new or empty destination")
        (out / "shards").mkdir(parents=True)
        journal.start(plan)
        return {}
    intact = {name: shard for name, shard in done.items() if _intact(out / "shards" / name, shard)}
    if len(intact) < len(done) and not journal.exists():
        raise DataError(
            f"{out} is damaged: {len(done) - len(intact)} of its shards do not match the manifest",
            hint="remove it and encrypt again",
        )
    _remove_leftovers(out)
    return intact


def _remove_leftovers(out: Path) -> None:
    for leftover in (out / "shards").glob(".*.tmp"):
        leftover.unlink(missing_ok=True)


def _intact(path: Path, shard: Shard) -> bool:
    return path.is_file() and path.stat().st_size == shard.bytes and sha256_of(path) == shard.sha256
