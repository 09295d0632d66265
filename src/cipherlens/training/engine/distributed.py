"""One training in several processes, started by torchrun or accelerate launch: who is who, and what they add up."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed

from cipherlens.errors import UsageError

_SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
_RANKS = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")
"""Variables in which torchrun and MPI's launchers say how many processes there are, and which this one is."""


@dataclass(frozen=True)
class Processes:
    """The processes of one training; ``index`` is this one's number, and 0 writes all files."""

    device: torch.device
    count: int = 1
    index: int = 0

    @property
    def is_main(self) -> bool:
        """Whether this process writes and reports."""
        return self.index == 0

    @property
    def on_this_machine(self) -> int:
        """How many of the processes run on this machine, as the launcher says."""
        return max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1"))) if self.count > 1 else 1

    def share(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """The part of ``indices`` (n,) that is this process's; the parts differ by one at most."""
        return np.array_split(indices, self.count)[self.index]

    def add(self, tensor: Tensor) -> Tensor:
        """The sum of the processes' tensors; ``tensor`` itself where there is one process."""
        if self.count == 1:
            return tensor
        total = tensor.clone()
        distributed.all_reduce(total)
        return total

    def wait(self) -> None:
        """Return when all processes have come here."""
        if self.count > 1:
            distributed.barrier()

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """Let the main process go through the body before the others, which then find its files."""
        if not self.is_main:
            self.wait()
        yield
        if self.is_main:
            self.wait()

    def only_main(self, context: AbstractContextManager[Any]) -> AbstractContextManager[Any]:
        """``context`` in the main process; in others one that does nothing."""
        return context if self.is_main else nullcontext()


def join_processes() -> Processes:
    """This process among those that the launcher started, with the device that accelerate chooses.

    Without an accelerator they speak over gloo, with one as accelerate decides.
    """
    from accelerate import PartialState
    from accelerate.utils import get_int_from_env

    launched = get_int_from_env(_SIZES, 1) > 1 and get_int_from_env(_RANKS, -1) >= 0
    if launched:
        # DistributedDataParallel imports it, and its functions' defaults are the group that there is then. They
        # would keep that group, whose threads may abort a process that ends.
        import_module("torch.distributed.nn.functional")
    # Accelerator is not used, because the first one fixes the precision for the whole process. Without being told,
    # accelerate takes processes on processors for strangers.
    with _stdout_to_stderr() if launched else nullcontext():
        state: Any = PartialState(cpu=launched and not torch.accelerator.is_available())
    return Processes(state.device, state.num_processes, state.process_index)


@contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """Stdout is for results, but gloo of torch 2.8 writes there whom it has found."""
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def leave_processes() -> None:
    """End what ``join_processes`` began, so that a launched command ends without a warning."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def check_batches(processes: Processes, images: int, batch_size: int, accumulate: int) -> None:
    """Raise UsageError where a batch has fewer images than there are parts of it."""
    batches = -(-images // batch_size)
    least, parts = images // batches, accumulate * processes.count
    if least < parts:
        raise UsageError(
            f"batches of {least} images cannot be cut into {parts} parts",
            hint="raise batch_size, or lower accumulate or the number of processes",
            parameters=("batch_size", "accumulate"),
        )
