"""The bar of a run in napari's activity dialog."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.utils import progress as napari_progress
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QLabel, QMainWindow, QStatusBar

if TYPE_CHECKING:
    from qtpy.QtGui import QMovie

    from napari_vdip.result import Progress


class Bar:
    """Progress bar in napari's activity dialog, over all slices of a stack.

    A stack has no second bar nested in it: napari 0.9 with PyQt6 crashes (null pointers in
    ``findChildren``) when nested bars end while the activity dialog is closed. Each change of a
    bar lets napari handle events, so any call below may happen within another.

    The wheel that napari turns beside it is turned by the fit: at its own pace each of its 30 pictures a
    second has the whole window put together anew, which took more than half a core where there was no
    graphics card (docs/benchmarks/viewer.md).
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._bar: Any = None
        self._changing = self._closed = False

    def show(self, progress: Progress) -> None:
        """Show where a fit is."""
        if self._changing or self._closed:
            return
        self._changing = True
        try:
            self._change(progress)
        finally:
            self._changing = False
            if self._closed:
                self._remove()

    def close(self) -> None:
        """Remove the bar for good."""
        self._closed = True
        if not self._changing:
            self._remove()

    def _change(self, progress: Progress) -> None:
        text = f"deblurring {self._name}"
        if progress.slices > 1:
            text += f", slice {progress.slice_index + 1} of {progress.slices}"
        text += f", {progress.stage}"
        if self._bar is None:
            # A fit that goes on does not begin at 0: else the time left would come out too short.
            self._bar = napari_progress(total=progress.steps, initial=progress.step, desc=text)
        elif self._bar.desc.removesuffix(": ") != text:
            self._bar.set_description(text)
        for wheel in _wheels():
            wheel.setPaused(True)
            wheel.jumpToNextFrame()
        self._bar.update(progress.step - self._bar.n)

    def _remove(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
            for wheel in _wheels():  # another plugin's bar may still be there
                wheel.setPaused(False)


def _wheels() -> list[QMovie]:
    """Find what turns in the status bar of each viewer while there is a bar."""
    windows = [window for window in QApplication.topLevelWidgets() if isinstance(window, QMainWindow)]
    only = Qt.FindChildOption.FindDirectChildrenOnly
    bars = [bar for window in windows for bar in window.findChildren(QStatusBar, options=only)]
    labels = [label for bar in bars for label in bar.findChildren(QLabel)]
    return [movie for movie in (label.movie() for label in labels) if movie is not None]
