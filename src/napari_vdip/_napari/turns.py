"""Short turns at Python's lock while a fit runs, so that the window does not wait for it.

Qt gives the lock away at every call that may take long, and has to ask for it again. A worker that is
in Python code (TorchScript is compiled there) gives it back after `sys.getswitchinterval`, 5 ms by
default: a preview of a hundred such calls was held up by up to a third of a second.
"""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

_SHORT = 5e-4  # s
_lock = threading.Lock()
_running: list[float] = []  # for each fit that runs, the interval before the first of them


@contextmanager
def short() -> Generator[None]:
    """Make the threads of this process take short turns; fits may overlap, the last to end sets it back."""
    with _lock:
        _running.append(_running[0] if _running else sys.getswitchinterval())
        sys.setswitchinterval(min(_SHORT, _running[0]))
    try:
        yield
    finally:
        with _lock:
            before = _running.pop()
            if not _running:
                sys.setswitchinterval(before)
