"""Several of the same command into one folder, begun at any moment of the first: one wins, the others say who.

Where the first had finished, the second exits as it does for a finished destination.
"""

import getpass
import json
import os
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cipherlens.ciphers import create_cipher
from cipherlens.data.sealed import seal as sealing
from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.data.sealed.unseal import unseal
from cipherlens.data.storage.local import LocalStorage
from cipherlens.keys import Key
from tests.conftest import read_files
from tests.security.processes import (
    END_SECONDS,
    KEY,
    NEIGHBOUR,
    NEW,
    Reference,
    Run,
    add_neighbour,
    check_clean,
    check_named,
    check_neighbour,
    choose_root,
    end_processes,
    get_reference,
    needs_proc,
    remove,
)

COMMANDS = ("encrypt", "stream", "decrypt", "rotate", "train", "audit")
"""``stream`` is an encryption too; its ciphertexts are random, so that two at work on one shard ruin it."""
OFFSETS = 20

__all__ = ["end_processes"]  # a fixture for every test here

pytestmark = needs_proc


@pytest.fixture
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return choose_root(tmp_path_factory)


@pytest.fixture
def pictures(root: Path) -> Path:
    """What was sealed, as pictures."""
    return get_reference("decrypt", root).out


@pytest.mark.parametrize(
    ("name", "moments"),
    [
        ("stream", [0.0, 0.0, 0.4]),
        ("decrypt", [0.0, 0.0, 0.4]),
        ("rotate", [0.0, 0.0, 0.4]),
        pytest.param("train", [0.0, 0.4], marks=pytest.mark.full),
        pytest.param("audit", [0.0, 0.3], marks=pytest.mark.full),
    ],
)
def test_of_several_writers_one_wins(
    name: str, moments: list[float], root: Path, pictures: Path, tmp_path: Path
) -> None:
    check_writers(get_reference(name, root), pictures, tmp_path / "place", moments)


@pytest.mark.full
@pytest.mark.parametrize("offset", range(OFFSETS))
@pytest.mark.parametrize("name", COMMANDS)
def test_of_two_writers_one_wins_whenever_the_second_begins(
    name: str, offset: int, root: Path, pictures: Path, tmp_path: Path
) -> None:
    check_writers(get_reference(name, root), pictures, tmp_path / "place", [0.0, offset / (OFFSETS - 1)])


def check_writers(reference: Reference, pictures: Path, place: Path, moments: list[float]) -> None:
    """Start the command at these moments of its duration; one does the work, and nothing is lost."""
    add_neighbour(place)
    runs, most = start_all(reference, place, moments)
    for run in runs:
        run.check_gone()
    outcomes = [judge(reference.command.name, run) for run in runs]
    for moment, run, outcome in zip(moments, runs, outcomes, strict=True):
        print(f"{moment:.3f} of {reference.seconds:.3f} s: {outcome} ({run.process.returncode})\n{run.err}")
    reference.check(place / "work" / "out")
    check_content(reference.command.name, place, pictures)
    if reference.command.name == "audit":  # a finished one is written again
        assert "worked" in outcomes and most == 1, f"{most} audits at once: {outcomes}"
    else:
        assert outcomes.count("worked") == 1, outcomes
    for run, outcome in zip(runs, outcomes, strict=True):
        if outcome == "refused":
            check_named(run.err, [other for other in runs if other is not run])
    check_neighbour(place)
    check_clean(place, {"out", NEIGHBOUR})
    remove(place)


def start_all(reference: Reference, place: Path, moments: list[float]) -> tuple[list[Run], int]:
    """Runs that have ended, and how many of them kept plain arrays among the temporary files at once."""
    runs: list[Run] = []
    folders: set[Path] = set()
    begin, most = time.monotonic(), 0
    while len(runs) < len(moments) or any(run.process.poll() is None for run in runs):
        passed = time.monotonic() - begin
        if len(runs) < len(moments) and passed >= moments[len(runs)] * reference.seconds:
            runs.append(reference.command.start(place))
        if passed > END_SECONDS:
            for run in runs:
                run.clear()
        folders |= {
            Path(folder)
            for folder, _, files in os.walk(place / "temporary")
            if any(name.endswith(".npy") for name in files)
        }
        most = max(most, sum(folder.exists() for folder in folders))
        time.sleep(0.01)
    return runs, most


def judge(name: str, run: Run) -> str:
    """What a run did: worked, refused (another one writes there) or found (a finished result)."""
    code = run.process.returncode
    if code == 1:
        return "refused"
    if name == "decrypt" and code == 2 and "not empty" in run.err:
        return "found"
    assert code == 0, run.err
    if name in ("encrypt", "stream", "rotate"):
        report = json.loads(run.out)
        return "found" if report["reused"] == report["shards"] else "worked"
    return "found" if name == "train" and "epoch 1:" not in run.err else "worked"


def check_content(name: str, place: Path, pictures: Path) -> None:
    """A sealed data set is whole, and gives the pictures back."""
    if name not in ("encrypt", "stream", "rotate"):
        return
    out, key = place / "work" / "out", NEW if name == "rotate" else KEY
    SealedDataset.open(out, key).verify()
    if name != "encrypt":
        unseal(out, place / "back", key)
        assert read_files(place / "back") == read_files(pictures), "other pictures"


def test_the_first_may_end_between_a_look_and_the_lock(
    folder: Path, key: Key, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second saw an unfinished data set, and holds a finished one: too rare to wait for."""
    job = (str(folder), tmp_path / "out", create_cipher("hill"), key)
    hold = LocalStorage.hold

    @contextmanager
    def hold_late(storage: LocalStorage) -> Iterator[None]:
        monkeypatch.undo()
        sealing.seal(*job)
        with hold(storage):
            yield

    monkeypatch.setattr(LocalStorage, "hold", hold_late)
    report = sealing.seal(*job)
    assert report.reused == report.shards > 0
    SealedDataset.open(tmp_path / "out", key).verify()
    assert not (tmp_path / "out" / "journal.jsonl").exists()


LOOP = """
import json, os
from collections import Counter
from pathlib import Path
from cipherlens.data.output_lock import hold_folder
from cipherlens.data.partial import discard_leftovers, partial_folder

found = Counter()
for _ in range(500):
    try:
        with {hold}(Path("out")):
            os.close(os.open("alone", os.O_CREAT | os.O_EXCL))
            os.unlink("alone")
        found["held"] += 1
        discard_leftovers(Path())
    except Exception as error:
        found[f"{{type(error).__name__}}: {{error}}".splitlines()[0]] += 1
print(json.dumps(found))
"""
"""Hold a folder over and over; what came of it, and how often."""


@pytest.mark.parametrize("hold", ["hold_folder", "partial_folder"])
def test_a_folder_is_held_by_one_at_a_time_and_the_others_are_told_who(hold: str, tmp_path: Path) -> None:
    """Four that begin and end all the time, so that they meet at every step of taking and giving back."""
    runs = [Run((), tmp_path, LOOP.format(hold=hold)) for _ in range(4)]
    assert [run.end() for run in runs] == [0] * 4, runs[0].err
    found = sum((Counter(json.loads(run.out)) for run in runs), Counter[str]())
    named = f"is being written by {getpass.getuser()} on {socket.gethostname()}, process "
    unexpected = {words: count for words, count in found.items() if words != "held" and named not in words}
    assert found["held"] > 0
    assert not unexpected
    assert list((tmp_path / "work").iterdir()) == []
