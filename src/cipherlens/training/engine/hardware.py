"""Hardware settings of a run: device, precision, threads, random state."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from cipherlens.processor import name_processor

RESIDENT_LIMIT = 4 * 1024**3
"""Maximum bytes of images that stay on the device during training. A limit on memory."""


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


def get_memory_budget(device: torch.device, processes: int = 1) -> int:
    """Bytes of images that each process on the machine may keep: on a GPU at most a quarter of what is free."""
    if device.type == "cuda":
        return min(RESIDENT_LIMIT, torch.cuda.mem_get_info(device)[0] // 4)
    return RESIDENT_LIMIT // processes


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


def describe_hardware(device: torch.device, processes: int = 1) -> str:
    """One line for the model card: processor or GPU, processes if several, threads, torch version."""
    several = f"{processes} processes, " if processes > 1 else ""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, {several}torch {torch.__version__}"
    return f"{name_processor()}, {several}{torch.get_num_threads()} threads, torch {torch.__version__}"
