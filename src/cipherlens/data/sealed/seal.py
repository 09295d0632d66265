"""Encrypt a source into a sealed data set, in worker processes; interrupted jobs resume."""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from cipherlens.ciphers import Cipher
from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.data.sealed.job import Job, find_image_folder, find_listed_folder, plan_job
from cipherlens.data.sealed.journal import Journal
from cipherlens.data.sealed.manifest import (
    FILE_NAME,
    SHARDS,
    Manifest,
    Shard,
    read_manifest,
    tell_time,
    write_manifest,
)
from cipherlens.data.sealed.reading import SealOptions
from cipherlens.data.sealed.shards import Made, ShardMaker, ShardTask, make_shards
from cipherlens.data.sealed.spec import DatasetSpec
from cipherlens.data.sources.base import Source
from cipherlens.data.sources.folder import count_unopened
from cipherlens.data.sources.registry import Given, canonical_source
from cipherlens.data.storage.base import Storage
from cipherlens.data.storage.opening import open_storage
from cipherlens.data.storage.url import Place, as_place, is_url, refuse_inside
from cipherlens.errors import DataError, UsageError
from cipherlens.keys import Key


@dataclass(frozen=True)
class SealReport:
    """Result of a job. ``skipped``: names and reasons in this run. ``skipped_images``: number in all runs.

    ``remarks``: images in this run by how they were decoded (``REMARKS``). ``unopened``: other files of an image
    folder, by suffix.
    """

    images: int
    skipped_images: int
    skipped: tuple[tuple[str, str], ...]
    shards: int
    reused: int
    seconds: float
    remarks: dict[str, int]
    unopened: dict[str, int]


def seal(
    source: Any,
    out: str | Place,
    cipher: Cipher,
    key: Key,
    options: SealOptions | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SealReport:
    """Encrypt ``source`` into ``out``, a folder or a URL of object storage.

    ``source`` is a name, path or URL as :func:`open_source` takes it, or a data set: a map-style one of Python
    (torchvision's too), a ``datasets.Dataset``, or a mapping with one for each split (see ``cl.data.from_python``
    and ``cl.data.from_hf``). With several ``workers`` it is pickled.

    After an interruption, the same call continues the job. After the end, it checks the data set and returns.
    ``progress`` is called with the number of finished images and of all images. Raises DataError for a bad image,
    unless ``on_error`` is ``"skip"``, and where the source has changed since the job began. Raises CipherlensError
    where another process writes to ``out``.
    """
    started, storage = time.monotonic(), open_storage(out)
    source = canonical_source(source)
    unopened: dict[str, int] = {}
    if (folder := find_listed_folder(source)) is not None:
        refuse_inside(storage.root, folder)
    if isinstance(source, str) and is_url(source):
        refuse_inside(storage.root, as_place(source.partition("?hold_out=")[0]))
    if (folder := find_image_folder(source)) is not None:
        unopened = count_unopened(folder)
    job = plan_job(source, cipher, key, options or SealOptions())
    finished = _find_finished(storage, job, key)  # without the lock, which needs write access
    if finished is None:
        with storage.hold():
            finished = _find_finished(storage, job, key)  # another process may have finished it meanwhile
            if finished is None:
                report = _seal_rest(source, storage, job, key, progress, started)
                return replace(report, unopened=unopened)
    return replace(_report(finished.shards, (), len(finished.shards), started), unopened=unopened)


def _seal_rest(
    source: Given,
    out: Storage,
    job: Job,
    key: Key,
    progress: Callable[[int, int], None] | None,
    started: float,
) -> SealReport:
    journal, options = Journal(out, key), job.options
    spec, done = _prepare(out, job, key, journal)
    todo = [task for task in job.tasks if task.file not in done]
    reused, skipped, remarks = len(done), list[tuple[str, str]](), Counter[str]()
    total = sum(spec.counts.values())
    finished = total - sum(len(task.indices) for task in todo)
    try:
        maker = ShardMaker(source, out, spec, options, job.cipher)
        for made in _make_shards(maker, todo, key, options, job.source):
            out.publish(made.waiting, f"{SHARDS}/{made.shard.file}")
            journal.add(made.shard)
            done[made.shard.file] = made.shard
            skipped += made.skipped
            remarks += made.remarks
            finished += made.looked_at
            if progress:
                progress(finished, total)
    finally:
        out.clean(SHARDS)
    shards = tuple(done[task.file] for task in job.tasks)
    write_manifest(out, Manifest(spec, shards, tell_time(), 1) if spec.id else Manifest(spec, shards), key)
    journal.remove()
    return replace(_report(shards, tuple(skipped), reused, started), remarks=dict(remarks))


def _make_shards(
    maker: ShardMaker, todo: list[ShardTask], key: Key, options: SealOptions, source: Source
) -> Iterator[Made]:
    """Make shards with the engine that was asked for."""
    if options.engine == "ray":
        from cipherlens.data.sealed.cluster.ray_engine import make_shards_on_ray

        if not maker.out.shared:
            raise UsageError(f"other processes do not see {maker.out}", hint="use the local engine")
        return make_shards_on_ray(maker, todo, key, options.workers, options.address)
    workers = options.workers or os.cpu_count() or 1
    return make_shards(maker, todo, key, workers if maker.out.shared else 1, source)


def _report(
    shards: tuple[Shard, ...], skipped: tuple[tuple[str, str], ...], reused: int, started: float
) -> SealReport:
    return SealReport(
        images=sum(shard.n for shard in shards),
        skipped_images=sum(shard.skipped for shard in shards),
        skipped=skipped,
        shards=len(shards),
        reused=reused,
        seconds=time.monotonic() - started,
        remarks={},
        unopened={},
    )


def _find_finished(out: Storage, job: Job, key: Key) -> Manifest | None:
    """The manifest of the same job where it is finished. Raises DataError for a damaged or another data set."""
    if not out.exists(FILE_NAME) or Journal(out, key).exists():
        return None
    manifest = read_manifest(out, key)
    _require_same(out, manifest, job)
    sealed = SealedDataset(out, manifest)
    damaged = sum(not sealed.is_intact(shard) for shard in manifest.shards)
    if damaged:
        if read_manifest(out) != manifest:  # for example, its key was rotated
            raise DataError(f"{out} was changed meanwhile", hint="run the same command again")
        raise DataError(
            f"{out} is damaged: {damaged} of its shards do not match the manifest",
            hint="remove it and encrypt again",
        )
    return manifest


def _require_same(out: Storage, found: Manifest, job: Job) -> None:
    same = replace(found.spec, id=job.spec.id)
    if same in (job.spec, job.named_spec):
        return
    if found.counter > 1:
        raise DataError(
            f"the key of {out} was rotated, so that it cannot be compared with a source",
            hint="it is complete; to seal the source anew, choose another destination",
        )
    if replace(same, source_tag=job.spec.source_tag) == job.spec:
        raise DataError(
            f"{out} was sealed from another source, or the source has changed since",
            hint="choose another destination, or remove it and encrypt again",
        )
    raise DataError(f"{out} holds another sealed data set", hint="choose another destination, or remove it")


def _prepare(out: Storage, job: Job, key: Key, journal: Journal) -> tuple[DatasetSpec, dict[str, Shard]]:
    """Spec and intact shards of an earlier run of the same job. Any other content is refused."""
    files = [f"{SHARDS}/{task.file}" for task in job.tasks]
    if out.exists(FILE_NAME):  # the job was killed between writing the manifest and removing the journal
        manifest = read_manifest(out, key)
        _require_same(out, manifest, job)
        spec, done = manifest.spec, {shard.file: shard for shard in manifest.shards}
    elif journal.exists():
        spec, done = journal.resume((job.spec, job.named_spec))
    elif out.is_empty(besides=SHARDS):
        out.prepare(files)
        journal.start(job.spec)
        return job.spec, {}
    else:
        raise UsageError(f"{out} is not empty", hint="choose a new or empty destination")
    out.prepare(files)
    out.clean(SHARDS)
    sealed = SealedDataset(out, Manifest(spec))
    return spec, {name: shard for name, shard in done.items() if sealed.is_intact(shard)}
