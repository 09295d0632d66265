"""Schemes and attacks of others on the leaderboard: measured and listed, or refused."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "benchmarks" / "pages"))
import leaderboard_entries  # noqa: E402

from cipherlens.errors import UsageError  # noqa: E402
from cipherlens.experiments.entries import Entry, enter  # noqa: E402
from cipherlens.experiments.settings import read_settings  # noqa: E402

EXAMPLE = ROOT / "examples" / "own-scheme" / "src" / "own_scheme"
BROKEN = {
    "broken_cipher": """
from dataclasses import dataclass
from typing import ClassVar
from cipherlens.ciphers.structure import Kind, KeyStructure
from own_scheme.cipher import RowShiftCipher

@dataclass(frozen=True)
class Broken(RowShiftCipher):
    name: ClassVar[str] = "broken"

    def structure(self, shape):
        return KeyStructure(Kind.NOTHING)
""",
    "broken_attack": """
from own_scheme.attack import RowAlignmentAttack

class Broken(RowAlignmentAttack):
    '''It reads all. If it finds nothing, so be it.'''
    name = "broken"

    @classmethod
    def supports(cls, cipher, plain_shape, sealed_shape):
        return True
""",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example package, installed, and two modules that break a rule."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
    subprocess.run([*pip, str(ROOT / "examples" / "own-scheme")], check=True, capture_output=True)
    for name, text in BROKEN.items():
        (folder / f"{name}.py").write_text(text)
    return folder


def reproduce(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    start = [sys.executable, "-c", "from cipherlens.cli.main import run; run()", "reproduce", "leakage"]
    surroundings = {**os.environ, "PYTHONPATH": os.pathsep.join([str(place), os.environ.get("PYTHONPATH", "")])}
    return subprocess.run(
        [*start, *arguments], check=False, cwd=place, env=surroundings, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def record(place: Path) -> dict[str, Any]:
    """What the command writes of the example's cipher under the example's attack."""
    options = (
        "--scheme",
        "row-shift",
        "--scheme-option",
        "step=2",
        "--attack",
        "own_scheme.attack:RowAlignmentAttack",
    )
    done = reproduce(place, *options, "--record", "record.json")
    assert done.returncode == 0, done.stderr
    read: dict[str, Any] = json.loads((place / "record.json").read_text())
    return read


def make_entry(folder: Path, record: dict[str, Any]) -> Path:
    """A folder as it is submitted."""
    entry = folder / "row-shift"
    shutil.copytree(EXAMPLE, entry)
    (entry / "LICENSE").write_text("Apache-2.0")
    (entry / "record.json").write_text(json.dumps(record))
    return entry


@pytest.mark.full
def test_it_is_measured_alone(record: dict[str, Any]) -> None:
    results = record["results"]
    assert {(row["scheme"], row["attack"], row["budget"]) for row in results["rows"]} == {
        ("row-shift step=2", "row-alignment", 50)
    }
    assert results["rows"][0]["ssim"]["mean"] > 0.99
    assert {control["passed"] for control in results["controls"]} == {True}
    assert record["command"].endswith(
        "--scheme row-shift --scheme-option step=2 --attack own_scheme.attack:RowAlignmentAttack"
    )
    scheme, attack = results["entry"]["scheme"], results["entry"]["attack"]
    assert (scheme["name"], scheme["step"]) == ("row-shift", 2)
    assert (scheme["package"], scheme["version"]) == ("own-scheme", "0.1.0")
    assert attack["class"] == "own_scheme.attack:RowAlignmentAttack"
    assert scheme["sha256"] == hashlib.sha256((EXAMPLE / "cipher.py").read_bytes()).hexdigest()


@pytest.mark.full
def test_it_is_listed_with_its_package(record: dict[str, Any], tmp_path: Path) -> None:
    make_entry(tmp_path, record)
    listed = leaderboard_entries.section(leaderboard_entries.read_entries(record, tmp_path))
    (row,) = [line for line in listed.splitlines() if "row-shift step=2" in line and line.startswith("|")]
    assert "own-scheme 0.1.0" in row and "`row-alignment`" in row and "**1.000**" in row
    assert leaderboard_entries.section(leaderboard_entries.read_entries(record, tmp_path / "none")) == ""


@pytest.mark.full
@pytest.mark.parametrize("lost", ["LICENSE", "record.json", "cipher.py"])
def test_an_incomplete_folder_stops_the_pages(record: dict[str, Any], tmp_path: Path, lost: str) -> None:
    (make_entry(tmp_path, record) / lost).unlink()
    with pytest.raises(leaderboard_entries.EntryError, match=lost):
        leaderboard_entries.read_entries(record, tmp_path)


@pytest.mark.full
def test_changed_code_and_other_budgets_stop_the_pages(record: dict[str, Any], tmp_path: Path) -> None:
    entry = make_entry(tmp_path, record)
    other = {**record, "results": {**record["results"], "keys": 3}}
    with pytest.raises(leaderboard_entries.EntryError, match="keys is 1, ours 3"):
        leaderboard_entries.read_entries(other, tmp_path)
    with (entry / "cipher.py").open("a") as file:
        file.write("# changed\n")
    with pytest.raises(leaderboard_entries.EntryError, match="not the one that was measured"):
        leaderboard_entries.read_entries(record, tmp_path)


@pytest.mark.parametrize(
    ("option", "name", "words"),
    [
        ("--scheme", "broken_cipher:Broken", "broken fails check_structure: it declares that nothing happens"),
        ("--attack", "broken_attack:Broken", "broken fails check_support: it claims"),
        ("--scheme", "nowhere:Cipher", "cannot load nowhere:Cipher"),
        ("--scheme", "pathlib:Path", "pathlib:Path is no cipher"),
    ],
)
def test_what_breaks_a_rule_is_refused(place: Path, option: str, name: str, words: str) -> None:
    done = reproduce(place, option, name)
    assert done.returncode == 2, done.stderr
    assert words in " ".join(done.stderr.split())
    assert not (place / "reproduce" / f"leakage-smoke-{name.replace(':', '.')}").exists()


def test_other_experiments_and_options_without_a_scheme_are_refused() -> None:
    with pytest.raises(UsageError, match="takes no scheme"):
        enter(read_settings("ercnn-batch-size", "smoke"), Entry(scheme="hill"))
    with pytest.raises(UsageError, match="no scheme for these options"):
        enter(read_settings("leakage", "smoke"), Entry(options=("block=4",), attack="covariance"))


def test_ours_can_be_named_too() -> None:
    settings = enter(read_settings("leakage", "smoke"), Entry("hill", ("block=4",)))
    assert settings.options["ciphers"] == [{"name": "hill", "block": 4, "orthogonal": False}]
    assert settings.entry is not None
    assert settings.entry["scheme"]["package"] == "cipherlens"
