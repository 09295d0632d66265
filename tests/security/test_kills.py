"""kill -9 at random moments: no process stays, nothing plain lies about, and the same command ends with the same.

Other moments: SEED_OF_KILLS=2. The moments of a failed test are among its output.
"""

import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cipherlens.data.sealed.dataset import SealedDataset
from tests.security.processes import (
    NEIGHBOUR,
    SCRIPT,
    Reference,
    Run,
    add_neighbour,
    check_clean,
    check_hidden,
    check_neighbour,
    choose_root,
    draw,
    end_processes,
    get_reference,
    list_partial,
    needs_proc,
    remove,
)

COMMANDS = ("encrypt", "decrypt", "rotate", *(pytest.param(n, marks=pytest.mark.full) for n in ("train", "audit")))
POINTS = 20

__all__ = ["end_processes"]  # a fixture for every test here

pytestmark = needs_proc


@pytest.fixture(params=COMMANDS)
def reference(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    return get_reference(request.param, choose_root(tmp_path_factory))


def test_killed_twice_a_command_ends_with_the_same_bytes(reference: Reference, tmp_path: Path) -> None:
    check_kills(reference, tmp_path / "place", draw(reference.command.name, 2))


@pytest.mark.full
@pytest.mark.parametrize("point", range(POINTS))
def test_killed_at_any_moment_a_command_ends_with_the_same_bytes(
    reference: Reference, tmp_path: Path, point: int
) -> None:
    moment = draw(reference.command.name, POINTS)[point]
    check_kills(reference, tmp_path / "place", [moment], at_once=point % 2 == 1)


def check_kills(reference: Reference, place: Path, moments: list[float], at_once: bool = False) -> None:
    """Kill the command at these moments of its duration, then run it to its end; ``at_once``: without waiting."""
    add_neighbour(place)
    killed = []
    for moment in moments:
        killed.append(kill(reference, place, moment))
        if reference.command.name == "rotate":
            SealedDataset.open(place / "work" / "out").verify()  # readers are not disturbed
        if not at_once:
            killed[-1].check_gone()
    left = check_hidden(place, {NEIGHBOUR})
    finish(reference, place, left)
    for run in killed:
        run.check_gone()
    reference.check(place / "work" / "out")
    check_neighbour(place)
    check_clean(place, {"out", NEIGHBOUR})
    remove(place)


def kill(reference: Reference, place: Path, moment: float) -> Run:
    """A run that was killed at this moment of its duration."""
    seconds = reference.seconds
    for _ in range(5):
        run = reference.command.start(place)
        if run.kill_at(moment * seconds):
            print(f"killed {moment * seconds:.3f} s after its start, of {seconds:.3f} s")
            return run
        # The first run was slower, as others were at work: this one says how long it takes now.
        seconds = min(seconds, time.monotonic() - run.started)
        shutil.rmtree(place / "work" / "out")
    raise AssertionError(f"done within {moment:.3f} of its duration, five times")


def finish(reference: Reference, place: Path, left: list[Path]) -> None:
    """Run the command to its end; it says what killed ones had ``left``."""
    if reference.command.finished and (place / "work" / "out").exists():
        return
    last = reference.command.start(place)
    code = last.end()
    assert code == 0, last.err
    last.check_gone()
    if left:
        folder = next(path for path in left[0].parents if path.name.startswith(".cipherlens-partial-"))
        assert folder.name in last.err, f"left {len(left)} files, such as {left[0]}, and nothing about it"


@pytest.mark.parametrize(
    ("name", "folder"), [("decrypt", "work"), pytest.param("audit", "temporary", marks=pytest.mark.full)]
)
def test_discard_removes_what_a_killed_run_left(
    name: str, folder: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Killed as soon as there are plain pictures; then told to clear up, and nothing else."""
    command = get_reference(name, choose_root(tmp_path_factory)).command
    run = command.start(tmp_path)
    while not list_partial(tmp_path / folder) and run.process.poll() is None:
        time.sleep(0.005)
    assert run.kill_at(0), run.err
    run.check_gone()
    left = list_partial(tmp_path / folder)
    discard = Run((*command.arguments, "--discard"), tmp_path)
    assert discard.end() == 0, discard.err
    assert not left or ".cipherlens-partial-" in discard.err
    assert list_partial(tmp_path / folder) == []
    assert {path.name for path in (tmp_path / "work").rglob("*")} <= {"out", ".lock"}


DIE = """
import os, signal
from pathlib import Path

def die(*names):
    os.kill(os.getpid(), signal.SIGKILL)

Path.rename = os.rename = die
"""
"""In front of a command: it is killed where it first gives something another name."""


@pytest.mark.parametrize("name", ["few", "decrypt"])
def test_killed_at_its_first_renaming_a_command_leaves_nothing_beside_the_destination(
    name: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A moment too short for random kills: a folder has been made, and has not got its name."""
    reference = get_reference(name, choose_root(tmp_path_factory))
    killed = Run(reference.command.arguments, tmp_path, DIE + SCRIPT)
    killed.process.wait()
    killed.check_gone()
    last = reference.command.start(tmp_path)
    assert last.end() == 0, last.err
    reference.check(tmp_path / "work" / "out")
    check_clean(tmp_path, {"out"})


POOL = """
import time
from cipherlens.data.sealed.workers import run_in_processes
print("begun", flush=True)
for _ in run_in_processes(time.sleep, [{seconds}] * 1000, 3, int, ()):
    pass
"""
"""A pool of three whose tasks take so many seconds."""


def test_workers_end_with_a_parent_killed_while_they_start(tmp_path: Path) -> None:
    check_pools(tmp_path, draw("pool", 8))


@pytest.mark.full
def test_workers_end_with_a_parent_killed_at_any_of_sixty_moments(tmp_path: Path) -> None:
    check_pools(tmp_path, draw("pool", 60))


def check_pools(place: Path, moments: list[float]) -> None:
    """Kill pools within two seconds of their start, most early; four at a time, so that starting takes long."""

    def kill(number: int) -> str:
        return kill_pool(place, 2 * moments[number] ** 2, seconds=(0.05, 600.0)[number % 2])

    with ThreadPoolExecutor(4) as threads:
        left = [words for words in threads.map(kill, range(len(moments))) if words]
    assert not left, f"{len(left)} of {len(moments)}:\n" + "\n".join(left)


def kill_pool(place: Path, moment: float, seconds: float) -> str:
    """Kill a pool's parent so long after it began; what still lives 20 s later."""
    run = Run((), place, POOL.format(seconds=seconds))
    while "begun" not in run.out and run.process.poll() is None:
        time.sleep(0.002)
    assert run.kill_at(time.monotonic() - run.started + moment), run.err
    try:
        run.check_gone()
    except AssertionError as error:
        return f"killed {moment:.3f} s after the pool began: {error}"
    return ""
