"""What the views show of a fit, kept for as long as its layers may come back. No Qt."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_vdip.psf import PixelSize
    from napari_vdip.result import History, Result

_KEPT = 8  # runs; one level of undo needs two, the others are there to be selected


@dataclass(frozen=True)
class Seen:
    """The part of a result that is small: no image is held by it.

    Attributes
    ----------
    kernel : ndarray, (slices..., Kh, Kw)
    history : History
    report : dict
        The very one that the layers of this fit carry.
    name : str
        Of the layer that was deblurred.
    pixel_size : PixelSize
    """

    kernel: npt.NDArray[Any]
    history: History
    report: dict[str, Any]
    name: str
    pixel_size: PixelSize

    @classmethod
    def of(cls, result: Result, name: str, pixel_size: PixelSize) -> Seen:
        """Take what is seen from a result."""
        return cls(result.kernel, result.history, result.report, name, pixel_size)


class Album:
    """The last runs, found again by the report that their layers carry."""

    def __init__(self) -> None:
        self._kept: deque[Seen] = deque(maxlen=_KEPT)

    def keep(self, seen: Seen) -> None:
        """Keep one more."""
        self._kept.append(seen)

    def find(self, report: dict[str, Any]) -> Seen | None:
        """Find the one with this very report."""
        return next((seen for seen in self._kept if seen.report is report), None)
