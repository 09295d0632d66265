"""Small trainings that one process, or several started by torchrun, run alike: ``python -m ... FOLDER``."""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from cipherlens.data.images import IGNORED
from cipherlens.models import create_model
from cipherlens.models.adaptation.network import AdaptationNetwork, OwnersModel
from cipherlens.training.config import TrainConfig
from cipherlens.training.engine.batches import ImageBatches
from cipherlens.training.engine.distributed import Processes, join_processes, leave_processes
from cipherlens.training.engine.loop import Forward, measure, train_epoch
from cipherlens.training.engine.metrics import Position
from cipherlens.training.engine.normalization import Normalization
from cipherlens.training.engine.optimizer import create_optimizer
from cipherlens.training.engine.replicas import Replica

CASES = ("norms", "still", "parts", "masks", "owners")
COUNT, CLASSES = 45, 3
"""Batches of at most 10 images get 9, which two processes share as 5 and 4."""


class Images:
    """Random images; with masks, in which whole images are ignored; with owners, in which the second is rare."""

    classes, shape, dtype = tuple("abc"), (3, 16, 16), "uint8"

    def __init__(self, masked: bool = False, owned: bool = False) -> None:
        rng = np.random.default_rng(0)
        self.labels = rng.integers(0, CLASSES, COUNT)
        self._images = rng.integers(0, 256, (COUNT, *self.shape), dtype=np.uint8)
        if masked:
            self.masks = rng.integers(0, CLASSES, (COUNT, 16, 16), dtype=np.uint8)
            self.masks[rng.random(COUNT) < 0.5] = IGNORED
        if owned:
            self.owners = (rng.random(COUNT) < 0.1).astype(np.int64)

    def __len__(self) -> int:
        return COUNT

    def read(self, indices: np.ndarray) -> np.ndarray:
        return self._images[indices]


class Exact(nn.Module):
    """A network that computes in float64, so that sums in another order give the same numbers."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.double()

    @property
    def penalty(self) -> Tensor:
        return 1e-3 * sum((part**2).sum() for part in self.network.parameters()).float()

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images.double())


class Still(Exact):
    """BatchNorm stays in evaluation mode."""

    def train(self, mode: bool = True) -> "Still":
        super().train(mode)
        self.network.train(False)
        return self


class ExactOwners(OwnersModel):
    def read(self, images: Tensor, owners: Tensor) -> Tensor:
        return super().read(images.double(), owners)


def list_cases() -> Iterator[tuple[str, nn.Module, Images, TrainConfig]]:
    """Name, network, images and settings of each training."""
    config = TrainConfig(model="preresnet20", batch_size=10, lr=0.02, precision="float32", schedule="constant")

    def create(name: str) -> nn.Module:
        torch.manual_seed(3)
        return create_model(name, num_classes=CLASSES, in_chans=3)

    yield "norms", Exact(create("preresnet20")), Images(), config
    slow = replace(config, lr=0.001)  # without norms of its own, the network diverges soon
    yield "still", Still(create("preresnet20")), Images(), slow
    yield "parts", Still(create("preresnet20")), Images(), replace(slow, accumulate=2)
    yield "masks", Exact(create("unet-small")), Images(masked=True), config
    backbone = create("preresnet20").double()
    adapts = [AdaptationNetwork(4).double() for _ in range(2)]
    yield "owners", ExactOwners(adapts, backbone), Images(owned=True), config


def train(
    network: nn.Module, images: Images, config: TrainConfig, processes: Processes
) -> tuple[list[float], dict[str, Tensor]]:
    """Two epochs: the mean loss so far at each step, the test loss, and all weights at the end."""
    forward = Forward(network, Normalization((0.5,) * 3, (0.25,) * 3), processes.device, "float32")
    batches = ImageBatches(images, processes.device, 1 << 30)
    losses: list[float] = []
    optimizer = create_optimizer(config, network)
    for epoch in (1, 2):
        train_epoch(
            config,
            forward,
            optimizer,
            batches,
            Position(1, epoch),
            lambda event: losses.append(event.loss),
            processes=processes,
        )
    losses.append(measure(forward, batches, CLASSES, 8, processes).loss)
    return losses, network.state_dict()


def collect_norms(processes: Processes) -> dict[str, Tensor]:
    """What a BatchNorm gives for this process's share of some values, and its gradients."""
    torch.manual_seed(5)
    values = 100 + torch.randn(9, 4, 6, 6, dtype=torch.float64)
    wanted = torch.randn_like(values)
    share = torch.from_numpy(processes.share(np.arange(9)))
    norm = nn.BatchNorm2d(4).double()
    inputs = values[share].requires_grad_()
    call: Callable[..., Tensor] = Replica(norm, norm, processes)
    # What this process adds to the sum over all; the replica leaves the mean over processes.
    (call(inputs) * wanted[share]).sum().mul(processes.count).backward()
    running = {"mean": norm.running_mean, "var": norm.running_var}
    return running | {"weight": norm.weight.grad, "bias": norm.bias.grad, "inputs": inputs.grad / processes.count}


def main() -> None:
    folder, processes = Path(sys.argv[1]), join_processes()
    losses = {}
    for name, network, images, config in list_cases():
        losses[name], weights = train(network, images, config, processes)
        save_file(weights, folder / f"{name}-{processes.index}.safetensors")
    save_file(collect_norms(processes), folder / f"norm-{processes.index}.safetensors")
    (folder / f"losses-{processes.index}.json").write_text(json.dumps(losses))
    processes.wait()
    leave_processes()
    threads = [(thread / "comm").read_text() for thread in Path("/proc/self/task").glob("*")]
    (folder / f"threads-{processes.index}.txt").write_text("".join(threads))


if __name__ == "__main__":
    main()
