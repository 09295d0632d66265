"""Training of learned decryptors, with torch. It uses no original of the victim that the view lacks.

Inference is in evaluation mode. Weights are chosen on images that the attacker holds out.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from cipherlens.attacks.base import Draw, Images, Labels
from cipherlens.attacks.learned.critic import Critic
from cipherlens.attacks.learned.distribution_distance import compare_pictures
from cipherlens.attacks.learned.inversion import Inverter
from cipherlens.ciphers.structure import Shape
from cipherlens.training.engine.hardware import choose_precision, isolate

Labelled = tuple[Images, Labels]

_DEVICE = torch.device("cpu")
_BATCH = 64
"""Images per training step. Set by hand."""
_AT_ONCE = 250
"""Images decrypted at a time: a limit on memory, set by hand."""
_CHECKS = 15
"""Measurements on held-out images in one training. Set by hand."""
_PATIENCE = 5
"""Measurements without improvement after which training ends. Set by hand."""
_RATE = 2e-3
"""Learning rate, with pairs the maximum of its one-cycle schedule. Set by hand."""
_REFINING_RATE, _CRITIC_RATE = 2e-4, 4e-4
"""Learning rates, against a critic, of the U-Net and of the critic. Set by hand."""


@contextmanager
def fix_seed(seed: int) -> Iterator[None]:
    """Draw torch's random numbers from ``seed``, and leave those of the caller as they were."""
    with isolate(_DEVICE, 0):
        torch.manual_seed(seed)
        yield


def start_network(
    structure: str, shape: Shape, block: int, halves: bool, ciphertexts: Images, pictures: Images
) -> Inverter:
    """A network before training; see :class:`~cipherlens.attacks.learned.inversion.Inverter`."""
    network = Inverter(structure, shape, block, halves, choose_precision("auto", _DEVICE) == "bf16")
    network.start(torch.from_numpy(ciphertexts), torch.from_numpy(pictures))
    return network


def train_on_pairs(network: Inverter, draw: Draw, held_out: tuple[Images, Images], steps: int) -> dict[str, Any]:
    """Train with the mean absolute error; the weights that were best on ``held_out`` pairs are kept.

    Training ends early where the held-out error no longer falls. Returns the details (see :class:`BestWeights`).
    """
    optimizer = torch.optim.AdamW(network.parameters(), _RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=steps)
    best = BestWeights(network, lambda: _measure_difference(network, held_out), steps)
    batches = _draw_batches(draw)
    for step in range(1, steps + 1):
        network.train()
        ct, plain = next(batches)
        _descend(optimizer, F.l1_loss(network(ct), plain))
        schedule.step()
        if best.check(step):
            break
    return best.finish()


def train_against_critic(
    network: Inverter, seen: Labelled, public: Labelled, held_out: Images, steps: int, classes: int = 0
) -> dict[str, Any]:
    """Train until a critic cannot tell the network's pictures from ``public`` ones (hinge loss, Lim and Ye 2017).

    There are no pairs. ``seen`` are ciphertexts; both sets come with labels (N,) of ``classes`` for the critic. The
    weights are kept whose pictures, as a set, were nearest to ``held_out`` (N, C, H, W). Returns the same as
    :func:`train_on_pairs`.
    """
    critic = Critic(held_out.shape[1], classes)
    optimizers = [
        torch.optim.Adam(groups, betas=(0.5, 0.99))
        for groups in (
            [
                {"params": network.unmix.parameters(), "lr": _RATE},
                {"params": network.refine.parameters(), "lr": _REFINING_RATE},
            ],
            [{"params": critic.parameters(), "lr": _CRITIC_RATE}],
        )
    ]
    wanted = torch.from_numpy(held_out)
    best = BestWeights(network, lambda: compare_pictures(torch.from_numpy(apply(network, seen[0])), wanted), steps)
    batches, natural = _draw_batches(lambda _: seen), _draw_batches(lambda _: public)
    for step in range(1, steps + 1):
        network.train()
        (ct, labels), (real, classed) = next(batches), next(natural)
        fake = network(ct)
        loss = F.relu(1 - critic(real, classed)).mean() + F.relu(1 + critic(fake.detach(), labels)).mean()
        _descend(optimizers[1], loss)
        _descend(optimizers[0], -critic(fake, labels).mean())
        if best.check(step):
            break
    return best.finish()


def _descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def apply(network: nn.Module, ciphertexts: Images) -> Images:
    """Decrypt ciphertexts with the network in evaluation mode."""
    network.eval()
    with torch.inference_mode():
        starts = range(0, len(ciphertexts), _AT_ONCE)
        parts = [network(torch.from_numpy(ciphertexts[start : start + _AT_ONCE])).numpy() for start in starts]
    return np.concatenate(parts)


class BestWeights:
    """The weights of a network that were best so far, by ``measure`` (smaller is better)."""

    def __init__(self, network: nn.Module, measure: Callable[[], float], steps: int) -> None:
        self.network, self.measure, self.steps = network, measure, steps
        self.started = time.process_time()
        self.loss, self.step, self.last = float("inf"), 0, 0
        self.every = max(1, steps // _CHECKS)
        self.check(0)

    def check(self, step: int) -> bool:
        """Measure at regular steps; returns whether training should stop because nothing improved."""
        self.last = step
        if step % self.every and step < self.steps:
            return False
        loss = self.measure()
        if loss < self.loss:
            self.loss, self.step = loss, step
            self.state = {name: value.clone() for name, value in self.network.state_dict().items()}
        return step - self.step >= _PATIENCE * self.every

    def finish(self) -> dict[str, Any]:
        """Restore the best weights; returns details, with ``converged``: whether it stopped before all steps."""
        self.network.load_state_dict(self.state)
        return {
            "steps": self.last,
            "best_step": self.step,
            "converged": self.last < self.steps,
            "held_out_loss": self.loss,
            "parameters": sum(parameter.numel() for parameter in self.network.parameters()),
            "cpu_seconds": time.process_time() - self.started,
        }


def _measure_difference(network: Inverter, pairs: tuple[Images, Images]) -> float:
    return float(np.abs(apply(network, pairs[0]) - pairs[1]).mean())


def _draw_batches(draw: Callable[[int], tuple[NDArray[Any], NDArray[Any]]]) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of whole rounds, each in a new order; images that do not fill a batch are skipped in that round."""
    for number in count():
        first, second = map(torch.from_numpy, draw(number))
        order = torch.randperm(len(first))
        size = min(_BATCH, len(first))
        for batch in order[: len(order) // size * size].reshape(-1, size):
            yield first[batch], second[batch]
