"""Plan a sealing job: it is fixed before the first image is encrypted."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cipherlens.ciphers import Cipher
from cipherlens.ciphers.structure import KeyStructure, Kind, Scope
from cipherlens.data.sealed.manifest import draw_id
from cipherlens.data.sealed.reading import SealOptions
from cipherlens.data.sealed.shards import ShardTask, complete, narrow, tag_source
from cipherlens.data.sealed.spec import DatasetSpec
from cipherlens.data.sources.augmented import choose_positions
from cipherlens.data.sources.base import Source, require_split
from cipherlens.data.sources.checks import check_class_names, check_labels
from cipherlens.data.sources.registry import HUGGING_FACE, Given, open_source
from cipherlens.errors import DataError, UsageError
from cipherlens.keys import Key
from cipherlens.schema import MAX_SIDE, parse

SHARD_BYTES = 16 << 20
"""Ciphertext per shard, about: large enough to read fast, small enough to redo. Chosen by hand."""


@dataclass(frozen=True)
class Job:
    """A spec, its shards, the opened source, the options, all of them decided.

    ``named_spec`` is the spec as earlier versions tagged it: by the source's name.
    """

    spec: DatasetSpec
    cipher: Cipher
    tasks: list[ShardTask]
    source: Source
    options: SealOptions
    named_spec: DatasetSpec


def moves_masks(structure: KeyStructure) -> bool:
    """Whether a mask, which has one channel, can move with its image: the key moves pixels, all channels alike."""
    return structure.scope is Scope.CHANNELS or structure.kind is Kind.NOTHING


def plan_job(source: Given, cipher: Cipher, key: Key, options: SealOptions) -> Job:
    """Plan a job before the first image is encrypted. ``source`` is canonical.

    Raises DataError for invalid class names or labels, with which the sealed data set could not be read.
    """
    whole = open_source(source)
    options = complete(options, whole)
    opened = narrow(whole, options)
    check_class_names(opened.classes)
    splits = options.splits or tuple(opened.splits)
    for split in splits:
        require_split(opened, split)
        check_labels(opened.read_labels(split), opened.classes, opened.masked, split)
    chosen = {split: choose_positions(opened, split, options.augment, options.limit) for split in splits}
    plain_shape = _first_shape(opened, chosen, options)
    padded_shape = options.preprocess.padded_shape(plain_shape, cipher.block)
    if opened.masked and not moves_masks(cipher.structure(padded_shape)):
        raise UsageError(f"masks cannot be sealed with {cipher.name}", hint="choose pixel-permutation or identity")
    bound = cipher.bind(key, padded_shape)
    per_image = int(np.prod(bound.ct_shape)) * np.dtype(bound.ct_dtype).itemsize
    full_tag, named_tag = tag_source(key, source, whole, options)
    spec = DatasetSpec(
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
        shard_images=min(MAX_SIDE, max(1, SHARD_BYTES // per_image)),
        source_tag=full_tag,
        masked=opened.masked,
        augment=options.augment,
        window=options.preprocess.rules.window,
        hold_out=options.hold_out or 0,
        id=draw_id(),
    )
    _check_readable(spec)
    tasks = [
        ShardTask(f"{split}-{number:05d}.safetensors", split, part)
        for split, indices in chosen.items()
        for number, part in enumerate(_cut(indices, spec.shard_images))
    ]
    return Job(spec, cipher, tasks, opened, options, replace(spec, source_tag=named_tag))


def _check_readable(spec: DatasetSpec) -> None:
    """Raise UsageError for a plan that no manifest may have, such as a split with a space in its name."""
    try:
        parse(asdict(spec), DatasetSpec)
    except ValueError as error:
        raise UsageError(
            f"this cannot be sealed: {error}", hint="split names have letters, digits, _ and -"
        ) from None


def _cut(indices: np.ndarray[Any, Any], size: int) -> list[np.ndarray[Any, Any]]:
    return [indices[start : start + size] for start in range(0, len(indices), size)]


def _first_shape(
    source: Source, chosen: dict[str, np.ndarray[Any, Any]], options: SealOptions
) -> tuple[int, int, int]:
    """Shape of the first image that can be decoded; all others must have the same shape."""
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


def find_image_folder(source: Given) -> Path | None:
    """The folder of a canonical source that is an image folder; None for other sources."""
    if not isinstance(source, str):
        return None
    folder = Path(source.partition("?hold_out=")[0])
    return folder if folder.is_dir() and not any(folder.glob("*.parquet")) else None


def find_listed_folder(source: Given) -> Path | None:
    """The folder in which a canonical source looks for files of any name; None for other sources."""
    if isinstance(source, str) and source.startswith(f"{HUGGING_FACE}:"):
        return Path(source.removeprefix(f"{HUGGING_FACE}:").partition("?")[0])
    return find_image_folder(source)
