"""Memory that a process frees stays in it.

glibc gives every freed block of more than 32 MiB back to the system. Networks ask for their activations anew in
every step, ciphers and attacks for every batch, and a good part of the time goes into page faults (measured by
benchmarks/measure/page_faults.py).
"""

import ctypes
import sys

# malloc.h
_TRIM_THRESHOLD = -1
_TOP_PAD = -2
_MMAP_MAX = -4
_GROWTH = 256 * 1024**2
_NEVER = 2**31 - 1


def disable_malloc_trim() -> bool:
    """Let this process keep the memory it frees, where the C library is glibc.

    Returns whether the C library took the setting; it holds until the process ends and changes no result. The
    process then stays as large as it has been at its largest.
    """
    if not sys.platform.startswith("linux"):
        return False
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is None:
        return False
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _NEVER), (_TOP_PAD, _GROWTH))
    return all(set_option(option, value) == 1 for option, value in settings)
