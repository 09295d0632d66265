"""The trainer of one run: it starts rounds, restores checkpoints, runs epochs and stores the model."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from cipherlens.ciphers import BoundCipher
from cipherlens.ciphers.estimated_inverse import EstimatedInverse
from cipherlens.data.run_files import BEST, CHECKPOINT, LAST, name_round
from cipherlens.models import AdaptedModel
from cipherlens.models.adaptation.whitened import WhitenedAdaptation
from cipherlens.models.speednet import SpeedNet
from cipherlens.training.engine.batches import ImageBatches, ImageSet
from cipherlens.training.engine.distributed import Processes, check_batches
from cipherlens.training.engine.hardware import choose_precision, get_memory_budget
from cipherlens.training.engine.lookahead import Lookahead
from cipherlens.training.engine.loop import Forward, choose_batch_size, derive_seed, measure, train_epoch
from cipherlens.training.engine.metrics import EpochMetrics, Position, Progress
from cipherlens.training.engine.normalization import create_normalization
from cipherlens.training.engine.optimizer import create_optimizer, get_optimizer_tensors, set_optimizer_tensors
from cipherlens.training.engine.rounds import ADAPT_PREFIX, get_best, select_carried, strip_prefix
from cipherlens.training.engine.statistics import refresh_statistics
from cipherlens.training.front_end.start import choose_range, set_front_end
from cipherlens.training.front_end.whitening import find_whitening, set_first_layer
from cipherlens.training.run.checkpoint import Checkpoint, load_into, save_checkpoint, save_tensors
from cipherlens.training.run.record import RunRecord, build_model

SLOW = "lookahead."
"""Prefix of the slow weights among the optimizer's tensors in a checkpoint."""


class Trainer:
    """The model, its optimizer and the data of one run, on the device of one of its processes."""

    def __init__(
        self,
        record: RunRecord,
        train_set: ImageSet,
        test_set: ImageSet | None,
        processes: Processes,
        bound: BoundCipher | None = None,
    ) -> None:
        self._bound = bound
        self._lookahead: Lookahead | None = None
        self.record = record
        self.config = record.config
        self.processes = processes
        self.device = device = processes.device
        self.precision = choose_precision(self.config.precision, device)
        check_batches(processes, len(train_set), self.config.batch_size, self.config.accumulate)
        budget = get_memory_budget(device, processes.on_this_machine)
        self.train_batches = ImageBatches(train_set, device, budget)
        if self.train_batches.resident is not None:
            budget -= self.train_batches.nbytes
        self.test_batches = None if test_set is None else ImageBatches(test_set, device, budget)

    def start_round(self, round: int, weights: dict[str, Tensor]) -> None:
        """Create a new backbone and optimizer; ``weights`` give the adaptation network, if they hold one."""
        self._place_model(round, initial_weights=True)
        self.model.load_state_dict(select_carried(weights), strict=False)

    def set_front_ends(self, maps: Sequence[EstimatedInverse]) -> None:
        """Set the adaptation networks, one for each owner, to the maps."""
        assert isinstance(self.model, AdaptedModel)
        pretrained = self.config.pretrained or self.config.weights is not None
        picture = choose_range(self.model.backbone, self.record.data.shape[0], pretrained)
        self.record = record = replace(self.record, picture=picture)
        adapt = self.model.adapt
        adapts = list(adapt) if isinstance(adapt, nn.ModuleList) else [adapt]
        given = [owner.normalization for owner in record.owners] or [record.normalization]
        for one, inverse, normalization in zip(adapts, maps, given, strict=True):
            set_front_end(one, inverse, normalization, picture)

    def whiten(self) -> None:
        """Set the adaptation network to whiten the blocks of the training images."""
        assert isinstance(self.model, AdaptedModel) and isinstance(self.model.adapt, WhitenedAdaptation)
        adapt = self.model.adapt
        adapt.set_affine(*find_whitening(self.train_batches.images, self.record.normalization, adapt.block))

    def restore(self, position: Position, checkpoint: Checkpoint) -> None:
        """Restore the state of an uninterrupted run before the epoch at ``position``."""
        if position.epoch == 1:
            self.start_round(position.round, checkpoint.weights)
            return
        self._place_model(position.round, initial_weights=False)
        load_into(self.model, checkpoint.weights, "the checkpoint")
        kept = dict(checkpoint.optimizer)
        slow = {name: kept.pop(SLOW + name) for name in strip_prefix(checkpoint.optimizer, SLOW)}
        set_optimizer_tensors(self.optimizer, self.model, kept)
        self._lookahead = Lookahead(self.model, slow) if self.config.lookahead else None

    def _place_model(self, round: int, initial_weights: bool) -> None:
        torch.manual_seed(derive_seed(self.config.seed, round, 0))
        model = build_model(self.record, initial_weights, self._bound)
        if self.config.front_end_lr == 0 and isinstance(model, AdaptedModel):
            model.adapt.requires_grad_(False)
        self.model = model.to(self.device).to(memory_format=torch.channels_last)
        self.optimizer = create_optimizer(self.config, self.model)
        given = self.record.normalization
        if self.record.owners:  # the joint set normalises the images of each owner
            given = create_normalization("none", self.train_batches.images)
        self.forward = Forward(self.model, given, self.device, self.precision, self.config.views)
        self._lookahead = None

    def run_epoch(self, position: Position, report: Callable[[Progress], None]) -> EpochMetrics:
        """Train the epoch at ``position`` and test after it."""
        start = time.perf_counter()
        if position.epoch == 1:
            self._begin()
        if isinstance(self.model, AdaptedModel):
            self.model.freeze(position.epoch <= self.config.warm_up)
        trained = train_epoch(
            self.config,
            self.forward,
            self.optimizer,
            self.train_batches,
            position,
            report,
            self._lookahead,
            self.processes,
        )
        training_seconds = time.perf_counter() - start
        if self.config.norm_images:  # the model is still in training mode
            refresh_statistics(self.forward, self.train_batches, self.config.norm_images, self.config.batch_size)
        outcome = None
        if self.test_batches is not None:
            data = self.record.data
            size = choose_batch_size(data.shape)
            outcome = measure(self.forward, self.test_batches, len(data.classes), size, self.processes)
        return EpochMetrics(
            round=position.round,
            epoch=position.epoch,
            train_loss=trained.loss,
            train_accuracy=trained.accuracy,
            test_loss=None if outcome is None else outcome.loss,
            test_accuracy=None if outcome is None else outcome.accuracy,
            lr=trained.lr,
            images_per_second=len(self.train_batches.images) / training_seconds,
            seconds=time.perf_counter() - start,
            test_iou=None if outcome is None or not self.record.data.masked else outcome.mean_iou,
        )

    def _begin(self) -> None:
        """Prepare the first epoch of a round."""
        if isinstance(self.forward.classifier, SpeedNet) and self.config.weights is None:
            set_first_layer(self.forward.classifier, self.forward, self.train_batches)
        if self.config.lookahead:
            self._lookahead = Lookahead(self.model)

    def summarize(self, metrics: EpochMetrics) -> Progress:
        """The progress event of an epoch that is stored on disk."""
        steps = -(-len(self.train_batches.images) // self.config.batch_size)
        position = Position(metrics.round, metrics.epoch)
        return Progress(position, self.config.rounds, self.config.epochs, steps, steps, metrics.train_loss, metrics)

    def store(self, out: Path, history: list[EpochMetrics]) -> None:
        """Write the weights after the last epoch of ``history``, then the checkpoint that completes the epoch.

        The order matters: after a kill in between, the epoch is repeated and writes the same weights again.
        """
        weights = self.model.state_dict()
        if get_best(history) is history[-1]:
            save_tensors(out / BEST, weights)
        save_tensors(out / LAST, weights)
        if self.config.rounds > 1:
            save_tensors(out / name_round(history[-1].round), strip_prefix(weights, ADAPT_PREFIX))
        name = f"round{history[-1].round}-epoch{history[-1].epoch}"
        state = {"metrics": [metrics.to_json() for metrics in history]}
        optimizer = get_optimizer_tensors(self.optimizer, self.model)
        if self._lookahead is not None:
            optimizer |= {SLOW + name: value for name, value in self._lookahead.slow.items()}
        save_checkpoint(out / CHECKPOINT, name, Checkpoint(weights, optimizer, state))
