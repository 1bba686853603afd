"""Freed memory during a fit: the next step takes it. The heap of glibc, and torch's on a GPU.

A step makes and drops some hundred arrays of many megabytes. glibc hands each of that size back to the
system at once and asks for it again, and the system fills every page with zeros: that took a fifth
of the processor time of a step at 256 x 256 px and almost half at 512 x 512 (docs/benchmarks/scaling.md). On
a GPU torch keeps what was freed by itself, but for ever.
"""

from __future__ import annotations

import ctypes
import platform
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # names of mallopt(3)
_DURING_MMAP, _DURING_TRIM = (
    1 << 30,
    -1,
)  # bytes: all but the largest blocks come from the heap; it never shrinks
# Where glibc's own adjustment ends: once set, a threshold is not adjusted any more.
_AFTER_MMAP, _AFTER_TRIM = 32 << 20, 64 << 20

_lock = threading.Lock()
_users = 0


@contextmanager
def kept() -> Iterator[None]:
    """Keep freed memory in the process meanwhile, and give it back at the end.

    It may be entered several times, in several threads; the last to leave gives the memory back. The
    C library's part does nothing where that is not glibc.
    """
    library = ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
    _enter(library)
    try:
        yield
    finally:
        last = _leave(library)
        if last and torch.cuda.is_available():
            # cuBLAS keeps 32 MiB and more for each stream; torch's manual names this way only.
            torch._C._cuda_clearCublasWorkspaces()
            torch.cuda.empty_cache()


def _enter(library: ctypes.CDLL | None) -> None:
    global _users
    with _lock:
        _users += 1
        if library is not None and _users == 1:
            library.mallopt(_MMAP_THRESHOLD, _DURING_MMAP)
            library.mallopt(_TRIM_THRESHOLD, _DURING_TRIM)


def _leave(library: ctypes.CDLL | None) -> bool:
    """Give back the C library's part; whether nobody is left."""
    global _users
    with _lock:
        _users -= 1
        if library is not None and _users == 0:
            library.mallopt(_MMAP_THRESHOLD, _AFTER_MMAP)
            library.mallopt(_TRIM_THRESHOLD, _AFTER_TRIM)
            library.malloc_trim(0)
        return _users == 0
