"""Keep freed memory in the process.

glibc returns every freed block of more than 32 MiB to the system. Networks allocate their activations in every
step, ciphers and attacks in every batch. The page faults take much time (benchmarks/measure/page_faults.py).
"""

import ctypes
import sys

# Numbers of mallopt's parameters, from glibc's malloc.h.
_TRIM_THRESHOLD = -1  # free bytes at the top of the heap above which they are returned
_TOP_PAD = -2  # extra bytes by which the heap grows
_MMAP_MAX = -4  # number of blocks that may be allocated outside the heap
_GROWTH = 256 * 1024**2
"""The heap grows by this many extra bytes at a time, so that it grows rarely. Chosen by hand."""
_NEVER = 2**31 - 1
"""Trim threshold that is never reached: the largest value of mallopt's int argument."""


def disable_malloc_trim() -> bool:
    """Let this process keep the memory it frees, where the C library is glibc.

    Returns whether the C library accepted the setting. It holds until the process ends and changes no result. The
    process keeps its peak memory.
    """
    if not sys.platform.startswith("linux"):
        return False
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is None:
        return False
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _NEVER), (_TOP_PAD, _GROWTH))
    return all(set_option(option, value) == 1 for option, value in settings)
