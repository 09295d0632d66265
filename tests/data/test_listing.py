"""Listings of folders are tables on disk, and say the same as a list of all files would."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cipherlens.data.sources.checks import printable
from cipherlens.data.sources.folder import FolderSource, count_unopened
from cipherlens.data.sources.listing import Found, ListedFiles, Listing
from cipherlens.errors import DataError


def test_files_are_those_of_a_sorted_list() -> None:
    """Two names that print alike included: then the size decides, then the time."""
    rng = np.random.default_rng(0)
    names = [f"{number % 7}/é{number:03d}.png" for number in range(60)]
    names += ["a\\xff.png", os.fsdecode(b"a\xff.png"), "a-b/1.png", "a/1.png", "z" * 250]
    found = [Found(name, int(rng.integers(1, 3)), int(rng.integers(1, 3))) for name in names]
    for cut in (0, 1, 31, len(found)):
        parts = [[(0, one) for one in found[:cut]], [], [(2, one) for one in found[cut:]]]
        listings = [Listing(part) for part in parts]
        assert list(map(len, listings)) == [cut, 0, len(found) - cut]
        expected = sorted((printable(one.name), one.size, one.version) for one in found)
        files = ListedFiles(listings)
        assert list(files) == list(files) == expected
        ordered = sorted(found[cut:], key=lambda one: one.name.replace("/", "\0"))
        assert listings[2].take(range(len(ordered))) == [(2, one) for one in ordered]
        assert listings[0].labels.tolist() == [0] * cut


def test_labels_come_first_then_folders() -> None:
    """As ``sorted`` orders paths: a folder's files before those of a folder whose name goes on."""
    names = ["a-b/1.png", "a/2.png", "a/1.png", "a.png"]
    listing = Listing([(1, Found("0.png", 1, 1)), *((0, Found(name, 1, 1)) for name in names)])
    taken = [one.name for _, one in listing.take([0, 1, 2, 3, 4, 0])]
    assert taken == ["a/1.png", "a/2.png", "a-b/1.png", "a.png", "0.png", "a/1.png"]
    assert listing.labels.tolist() == [0, 0, 0, 0, 1]
    on_a_store = Listing(((0, Found(name, 1, 1)) for name in names), "/")
    assert [one.name for _, one in on_a_store.take(range(4))] == taken[:4]


def test_no_files_at_all() -> None:
    assert list(ListedFiles([Listing([])])) == [] and Listing([]).labels.tolist() == []


_LIST = """
import resource, sys
from cipherlens.data.sources.listing import Found, Listing, ListedFiles
count = int(sys.argv[1])
names = (f"class/{number % 7}{'long' * 25}{number:07d}.jpg" for number in range(count))
listing = Listing((0, Found(name, 1, 1)) for name in names)
assert sum(1 for _ in ListedFiles([listing])) == len(listing) == count
assert listing.take([count - 1])[0][1].name.startswith("class/6")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10)
"""


def test_a_million_names_are_not_in_memory() -> None:
    """180,000 more names of 120 bytes, listed and sorted, need less than 5 MB more: 28 bytes an image."""
    few, many = (
        int(subprocess.run([sys.executable, "-c", _LIST, count], capture_output=True, check=True).stdout)
        for count in ("20000", "200000")
    )
    assert many - few < 5 << 20


def test_a_full_disk_is_said() -> None:
    def fill() -> Iterator[tuple[int, Found]]:
        yield 0, Found("a.png", 1, 1)
        raise sqlite3.OperationalError("database or disk is full")

    with pytest.raises(DataError, match="cannot list the source: database or disk is full"):
        Listing(fill())


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["a.png", "b.txt", "deep/c.png"], {".png": 1, ".txt": 1}),  # a class: what lies beside it is none
        (["a.png", "b.txt"], {".txt": 1}),
        (["cat/a.png", "cat/deep/b.png", "c.png"], {".png": 1}),
        (["train/cat/a.png", "train/b.png", "more/c.png", "d.png"], {".png": 3}),
        (["train/a.png", "test/b.png", "c.png", ".hidden/d.txt", "train/Thumbs.db"], {".png": 1}),
        (["cat/a.png", "cat/.b.txt", "cat/README"], {"without a suffix": 1}),
    ],
)
def test_what_is_not_opened_is_what_the_source_does_not_hold(
    tmp_path: Path, files: list[str], expected: dict[str, int]
) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    opened = {name for name, _, _ in FolderSource(tmp_path).files}
    hidden = [
        name for name in files if any(part.startswith(".") or part == "Thumbs.db" for part in Path(name).parts)
    ]
    assert sum(count_unopened(tmp_path).values()) == len(set(files) - opened - set(hidden))
    assert count_unopened(tmp_path) == expected
