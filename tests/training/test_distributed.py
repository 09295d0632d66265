"""Several processes train what one process trains: the same sums, the same weights, one run folder."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cipherlens.cli.main import execute
from cipherlens.errors import UsageError
from cipherlens.training.engine.distributed import Processes, check_batches
from tests.training.distributed_work import CASES, collect_norms, list_cases, train

ALONE = Processes(torch.device("cpu"))
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
# Without a GPU too: for accelerate, processes without --multi_gpu are MPI's.
ACCELERATE = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "2", "--multi_gpu"]


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes computed, by process."""
    folder = tmp_path_factory.mktemp("together")
    subprocess.run([*TORCHRUN, "-m", "tests.training.distributed_work", folder], check=True)
    return folder


@pytest.fixture(scope="module")
def alone() -> dict[str, tuple[list[float], dict[str, torch.Tensor]]]:
    """What one process computes."""
    return {name: train(network, images, config, ALONE) for name, network, images, config in list_cases()}


@pytest.mark.parametrize("name", CASES)
def test_training_together(name: str, together: Path, alone: dict) -> None:
    expected, weights = alone[name]
    for index in (0, 1):
        losses = json.loads((together / f"losses-{index}.json").read_text())[name]
        assert losses == pytest.approx(expected, abs=1e-6)
        found = load_file(together / f"{name}-{index}.safetensors")
        assert found.keys() == weights.keys()
        for part, tensor in weights.items():
            torch.testing.assert_close(found[part], tensor, atol=1e-6, rtol=1e-6)
    assert expected[-1] != pytest.approx(expected[0], abs=1e-3)  # it moved


def test_parts_without_norms(alone: dict) -> None:
    """Without BatchNorm, a batch in parts is the whole batch."""
    losses, weights = alone["parts"]
    assert losses == pytest.approx(alone["still"][0], abs=1e-6)
    torch.testing.assert_close(weights, alone["still"][1], atol=1e-6, rtol=1e-6)


def test_norm_is_of_all(together: Path) -> None:
    expected = collect_norms(ALONE)
    found = [load_file(together / f"norm-{index}.safetensors") for index in (0, 1)]
    for name in ("mean", "var", "weight", "bias"):
        for one in found:
            torch.testing.assert_close(one[name], expected[name], atol=1e-9, rtol=1e-9)
    assert [len(one["inputs"]) for one in found] == [5, 4]
    gathered = torch.cat([one["inputs"] for one in found])
    torch.testing.assert_close(gathered, expected["inputs"], atol=1e-9, rtol=1e-9)
    assert float(gathered.abs().max()) > 0.01


@pytest.mark.skipif(sys.platform != "linux", reason="reads the names of threads from /proc")
@pytest.mark.parametrize("index", [0, 1])
def test_no_thread_is_left(index: int, together: Path) -> None:
    """A thread of gloo that still runs while Python ends may abort the process."""
    assert "gloo" not in (together / f"threads-{index}.txt").read_text()


def test_shares_are_all_images() -> None:
    parts = [Processes(ALONE.device, 3, index).share(np.arange(10)) for index in range(3)]
    assert np.concatenate(parts).tolist() == list(range(10))
    assert [len(part) for part in parts] == [4, 3, 3]


def test_batches_that_are_too_small() -> None:
    check_batches(Processes(ALONE.device, 2), 8, 4, 2)
    with pytest.raises(UsageError, match="batches of 4 images cannot be cut into 6 parts"):
        check_batches(Processes(ALONE.device, 3), 8, 4, 2)


def run_command(launcher: list[str], *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [*launcher, "-m", "cipherlens", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def read_losses(run: Path) -> list[float]:
    return [json.loads(line)["train_loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sealed data set of 160 training images, with its key."""
    root = tmp_path_factory.mktemp("sealed")
    for command in (
        ["keygen", root / "a.key"],
        ["encrypt", "synthetic:tiny?n=160&test=40", root / "data", "--cipher", "hill", "--key", root / "a.key"],
    ):
        assert execute([str(argument) for argument in command]) == 0
    return root


SETTINGS = ("--model", "preresnet20", "--batch-size", "40", "--lr", "0.002", "--precision", "float32", "--adapt")


@pytest.mark.slow
@pytest.mark.parametrize(
    "launcher",
    [
        pytest.param(TORCHRUN, id="torchrun"),
        pytest.param(ACCELERATE, id="accelerate", marks=pytest.mark.full),
    ],
)
def test_launched_run(launcher: list[str], sealed: Path, tmp_path: Path) -> None:
    """Both launchers: one run folder, one result, the figures of one process; the map is found once."""
    arguments = ("train", sealed / "data", "--epochs", "2", *SETTINGS)
    done = run_command(launcher, *arguments, "--out", tmp_path / "two", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["out"] == str(tmp_path / "two") and result["epoch"] == 2
    assert done.stderr.count("round 1 epoch 2") == 1 and done.stderr.count("not authenticated") == 1
    assert "2 processes" in (tmp_path / "two" / "MODEL_CARD.md").read_text()
    assert (tmp_path / "two" / "front-end.safetensors").exists()  # hill is read first
    assert execute([str(part) for part in (*arguments, "--out", tmp_path / "one")]) == 0
    assert read_losses(tmp_path / "two") == pytest.approx(read_losses(tmp_path / "one"), abs=1e-3)


@pytest.mark.full
def test_killed_and_continued_alone(sealed: Path, tmp_path: Path) -> None:
    """A locked run of two processes, whose first process is killed, goes on in one process."""
    root = tmp_path
    permuted = ["encrypt", "synthetic:tiny?n=160&test=40", root / "p", "--cipher", "pixel-permutation"]
    assert execute([str(part) for part in (*permuted, "--key", sealed / "a.key")]) == 0
    arguments = ("train", root / "p", "--epochs", "4", *SETTINGS[:-1], "--key", sealed / "a.key")
    command = [*TORCHRUN, "-m", "cipherlens", *map(str, arguments), "--out", str(root / "two")]
    launched = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    metrics = root / "two" / "metrics.jsonl"
    while launched.poll() is None and not (metrics.exists() and metrics.read_text()):
        time.sleep(0.01)
    os.kill(json.loads((root / "two" / ".lock").read_text())["process"], signal.SIGKILL)
    assert launched.wait(60) == 1  # the launcher ends the other process
    before = read_losses(root / "two")
    assert 1 <= len(before) < 4
    assert execute([str(part) for part in (*arguments, "--out", root / "two")]) == 0
    assert execute([str(part) for part in (*arguments, "--out", root / "one")]) == 0
    assert read_losses(root / "two")[: len(before)] == before
    assert read_losses(root / "two") == pytest.approx(read_losses(root / "one"), abs=1e-3)


@pytest.mark.full
def test_an_error_ends_all(sealed: Path, tmp_path: Path) -> None:
    done = run_command(TORCHRUN, "train", sealed / "data", "--out", tmp_path / "run", "--batch-size", "1")
    assert done.returncode == 1
    assert "batches of 1 images cannot be cut into 2 parts" in done.stderr
    assert not (tmp_path / "run").exists()
