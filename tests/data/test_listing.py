"""Listings of folders hold text and numbers only, and say the same as a list of all files would."""

import os
from pathlib import Path

import numpy as np
import pytest

from cipherlens.data.sources.checks import printable
from cipherlens.data.sources.folder import FolderSource, count_unopened
from cipherlens.data.sources.listing import Found, ListedFiles, Listing


def test_files_are_those_of_a_sorted_list() -> None:
    """Two names that print alike included: then the size decides, then the time."""
    rng = np.random.default_rng(0)
    names = [f"{number % 7}/é{number:03d}.png" for number in range(60)]
    names += ["a\\xff.png", os.fsdecode(b"a\xff.png"), "a-b/1.png", "a/1.png", "z" * 250]
    found = [Found(name, int(rng.integers(1, 3)), int(rng.integers(1, 3))) for name in names]
    for cut in (0, 1, 31, len(found)):
        listings = [Listing([(0, found[:cut]), (1, [])]), Listing([]), Listing([(2, found[cut:])])]
        expected = sorted((printable(one.name), one.size, one.version) for one in found)
        files = ListedFiles(listings)
        assert list(files) == expected
        assert files[5:20] == expected[5:20] and len(files) == len(expected)
        assert [listings[2].name(i) for i in range(len(found) - cut)] == names[cut:]
        assert listings[0].labels.tolist() == [0] * cut


def test_no_files_at_all() -> None:
    assert list(ListedFiles([Listing([])])) == []


def test_a_million_names_are_small() -> None:
    """Less than 80 bytes an image: the name, and four numbers."""
    listing = Listing([(0, [Found(f"class/{number:07d}.jpg", number, number) for number in range(10_000)])])
    held = len(listing._text) + sum(
        a.nbytes for a in (listing._ends, listing.labels, listing.sizes, listing.versions)
    )
    assert held < 80 * 10_000


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
