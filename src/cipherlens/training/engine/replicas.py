"""The model as each of several processes trains it: torch's DistributedDataParallel averages the gradients."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from inspect import signature
from typing import Any

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from cipherlens.models.adaptation.network import OwnersModel
from cipherlens.training.engine.distributed import Processes
from cipherlens.training.engine.synchronized import SynchronizedNorms

_ONCE: dict[str, Any] = (
    {"forward_sync_buffers": False}
    if "forward_sync_buffers" in signature(DistributedDataParallel).parameters
    else {}
)
"""Buffers are copied when a replica is made, not before each pass. Older torch has no option that says so."""


class Replica:
    """A forward pass, which in several processes leaves the mean of their gradients behind.

    It is made anew for each epoch, because an epoch may freeze parameters. Making it copies the main process's
    weights to the others.
    """

    def __init__(self, forward: Callable[..., Tensor], model: nn.Module, processes: Processes) -> None:
        """``forward`` computes logits with ``model``, whose parameters learn."""
        self._forward = forward
        self._together: DistributedDataParallel | None = None
        if processes.count > 1:
            # Without any image of an owner in its part, a process leaves that owner's network unused.
            unused = isinstance(model, OwnersModel)
            self._together = DistributedDataParallel(_Pass(forward, model), find_unused_parameters=unused, **_ONCE)
            if not _ONCE:
                self._together.broadcast_buffers = False

    def __call__(self, *inputs: Any) -> Tensor:
        """The logits; BatchNorm sees the images of all processes."""
        if self._together is None:
            return self._forward(*inputs)
        with SynchronizedNorms():
            logits: Tensor = self._together(*inputs)
        return logits

    @contextmanager
    def collecting(self, more: bool) -> Iterator[None]:
        """Context of a forward and a backward pass; while ``more`` follow, gradients stay in this process."""
        with self._together.no_sync() if more and self._together is not None else nullcontext():
            yield


class _Pass(nn.Module):
    def __init__(self, forward: Callable[..., Tensor], model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self._compute = forward

    def forward(self, *inputs: Any) -> Tensor:
        return self._compute(*inputs)
