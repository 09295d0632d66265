"""Two processes against one: losses step by step, and images per second.

torchrun is started by this program: python benchmarks/measure/distributed_training.py --cifar10 CIFAR
        [--out results/distributed-training.json]

CIFAR-10 sealed with Hill 4x4, PreResNet-20, float32, batches of 128, 20 steps. Losses: BatchNorm in evaluation
mode (after one look at the training images), BatchNorm over all processes (what `train` does), and each process's
own, as plain DistributedDataParallel has it. For comparison, one process with a second thread.
Speed: one process with one thread, one with two, and two with one each, in turn.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from unittest import mock

import torch
from torch import nn

from cipherlens.ciphers import create_cipher
from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.data.sealed.reading import SealOptions
from cipherlens.data.sealed.seal import seal
from cipherlens.keys import Key
from cipherlens.models import create_model
from cipherlens.records import write_record
from cipherlens.training.config import TrainConfig
from cipherlens.training.engine import replicas
from cipherlens.training.engine.batches import ImageBatches
from cipherlens.training.engine.distributed import Processes, join_processes, leave_processes
from cipherlens.training.engine.loop import Forward, train_epoch
from cipherlens.training.engine.metrics import Position
from cipherlens.training.engine.normalization import create_normalization
from cipherlens.training.engine.optimizer import create_optimizer
from cipherlens.training.engine.statistics import refresh_statistics

STEPS, BATCH = 20, 128
KINDS = ("evaluation", "together", "each")
"""How BatchNorm computes."""
LEARNING_RATE = 0.0001
"""So small that rounding hardly grows; at larger ones, a second thread moves the losses as far as a process."""


class Still(nn.Module):
    """A network whose BatchNorm stays in evaluation mode."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def train(self, mode: bool = True) -> "Still":
        super().train(mode)
        self.network.train(False)
        return self

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.network(images)
        return found


@contextmanager
def norms(kind: str) -> Iterator[None]:
    """Each process with BatchNorm of its own, where ``kind`` says so."""
    with mock.patch.object(replicas, "SynchronizedNorms", nullcontext) if kind == "each" else nullcontext():
        yield


def train(kind: str, dataset: str, processes: Processes) -> tuple[list[float], float]:
    """The loss of each step, and images per second."""
    split = SealedDataset.open(dataset).split("train")
    torch.manual_seed(0)
    model = create_model("preresnet20", num_classes=10, in_chans=3)
    model = model.to(memory_format=torch.channels_last)
    config = TrainConfig(
        "preresnet20", batch_size=BATCH, lr=LEARNING_RATE, schedule="constant", precision="float32"
    )
    forward = Forward(model, create_normalization("standardize", split), processes.device, "float32")
    means: list[float] = []
    batches = ImageBatches(split, processes.device, 1 << 32)
    if kind == "evaluation":
        model.train()
        refresh_statistics(forward, batches, len(split), BATCH)
        model = Still(model)
        forward = Forward(model, forward.normalization, processes.device, "float32")
    started = time.perf_counter()
    with norms(kind):
        train_epoch(
            config,
            forward,
            create_optimizer(config, model),
            batches,
            Position(1, 1),
            lambda event: means.append(event.loss),
            processes=processes,
        )
    speed = len(split) / (time.perf_counter() - started)
    sums = [mean * (step + 1) for step, mean in enumerate(means)]
    return [after - before for before, after in zip([0.0, *sums], sums, strict=False)], speed


def work(kind: str, dataset: str, threads: int) -> None:
    """In one of the processes: prints losses and speed, the main one alone."""
    torch.set_num_threads(threads)
    processes = join_processes()
    losses, speed = train(kind, dataset, processes)
    if processes.is_main:
        print(json.dumps({"losses": losses, "speed": speed}))
    processes.wait()
    leave_processes()


def run(kind: str, dataset: Path, processes: int, threads: int) -> dict:
    command = [sys.executable]
    if processes > 1:
        command += ["-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    command += [__file__, "--work", kind, str(dataset), str(threads)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cifar10")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("results/distributed-training.json"))
    parser.add_argument("--work", nargs=3)
    options = parser.parse_args()
    if options.work:
        kind, dataset, threads = options.work
        work(kind, dataset, int(threads))
        return
    with tempfile.TemporaryDirectory() as folder:
        dataset, options_ = Path(folder) / "set", SealOptions(limit=STEPS * BATCH, splits=("train",))
        seal(options.cifar10, dataset, create_cipher("hill", block=4), Key.generate(), options_)
        differences = {}
        for kind in KINDS:
            one, two = (run(kind, dataset, count, 1)["losses"] for count in (1, 2))
            differences[kind] = [abs(a - b) for a, b in zip(one, two, strict=True)]
            print(kind, [f"{value:.1e}" for value in differences[kind]], flush=True)
        one, two = (run("together", dataset, 1, threads)["losses"] for threads in (1, 2))
        differences["a second thread"] = [abs(a - b) for a, b in zip(one, two, strict=True)]
        settings = {
            "1 process, 1 thread": (1, 1),
            "1 process, 2 threads": (1, 2),
            "2 processes, 1 thread each": (2, 1),
        }
        speeds: dict[str, list[float]] = {name: [] for name in settings}
        for _ in range(options.repeats):
            for name, (processes, threads) in settings.items():
                speeds[name].append(run("together", dataset, processes, threads)["speed"])
                print(name, speeds[name][-1], flush=True)
    medians = {name: statistics.median(found) for name, found in speeds.items()}
    first = medians["1 process, 1 thread"]
    results = {
        "model": "preresnet20",
        "cipher": "hill 4x4",
        "steps": STEPS,
        "batch_size": BATCH,
        "precision": "float32",
        "lr": LEARNING_RATE,
        "largest_difference": {kind: max(found) for kind, found in differences.items()},
        "differences": differences,
        "images_per_second": speeds,
        "speed_relative_to_one_thread": {name: found / first for name, found in medians.items()},
    }
    write_record(options.out, "python benchmarks/measure/distributed_training.py --cifar10 CIFAR", results)


if __name__ == "__main__":
    main()
