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
        if func is F.batch_norm:
            return _normalize(*args, **given)
        return func(*args, **given)


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
    """In place of ``F.batch_norm``."""
    if not training:
        return F.batch_norm(inputs, running_mean, running_var, weight, bias, False, momentum, eps)
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
        mean, variance, count = _add_statistics(inputs, weight)
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
        facts = (gradient, inputs, weight, None, None, mean, scale, True, 0.0, [False, True, True])
        _, own_weight, own_bias = torch.ops.aten.native_batch_norm_backward(*facts)
        total = torch.stack([own_bias, own_weight])
        distributed.all_reduce(total)
        shift, slope = total / ctx.count
        factor = weight * scale
        # factor * (gradient - shift - (inputs - mean) * scale * slope), by torch's kernel for scaling channels
        bent = factor * scale * slope
        found = _scale(gradient, factor, -factor * shift) + _scale(inputs, -bent, bent * mean)
        return found, own_weight, own_bias, None, None, None, None


def _scale(values: Tensor, factor: Tensor, shift: Tensor) -> Tensor:
    """``values`` (N, C, ...) times a factor per channel, plus a shift; one pass over the memory."""
    return F.batch_norm(values, torch.zeros_like(factor), torch.ones_like(factor), factor, shift, False, 0.0, 0.0)


def _add_statistics(inputs: Tensor, like: Tensor) -> tuple[Tensor, Tensor, float]:
    """Mean (C,) and variance (C,) over the inputs of all processes, and the number of values per channel."""
    ignored = torch.zeros_like(like), torch.zeros_like(like)
    mean, variance = (found.double() for found in torch.batch_norm_update_stats(inputs, *ignored, 0.0))
    own = inputs.numel() // inputs.shape[1]
    # In float64 the square of a large mean leaves the variance its digits.
    total = torch.cat([own * mean, own * (variance + mean**2), mean.new_tensor([own])])
    distributed.all_reduce(total)
    count = float(total[-1])
    mean, squares = (total[:-1] / count).chunk(2)
    return mean.to(like), (squares - mean**2).to(like), count
