"""What a process frees stays in it: counted in page faults, not in seconds."""

import platform
import subprocess
import sys

import pytest

COUNT_FAULTS = """
import resource, sys
import numpy as np
from cipherlens.memory import disable_malloc_trim
kept = sys.argv[1] == "keep" and disable_malloc_trim()
def use():
    np.empty(16 * 1024**2, np.float32).fill(1)
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    use()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def count_faults(way: str) -> tuple[bool, int]:
    command = [sys.executable, "-c", COUNT_FAULTS, way]
    kept, faults = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return kept == "True", int(faults)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")
def test_a_block_that_was_freed_is_used_again_without_page_faults() -> None:
    kept, faults = count_faults("keep")
    _, usual = count_faults("give back")
    assert kept
    assert faults < usual / 10
