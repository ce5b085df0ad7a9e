"""How this process asks the system for memory."""

from __future__ import annotations

import ctypes
import sys

# Of malloc.h; see mallopt(3).
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4
_LARGEST = 2**31 - 1


def keep_freed_memory() -> None:
    """Has glibc keep what is freed, for the next step, which needs the same.

    By default it gives large blocks back at once and has each page of them made anew, which costs training on a CPU a
    fifth of its time. Where the C library is another one, nothing is done.
    """
    if sys.platform != "linux":
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "gnu_get_libc_version"):
        library.mallopt(_M_MMAP_MAX, 0)
        library.mallopt(_M_TRIM_THRESHOLD, _LARGEST)
