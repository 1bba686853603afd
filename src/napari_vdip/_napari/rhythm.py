"""How often what is seen of a running fit is renewed.

Drawing takes the same cores that the fit works on, most of all where there is no graphics card.
"""

from __future__ import annotations

import time

from qtpy.QtCore import QTimer

INTERVAL = 0.5  # s; at most so often
_LONGEST = 2.0  # s; at least so often, if there is something new
_SHARE = 0.05  # of the time is spent on drawing, within these limits


class Rhythm:
    """Tells when to draw next, by how long it took the last time."""

    def __init__(self) -> None:
        self._begun, self._took = -float("inf"), 0.0

    def wait(self) -> float:
        """Seconds until it is time; not positive: it is."""
        interval = min(max(INTERVAL, self._took / _SHARE), _LONGEST)
        return self._begun + interval - time.monotonic()

    def begin(self) -> None:
        """Note that one draws now; it ends when the window has nothing else to do."""
        self._begun = time.monotonic()
        QTimer.singleShot(0, self._drawn)

    def _drawn(self) -> None:
        self._took = time.monotonic() - self._begun
