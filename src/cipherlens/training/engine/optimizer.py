"""Optimizers, their state as plain tensors, and the learning rate as a function of the step."""

from math import cos, pi
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cipherlens.models.adaptation.network import OwnersModel
from cipherlens.training.config import TrainConfig
from cipherlens.training.engine.rounds import ADAPT_PREFIX

WARM_UP = 0.3
"""Fraction of a round's steps in which "onecycle" rises, the default of torch's OneCycleLR."""
START_FRACTION = 1 / 25
"""First learning rate of "onecycle", as a fraction of the peak: the default of torch's OneCycleLR."""
END_FRACTION = 1e-4
"""Last learning rate of "onecycle", as a fraction of the peak. Chosen by hand."""
TRIANGLE = (0.0, 0.23, 1.0), (0.2, 1.0, 0.07)
"""Times and learning rates of "triangular", as fractions of the steps and of the peak: airbench94's."""
SHARE = "share_of_lr"


def create_optimizer(config: TrainConfig, model: nn.Module) -> torch.optim.Optimizer:
    """SGD (Nesterov) or AdamW over the model's parameters.

    Vectors and biases do not decay. BatchNorm's biases with their own learning rate shrink by the same fraction
    per step as the rest. An adaptation network with its own learning rate does not decay.
    """
    apart, scale = config.front_end_lr is not None, config.bias_lr_scale
    norms = _list_norm_biases(model) if scale != 1 else set()
    named = [
        (name, part) for name, part in model.named_parameters() if not (apart and name.startswith(ADAPT_PREFIX))
    ]
    rest = [(name, part) for name, part in named if name not in norms]
    groups: list[dict[str, Any]] = [
        {"params": [part for _, part in rest if part.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [part for _, part in rest if part.ndim <= 1], "weight_decay": 0.0},
    ]
    if norms:
        biases = [part for name, part in named if name in norms]
        groups.append({"params": biases, "weight_decay": config.weight_decay / scale, SHARE: scale})
    if config.front_end_lr is not None:
        front = [part for name, part in model.named_parameters() if name.startswith(ADAPT_PREFIX)]
        groups.append({"params": front, "weight_decay": 0.0, SHARE: config.front_end_lr / config.peak_lr})
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.peak_lr, fused=True)
    # The fused kernel does not take parameters with momentum together with new ones: after a warm-up, or of an
    # owner without an image in the first batches.
    fused = config.warm_up == 0 and not isinstance(model, OwnersModel)
    return torch.optim.SGD(
        groups, lr=config.peak_lr, momentum=config.momentum, nesterov=config.momentum > 0, fused=fused
    )


def _list_norm_biases(model: nn.Module) -> set[str]:
    norms = (name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d))
    return {f"{name}.bias" for name in norms}


def get_learning_rate(config: TrainConfig, step: int, steps: int) -> float:
    """Learning rate of step ``step`` (from 0) of the ``steps`` of a round.

    "onecycle" (Smith and Topin 2018): from peak/25 up to the peak over the first 30 %, then down to
    peak/10,000, both along half a cosine. "cosine" only falls, to zero after the last step. "triangular" (Jordan
    2024) rises along a line from a fifth of the peak, and falls along a line.
    """
    peak = config.peak_lr
    done = step / steps
    if config.schedule == "constant":
        return peak
    if config.schedule == "triangular":
        return peak * float(np.interp(done, *TRIANGLE))
    if config.schedule == "cosine":
        return _anneal(peak, 0.0, done)
    if done < WARM_UP:
        return _anneal(peak * START_FRACTION, peak, done / WARM_UP)
    return _anneal(peak, peak * END_FRACTION, (done - WARM_UP) / (1 - WARM_UP))


def _anneal(start: float, end: float, done: float) -> float:
    return end + (start - end) * (1 + cos(pi * done)) / 2


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of all parameter groups, or their share of it."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get(SHARE, 1.0)


def get_optimizer_tensors(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """The optimizer's state as ``parameter name:kind`` -> tensor (momentum_buffer, exp_avg, step, ...)."""
    return {
        f"{name}:{kind}": value
        for name, parameter in model.named_parameters()
        for kind, value in optimizer.state[parameter].items()
        if isinstance(value, Tensor)
    }


def set_optimizer_tensors(optimizer: torch.optim.Optimizer, model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Inverse of ``get_optimizer_tensors``: restore the optimizer's state."""
    parameters = dict(model.named_parameters())
    for label, value in tensors.items():
        name, kind = label.rsplit(":", 1)
        parameter = parameters[name]
        # The fused kernels read state and parameter in memory order, so both need the same strides.
        matches = value.shape == parameter.shape
        optimizer.state[parameter][kind] = (
            torch.empty_like(parameter, requires_grad=False).copy_(value) if matches else value
        )
