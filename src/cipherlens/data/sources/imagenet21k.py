"""Classes outside a pretraining set, by WordNet synset (CAS771 report, section 5.2.2, and the filter of 5.3.2)."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cipherlens.data.sources.base import Source, pick_evenly
from cipherlens.data.sources.registry import open_source
from cipherlens.errors import DataError, UsageError

_SYNSET = re.compile(r"n\d{8}")
REASONS = {
    "pretraining": "in the pretraining set",
    "related": "above or below a class of the pretraining set",
    "few": "too few images",
    "mixed": "with hyponyms among the classes chosen",
}
"""Reasons for leaving out a class, with their texts."""


@dataclass(frozen=True)
class Hierarchy:
    """The hypernym relation of synsets: ``parents`` holds the direct hypernyms of each."""

    parents: Mapping[str, frozenset[str]]

    @classmethod
    def read(cls, path: Path) -> "Hierarchy":
        """Read WordNet 3.0's ``data.noun``, or lines of ``PARENT CHILD`` (ImageNet's ``wordnet.is_a.txt``).

        Raises DataError for a file that is neither.
        """
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"cannot read the hierarchy {path}: {error}") from error
        parse = _parse_wordnet if path.name.startswith("data.noun") else _parse_pairs
        parents: dict[str, set[str]] = {}
        for number, line in enumerate(lines, start=1):
            try:
                for child, parent in parse(line):
                    parents.setdefault(child, set()).add(parent)
            except (IndexError, ValueError) as error:
                raise DataError(
                    f"{path}, line {number}: no hierarchy of synsets",
                    hint="give WordNet 3.0's data.noun, or a file with PARENT CHILD on each line",
                ) from error
        return cls({child: frozenset(found) for child, found in parents.items()})

    def find_ancestors(self, synset: str) -> set[str]:
        """All hypernyms, direct and indirect."""
        found: set[str] = set()
        waiting = [synset]
        while waiting:
            new = self.parents.get(waiting.pop(), frozenset()) - found
            found |= new
            waiting.extend(new)
        return found


@dataclass(frozen=True)
class Choice:
    """``chosen`` synsets in the order offered, and how many were left out for each of ``REASONS``."""

    chosen: tuple[str, ...]
    left_out: dict[str, int]

    def explain(self) -> str:
        """How many classes were left out, and why."""
        return ", ".join(f"{count} {REASONS[reason]}" for reason, count in self.left_out.items() if count)


def choose_classes(
    offered: Sequence[str],
    pretraining: Iterable[str],
    hierarchy: Hierarchy | None = None,
    counts: Mapping[str, int] | None = None,
    least: int = 0,
) -> Choice:
    """Choose the synsets outside ``pretraining``; with a hierarchy, each holds one kind of object.

    Without a hierarchy only the classes of the pretraining set are left out. With one, their hypernyms, which show
    the same objects, and their hyponyms are left out too. So is every class of which a hyponym is chosen (report,
    section 5.3.2). Classes with fewer than ``least`` images (``counts``) are removed before that.
    """
    known = set(pretraining)
    if hierarchy:
        _check_hierarchy(hierarchy, {*offered, *known})
    reasons = {synset: "pretraining" for synset in offered if synset in known}
    above = {name: hierarchy.find_ancestors(name) for name in {*offered, *known}} if hierarchy else {}
    above_known = {ancestor for name in known for ancestor in above.get(name, ())}
    for synset in offered:
        if synset in above_known or above.get(synset, set()) & known:
            reasons.setdefault(synset, "related")
        elif counts is not None and counts.get(synset, 0) < least:
            reasons.setdefault(synset, "few")
    kept = [synset for synset in offered if synset not in reasons]
    mixed = {ancestor for name in kept for ancestor in above.get(name, ())}
    reasons |= {synset: "mixed" for synset in kept if synset in mixed}
    left_out = {reason: sum(found == reason for found in reasons.values()) for reason in REASONS}
    return Choice(tuple(synset for synset in offered if synset not in reasons), left_out)


def _check_hierarchy(hierarchy: Hierarchy, synsets: set[str]) -> None:
    missing = [synset for synset in sorted(synsets) if synset not in hierarchy.parents]
    if 2 * len(missing) > len(synsets):
        raise UsageError(
            f"the hierarchy does not know {len(missing)} of {len(synsets)} classes, as {missing[0]}",
            hint="ImageNet's synsets are those of WordNet 3.0; other versions have other numbers",
        )


def choose_from(
    offer: str, pretraining: str, hierarchy: Path | None = None, least: int = 0, count: int | None = None
) -> Choice:
    """``choose_classes`` from a source of images or from a set's metadata; at most ``count``, evenly spread.

    ``pretraining``, and ``offer`` where it is no folder, are arguments of ``read_synsets``. Raises UsageError where
    the classes are no synsets, or where all are left out.
    """
    if count is not None and count < 1:
        raise UsageError("count is at least 1")
    counts = _count_images(open_source(offer)) if Path(offer.partition("?")[0]).is_dir() else None
    offered = read_synsets(offer) if counts is None else tuple(counts)
    if counts is None and least:
        raise UsageError("metadata do not say how many images a class has", hint="give the folder of the images")
    read = None if hierarchy is None else Hierarchy.read(hierarchy)
    choice = choose_classes(offered, read_synsets(pretraining), read, counts, least)
    if not choice.chosen:
        raise UsageError(
            f"no class is left: {choice.explain()}", hint="ask for fewer images, or offer more classes"
        )
    return replace(choice, chosen=tuple(choice.chosen[i] for i in pick_evenly(len(choice.chosen), count)))


def _count_images(source: Source) -> dict[str, int]:
    if not source.classes or not all(map(_SYNSET.fullmatch, source.classes)):
        raise UsageError(
            "the classes of the source are no synsets", hint="name the folders of the classes as n01440764"
        )
    labels = np.concatenate([source.read_labels(split) for split in source.splits])
    images = np.bincount(labels, minlength=len(source.classes))
    return dict(zip(source.classes, images.tolist(), strict=True))


def describe_synsets(synsets: Iterable[str]) -> dict[str, str]:
    """The words of each synset according to timm; empty for an unknown one."""
    try:
        from timm.data import ImageNetInfo
    except ImportError:
        return dict.fromkeys(synsets, "")
    known = ImageNetInfo("imagenet-21k").label_descriptions(as_dict=True)
    return {synset: known.get(synset, "") for synset in synsets}


def read_synsets(name: str) -> tuple[str, ...]:
    """Synsets of a set known to timm (imagenet-1k, imagenet-12k, imagenet-21k), or of a file with one per line.

    Raises UsageError for an unknown set, DataError for a file with other lines.
    """
    path = Path(name)
    if path.is_file():
        found = tuple(path.read_text(encoding="utf-8", errors="replace").split())
        if not found or not all(map(_SYNSET.fullmatch, found)):
            raise DataError(f"{path} is no list of synsets", hint="write one on each line, as n01440764")
        return found
    from timm.data import ImageNetInfo

    try:
        return tuple(ImageNetInfo(name).label_names())
    except AssertionError as error:
        raise UsageError(
            f"no set of classes {name!r}", hint="give imagenet-1k, imagenet-12k, imagenet-21k, or a file of synsets"
        ) from error


def _parse_pairs(line: str) -> list[tuple[str, str]]:
    if not line.strip():
        return []
    parent, child = line.split()
    if not (_SYNSET.fullmatch(parent) and _SYNSET.fullmatch(child)):
        raise ValueError(line)
    return [(child, parent)]


def _parse_wordnet(line: str) -> list[tuple[str, str]]:
    """A line of data.noun: offset, file, n, number of words (hexadecimal), words, number of pointers, pointers."""
    if line.startswith("  "):  # the licence
        return []
    fields = line.partition(" | ")[0].split()
    first = 4 + 2 * int(fields[3], 16)
    pointers = fields[first + 1 :]
    if fields[2] != "n" or len(pointers) != 4 * int(fields[first]):
        raise ValueError(line)
    child = f"n{fields[0]}"
    targets = zip(pointers[0::4], pointers[1::4], strict=True)
    return [(child, f"n{offset}") for symbol, offset in targets if symbol in ("@", "@i")]
