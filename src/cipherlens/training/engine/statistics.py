"""BatchNorm statistics, measured again: after few steps the running averages still hold their first values."""

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from cipherlens.data.sources.base import pick_evenly
from cipherlens.training.engine.batches import ImageBatches, split_batches
from cipherlens.training.engine.loop import Forward


def refresh_statistics(forward: Forward, batches: ImageBatches, count: int, batch_size: int) -> None:
    """Set the running statistics to the plain averages over batches of at most ``count`` training images."""
    norms = [module for module in forward.model.modules() if isinstance(module, _BatchNorm) and module.training]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's word for the average over all batches
    chosen = pick_evenly(len(batches.images), count)
    with torch.no_grad():
        for images, _ in batches.iterate(split_batches(chosen, batch_size)):
            forward(images)
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum
