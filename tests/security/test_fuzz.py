"""Some thousand mutated inputs: no crash, no wrong exit code, nothing altered accepted (see tests/security/fuzz).

More of them, and what to do with a failure: ``python -m tests.security.fuzz --help``.
"""

import json
from pathlib import Path

import pytest

from tests.security.fuzz.__main__ import main
from tests.security.fuzz.commands import check_output
from tests.security.fuzz.outcome import Exited, Misbehaved, Outcome
from tests.security.fuzz.report import Tally
from tests.security.fuzz.runner import Chunk, cut, run_chunks
from tests.security.fuzz.target import make_case
from tests.security.fuzz.targets import IN_PROCESS, TARGETS
from tests.security.fuzz.targets_broken import WAYS

pytestmark = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is measured in /proc")

SEED = 20261124
INPUTS = {
    **{"key": 200, "manifest": 250, "shard": 200, "journal": 40, "run": 40, "image": 200, "parquet": 50},
    **{"journal-2": 40, "rotation": 40, "map": 100, "cifar": 50, "toml": 80, "cli": 36, "process": 2},
    **{"request": 200, "answer": 150},
}


@pytest.mark.parametrize("name", INPUTS)
def test_mutated_inputs(name: str) -> None:
    tally = Tally(SEED)
    run_chunks(cut(name, SEED, INPUTS[name], INPUTS[name]), 1, tally.add)
    assert tally.inputs == INPUTS[name]
    assert not tally.failures, tally.format()


def test_every_failure_is_noticed() -> None:
    found: dict[int, Outcome] = {}
    tally = Tally(0)

    def report(chunk: Chunk, number: int, outcome: Outcome) -> None:
        found[number] = outcome
        tally.add(chunk, number, outcome)

    run_chunks([Chunk("broken", 0, 0, len(WAYS))], 1, report)
    assert [found[number].status for number in range(len(WAYS))] == [status for status, _ in WAYS]
    assert tally.failures == sum(status in ("crash", "wrong", "altered") for status, _ in WAYS)
    assert found[4].place == "" and found[4].kind == "TypeError"


def test_exit_status_and_repeat_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "broken", "--inputs", "2", "--jobs", "1"]) == 0
    assert main(["--only", "broken", "--inputs", "3", "--jobs", "1", "--seed", "5"]) == 1
    assert "python -m tests.security.fuzz --seed 5 --repeat broken:2" in capsys.readouterr().out


@pytest.mark.parametrize("kind", [kind for kind in IN_PROCESS if kind.name not in ("run", "journal")])
def test_inputs_follow_from_seed_and_number(kind: type) -> None:
    once, again = kind(), kind()
    numbers = range(once.seeds_kept, once.seeds_kept + 30)
    trees = [make_case(once, 1, number).tree for number in numbers]
    assert trees == [make_case(again, 1, number).tree for number in reversed(numbers)][::-1]
    assert trees != [make_case(once, 2, number).tree for number in numbers]


@pytest.mark.parametrize("text", ["\x1b[2J", "a\x9bb", "\x07", "a\rb", "\x7f"])
def test_escapes_in_output_are_noticed(text: str) -> None:
    for written, said in ((text, ""), ("", text)):
        with pytest.raises(Misbehaved):
            check_output(0, written, said, None)


def test_tracebacks_and_codes_are_noticed() -> None:
    check_output(0, "fine\n\tindeed: é", "", None)
    for code, said in ((1, "failed"), (0, "Traceback (most recent call last):\n")):
        with pytest.raises(Exited):
            check_output(code, "", said, None)


def test_all_targets_are_tried() -> None:
    assert set(INPUTS) == set(TARGETS) - {"broken"}


def test_a_record_grows_by_seeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Long work is done in parts, perhaps by several versions."""
    record = tmp_path / "fuzz.json"
    for seed, count in ((4, 2), (5, 3)):
        main(
            [
                "--only",
                "broken",
                "--inputs",
                str(count),
                "--jobs",
                "1",
                "--seed",
                str(seed),
                "--record",
                str(record),
            ]
        )
    seeds = json.loads(record.read_text())["results"]["seeds"]
    assert [seeds[seed]["inputs"] for seed in ("4", "5")] == [2, 3]
    assert [len(seeds[seed]["failures"]) for seed in ("4", "5")] == [0, 1]
    assert all("commit" in found and found["complete"] for found in seeds.values())
