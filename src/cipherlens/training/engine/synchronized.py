"""BatchNorm over the batch of all processes. Torch's own SyncBatchNorm does that on GPUs only.

No module is replaced, so weights keep their names and layers their classes.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, distributed
from torch.nn import functional as F
from torch.nn.modules._functions import SyncBatchNorm
from torch.overrides import TorchFunctionMode


class SynchronizedNorms(TorchFunctionMode):
    """Context in which each BatchNorm that trains takes mean and variance over the images of all processes."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """As torch defines it: stands in for ``func``."""
        given = dict(kwargs or {})
        if func is F.batch_norm and _is_training(*args, **given):
            return _normalize(*args, **given)
        return func(*args, **given)


def _is_training(
    inputs: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    *rest: Any,
    **others: Any,
) -> bool:
    return training


def _normalize(
    inputs: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    channels = inputs.shape[1]
    weight = inputs.new_ones(channels, dtype=torch.float32) if weight is None else weight
    bias = inputs.new_zeros(channels, dtype=torch.float32) if bias is None else bias
    if inputs.is_cuda:
        count, group = distributed.get_world_size(), distributed.group.WORLD
        facts = (running_mean, running_var, eps, momentum, group, count)
        found: Tensor = SyncBatchNorm.apply(inputs.contiguous(), weight, bias, *facts)
        return found
    normalized: Tensor = _BatchNorm.apply(inputs, weight, bias, running_mean, running_var, momentum, eps)
    return normalized


class _BatchNorm(torch.autograd.Function):
    """Batch normalisation (Ioffe and Szegedy 2015) with one exchange of sums forward, and one backward."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        weight: Tensor,
        bias: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        momentum: float,
        eps: float,
    ) -> Tensor:
        """``inputs`` (N, C, ...) normalised by mean and variance over all processes; running ones are updated."""
        mean, variance, count = _gather_statistics(inputs)
        if running_mean is not None and running_var is not None:
            running_mean.lerp_(mean.to(running_mean), momentum)
            running_var.lerp_((variance * (count / (count - 1))).to(running_var), momentum)
        ctx.save_for_backward(inputs, weight, mean, (variance + eps).rsqrt())
        ctx.count = count
        return F.batch_norm(inputs, mean.to(weight), variance.to(weight), weight, bias, False, 0.0, eps)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of inputs, weight and bias; the last two are this process's part."""
        inputs, weight, mean, scale = ctx.saved_tensors
        axes, shape = _list_axes(inputs), (1, -1) + (1,) * (inputs.ndim - 2)
        normalized = (inputs - mean.view(shape)) * scale.view(shape)
        own = torch.stack([gradient.sum(axes, dtype=mean.dtype), (gradient * normalized).sum(axes)])
        total = own.clone()
        distributed.all_reduce(total)
        shift, slope = (total / ctx.count).view(2, *shape)
        rest = gradient - shift - normalized * slope
        found = (rest * (weight * scale).view(shape)).to(inputs.dtype)
        return found, own[1].to(weight.dtype), own[0].to(weight.dtype), None, None, None, None


def _list_axes(inputs: Tensor) -> list[int]:
    return [axis for axis in range(inputs.ndim) if axis != 1]


def _gather_statistics(inputs: Tensor) -> tuple[Tensor, Tensor, float]:
    """Mean (C,) and variance (C,) over the inputs of all processes, and the number of values per channel."""
    values = inputs if inputs.dtype == torch.float64 else inputs.float()
    variance, mean = torch.var_mean(values, _list_axes(values), correction=0)
    own = torch.cat([mean, variance, mean.new_tensor([values.numel() // values.shape[1]])])
    parts = [torch.empty_like(own) for _ in range(distributed.get_world_size())]
    distributed.all_gather(parts, own)
    stacked = torch.stack(parts)
    counts, means, variances = stacked[:, -1:], *stacked[:, :-1].chunk(2, dim=1)
    total = counts.sum()
    mean = (counts * means).sum(0) / total
    variance = (counts * (variances + (means - mean) ** 2)).sum(0) / total
    return mean, variance, float(total)
