"""Hardware settings of a run: device, precision, threads, random state."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from cipherlens.errors import UsageError
from cipherlens.processor import name_processor

RESIDENT_LIMIT = 4 * 1024**3
"""Maximum bytes of images that stay on the device during training. A limit on memory."""


def choose_device() -> torch.device:
    """The device that accelerate chooses. Raises UsageError for a distributed launch: a run is one process."""
    from accelerate import PartialState

    # Accelerator is not used, because the first one fixes the precision for the whole process.
    state: Any = PartialState()
    if state.num_processes > 1:
        raise UsageError("a run trains in one process", hint="start it without torchrun or accelerate launch")
    device: torch.device = state.device
    return device


def choose_precision(precision: str, device: torch.device) -> str:
    """Resolve "auto" to bf16 where the device supports it, otherwise float32."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    if device.type == "cpu" and torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return "bf16" if torch.ops.mkldnn._is_mkldnn_bf16_supported() else "float32"
    return "float32"


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Context in which the forward pass runs at ``precision`` ("bf16" or "float32")."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def get_memory_budget(device: torch.device) -> int:
    """Bytes of images that may stay on the device: on a GPU at most a quarter of its free memory."""
    if device.type == "cuda":
        return min(RESIDENT_LIMIT, torch.cuda.mem_get_info(device)[0] // 4)
    return RESIDENT_LIMIT


@contextmanager
def isolate(device: torch.device, threads: int) -> Iterator[None]:
    """Run with ``threads`` CPU threads (0: unchanged); afterwards restore torch's random state and threads."""
    before = torch.get_num_threads()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            if threads:
                torch.set_num_threads(threads)
            yield
        finally:
            torch.set_num_threads(before)


def describe_hardware(device: torch.device) -> str:
    """One line for the model card: processor or GPU, threads, torch version."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}"
    return f"{name_processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
