"""What happens to the memory of freed CPU tensors."""

from __future__ import annotations

import ctypes
import sys

from digan_fast import dispatch

# <malloc.h>
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MOST = 2**31 - 1


def keep_freed_memory(keep: bool) -> None:
    """Keep freed memory for later tensors, or return that of tensors of 4 MiB and more; for the whole process.

    By default glibc maps large tensors anew and the operating system zeroes them page by page, except for large results
    of the native ops, which reuse freed pages: at most 2 GB, which go back to the system as other memory grows.  For
    torch's own tensors this has an effect only with glibc.
    """
    if dispatch.backends()["native"] is None:
        dispatch.native_module().keep_freed_results(keep)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 2**30 if keep else 2**22)
        mallopt(_M_TRIM_THRESHOLD, _MOST if keep else 2**22)
