"""One epoch of training, and one pass of testing."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from cipherlens.data.images import IGNORED
from cipherlens.errors import CipherlensError
from cipherlens.models import AdaptedModel
from cipherlens.training.config import TrainConfig
from cipherlens.training.engine.augmentation import Augmentation, Change, average_views
from cipherlens.training.engine.batches import ImageBatches, Inputs, split_batches
from cipherlens.training.engine.distributed import Processes
from cipherlens.training.engine.hardware import autocast
from cipherlens.training.engine.lookahead import Lookahead
from cipherlens.training.engine.metrics import Position, Progress
from cipherlens.training.engine.normalization import Normalization
from cipherlens.training.engine.optimizer import get_learning_rate, set_learning_rate
from cipherlens.training.engine.replicas import Replica

REPORTS_PER_EPOCH = 100
"""Progress reports per epoch, about. Chosen by hand."""
MEASURED_AT_ONCE = 256
"""Maximum images in a batch of testing or prediction. Chosen by hand."""
MEASURED_PIXELS = 1 << 20
"""Maximum pixels in a batch of testing or prediction. A limit on memory."""

_SUMS = torch.float32 if torch.backends.mps.is_available() else torch.float64
"""Losses are summed with these digits, so that the order of a sum hardly matters; Apple's GPUs have no float64."""


@dataclass(frozen=True, slots=True)
class TrainedEpoch:
    """Mean loss and accuracy over an epoch of training, and its last learning rate."""

    loss: float
    accuracy: float
    lr: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """Summed cross-entropy, and the confusion matrix of images (or pixels): true class (row), predicted class."""

    loss_sum: float
    confusion: NDArray[np.int64]

    @property
    def loss(self) -> float:
        """Cross-entropy per image (or pixel)."""
        return self.loss_sum / max(1, int(self.confusion.sum()))

    @property
    def accuracy(self) -> float:
        """Fraction of correctly classified images (or pixels)."""
        return float(self.confusion.trace() / max(1, int(self.confusion.sum())))

    @property
    def recalls(self) -> list[float | None]:
        """Accuracy of each class; None for one that does not occur."""
        return _divide(self.confusion.diagonal(), self.confusion.sum(1))

    @property
    def ious(self) -> list[float | None]:
        """Intersection over union of each class; None for one that neither occurs nor is predicted."""
        hits = self.confusion.diagonal()
        return _divide(hits, self.confusion.sum(0) + self.confusion.sum(1) - hits)

    @property
    def mean_iou(self) -> float:
        """Mean intersection over union of the classes that occur or are predicted."""
        return float(np.mean([iou for iou in self.ious if iou is not None] or [0.0]))


def _divide(parts: NDArray[np.int64], wholes: NDArray[np.int64]) -> list[float | None]:
    return [int(part) / int(whole) if whole else None for part, whole in zip(parts, wholes, strict=True)]


def cross_entropy(logits: Tensor, targets: Tensor, **options: Any) -> Tensor:
    """Cross-entropy; pixels of masks (N, H, W) without a class are ignored."""
    ignored = IGNORED if targets.ndim == 3 else -100  # -100 is torch's own default, which labels never have
    return F.cross_entropy(logits, targets, ignore_index=ignored, **options)


def count_confusion(logits: Tensor, targets: Tensor, classes: int) -> Tensor:
    """Confusion matrix (classes, classes) int64: true class (row), predicted class (column)."""
    pairs = targets * classes + logits.argmax(1)
    if targets.ndim == 3:
        pairs = pairs[targets != IGNORED]
    return torch.bincount(pairs.flatten(), minlength=classes**2).view(classes, classes)


@dataclass(frozen=True, slots=True)
class Forward:
    """From stored images to float32 logits: normalisation, then the model at the run's precision.

    Without training, logits are averaged over ``views`` of each picture.
    """

    model: nn.Module
    normalization: Normalization
    device: torch.device
    precision: str
    views: int = 1

    @property
    def classifier(self) -> nn.Module:
        """The model without its adaptation network."""
        return self.model.backbone if isinstance(self.model, AdaptedModel) else self.model

    def read(self, inputs: Inputs) -> Tensor:
        """What the classifier sees of images (N, C, H, W) uint8 or float, given with owners (N,) if several."""
        images, *owners = inputs if isinstance(inputs, tuple) else (inputs,)
        pixels = self.normalization.apply(images)
        return self.model.read(pixels, *owners) if isinstance(self.model, AdaptedModel) else pixels

    def __call__(self, inputs: Inputs, change: Change | None = None) -> Tensor:
        """Logits (N, classes) of images; ``change`` is applied to what the classifier sees."""
        with autocast(self.device, self.precision):
            pictures = self.read(inputs)
            views = 1 if self.model.training else self.views
            logits = average_views(self.classifier, pictures if change is None else change(pictures), views)
        return logits.float()


def derive_seed(*parts: int) -> int:
    """A 64-bit seed from (run seed, round, epoch); neighbouring seeds are independent."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0])


def get_order(seed: int, position: Position, count: int) -> NDArray[np.int64]:
    """The order (count,) of the images in an epoch: a pure function of seed, round and epoch."""
    return np.random.default_rng((seed, position.round, position.epoch)).permutation(count)


def train_epoch(
    config: TrainConfig,
    forward: Forward,
    optimizer: torch.optim.Optimizer,
    batches: ImageBatches,
    position: Position,
    report: Callable[[Progress], None],
    lookahead: Lookahead | None = None,
    processes: Processes | None = None,
) -> TrainedEpoch:
    """Train the epoch at ``position``; ``lookahead`` holds the slow weights, if there are any.

    Each of the ``processes`` computes a share of each batch. Torch is seeded from (seed, round, epoch), and the
    process's number unless 0, so that dropout is reproducible. Raises CipherlensError when the loss is not finite.
    """
    processes = processes or Processes(forward.device)
    plan = split_batches(get_order(config.seed, position, len(batches.images)), config.batch_size)
    parts = [part for batch in plan for part in np.array_split(batch, config.accumulate)]
    shares = [processes.share(part) for part in parts]
    own = (processes.index,) if processes.index else ()
    torch.manual_seed(derive_seed(config.seed, position.round, position.epoch, *own))
    before, steps = (position.epoch - 1) * len(plan), config.epochs * len(plan)
    every = max(1, len(plan) // REPORTS_PER_EPOCH)
    augmentation = Augmentation(config, position, len(batches.images))
    loss_sum = torch.zeros((), dtype=_SUMS, device=forward.device)
    counts = torch.zeros(2, dtype=torch.int64, device=forward.device)
    forward.model.train()
    replica, divided = Replica(forward, forward.model, processes), config.accumulate * processes.count > 1
    lr, seen = config.peak_lr, 0
    for number, (images, labels) in enumerate(batches.iterate(shares)):
        step, part = divmod(number, config.accumulate)
        whole = batches.targets[plan[step]] if divided else None
        if part == 0:
            lr = get_learning_rate(config, before + step, steps)
            set_learning_rate(optimizer, lr)
            optimizer.zero_grad()
        more = part + 1 < config.accumulate
        with replica.collecting(more):
            logits = replica(images, augmentation.choose(shares[number]))
            loss = _compute_loss(config, logits, labels, whole, processes.count)
            penalty = getattr(forward.model, "penalty", None)
            if penalty is not None:
                loss = loss + penalty / config.accumulate
            loss.backward()  # type: ignore[no-untyped-call]
        loss_sum += loss.detach() * len(plan[step]) / processes.count
        counts += torch.stack([(logits.detach().argmax(1) == labels).sum(), _count_targets(labels)])
        if more:
            continue
        optimizer.step()
        if lookahead is not None:
            lookahead.update(before + step + 1, steps)
        seen += len(plan[step])
        if (step + 1) % every == 0 or step + 1 == len(plan):
            mean = _check_loss(processes.add(loss_sum), position) / seen
            report(Progress(position, config.rounds, config.epochs, step + 1, len(plan), mean))
    hits, targets = processes.add(counts).tolist()
    return TrainedEpoch(mean, hits / max(1, targets), lr)


def _count_targets(targets: Tensor) -> Tensor:
    return (targets != IGNORED).sum() if targets.ndim == 3 else torch.tensor(len(targets), device=targets.device)


def _compute_loss(
    config: TrainConfig, logits: Tensor, labels: Tensor, whole: Tensor | None, processes: int
) -> Tensor:
    """The mean loss of a batch; of one of its parts what it adds, where ``whole`` are the batch's targets.

    The mean over the processes of what they add is the mean over the batch.
    """
    if whole is None:
        return cross_entropy(logits, labels, label_smoothing=config.label_smoothing)
    total = cross_entropy(logits, labels, label_smoothing=config.label_smoothing, reduction="sum")
    return total * (processes / _count_targets(whole))


def _check_loss(loss_sum: Tensor, position: Position) -> float:
    value = float(loss_sum)
    if not np.isfinite(value):
        raise CipherlensError(
            f"training diverged in round {position.round}, epoch {position.epoch}: the loss is not a number",
            hint="start a new run folder with a lower lr, or with precision float32",
        )
    return value


def choose_batch_size(shape: tuple[int, int, int]) -> int:
    """Number of images (C, H, W) in a batch without training, so that their feature maps fit into memory."""
    return max(1, min(MEASURED_AT_ONCE, MEASURED_PIXELS // (shape[1] * shape[2])))


def measure(
    forward: Forward, batches: ImageBatches, classes: int, batch_size: int, processes: Processes | None = None
) -> Outcome:
    """Loss and confusion counts of the model, in evaluation mode, over a whole image set.

    Each of the ``processes`` measures a share, and all know the outcome.
    """
    processes = processes or Processes(forward.device)
    plan = split_batches(processes.share(np.arange(len(batches.images))), batch_size)
    loss_sum = torch.zeros((), dtype=_SUMS, device=forward.device)
    confusion = torch.zeros(classes, classes, dtype=torch.int64, device=forward.device)
    forward.model.eval()
    with torch.inference_mode():
        for images, labels in batches.iterate(plan):
            logits = forward(images)
            loss_sum += cross_entropy(logits, labels, reduction="sum")
            confusion += count_confusion(logits, labels, classes)
    return Outcome(float(processes.add(loss_sum)), processes.add(confusion).cpu().numpy())
