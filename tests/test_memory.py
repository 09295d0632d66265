"""What a process frees stays in it: counted in page faults, not in seconds."""

import platform
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")

COUNT_FAULTS = """
import resource, sys, torch
from cipherlens.train.memory import keep_freed_memory
kept = keep_freed_memory(torch.device(sys.argv[1]))
def use():
    torch.empty(16 * 1024**2).fill_(1.0)
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    use()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def count_faults(device: str) -> tuple[bool, int]:
    command = [sys.executable, "-c", COUNT_FAULTS, device]
    kept, faults = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return kept == "True", int(faults)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")
def test_a_block_that_was_freed_is_used_again_without_page_faults() -> None:
    kept, faults = count_faults("cpu")
    left, usual = count_faults("cuda")  # memory of an accelerator is torch's own: nothing is set
    assert (kept, left) == (True, False)
    assert faults < usual / 10
