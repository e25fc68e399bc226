"""What becomes of the memory of freed tensors on the CPU."""

from __future__ import annotations

import ctypes
import sys

from digan_fast import dispatch

# <malloc.h>
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MOST = 2**31 - 1


def keep_freed_memory(keep: bool) -> None:
    """Keep freed memory for the next tensors, or give back what tensors of 4 MiB and more held; for the whole process.

    By default glibc maps large tensors afresh and the kernel zeroes them page by page, but for the native ops' large
    results, which are made of freed ones' pages.  Of torch's own tensors it takes care where the C library is glibc.
    """
    if dispatch.backends()["native"] is None:
        dispatch.native_module().keep_freed_results(keep)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 2**30 if keep else 2**22)
        mallopt(_M_TRIM_THRESHOLD, _MOST if keep else 2**22)
