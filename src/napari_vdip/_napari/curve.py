"""The course of a fit, drawn: misfit against the noise, change of the kernel, objective.

Three small plots over one axis of steps, as their units differ. pyqtgraph draws them: a curve of some
thousand points takes it a few milliseconds, which the viewer does not notice.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pyqtgraph as pg
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_vdip.diagnosis import rest_step

if TYPE_CHECKING:
    from napari_vdip._napari.colours import Colours
    from napari_vdip.result import History

_HEIGHT = 310  # px on the screen, all three
_PLOTS = (("misfit", True), ("change", True), ("objective", False))  # name, and whether on a log scale
_DIGITS = ((1, 2, 5), (1, 3), (1,))  # round numbers within a power of ten
_LABELS = 4  # on an axis
_TOOLTIPS = {
    "misfit": "Root mean square difference between the image and the blurred result, in the image's "
    "intensities. The dotted line is the noise read from the image: the polish ends a little below it, as "
    "an image of as many pixels follows a part of the noise.",
    "change": "How much of the kernel's mass moves in a step. It falls as the kernel comes to rest.",
    "objective": "What is minimised. Its meaning changes after the pre-fit.",
}


class LogAxis(pg.AxisItem):  # type: ignore[misc]
    """Axis of a small logarithmic plot: round numbers, as many as have room.

    pyqtgraph's own writes up to nine numbers into each power of ten, one over another.
    """

    def tickValues(self, minVal: float, maxVal: float, size: float) -> list[tuple[float, list[float]]]:
        """Places of the ticks as log10, the finest set of at most `_LABELS`."""
        powers = range(math.floor(minVal), math.ceil(maxVal) + 1)
        finer = [[power + math.log10(digit) for power in powers for digit in set_] for set_ in _DIGITS]
        coarser = [[float(power) for power in powers if power % step == 0] for step in (2, 3, 5, 10)]
        for places in (*finer, *coarser):
            inside = [place for place in places if minVal <= place <= maxVal]
            if len(inside) <= _LABELS:
                break
        return [(1.0, inside)]

    def tickStrings(self, values: list[float], scale: float, spacing: float) -> list[str]:
        """Write the numbers plainly."""
        return [f"{10**value:.3g}" for value in values]


class CurveView(QWidget):
    """Curves of a fit, renewed while it runs.

    Attributes
    ----------
    plots : dict
        PlotItem by name: "misfit", "change", "objective".
    words : QLabel
        What the curves say.
    """

    def __init__(self) -> None:
        super().__init__()
        self._canvas = pg.GraphicsLayoutWidget()
        self._canvas.setFixedHeight(_HEIGHT)
        self._canvas.ci.layout.setContentsMargins(0, 8, 4, 8)
        self._canvas.ci.layout.setSpacing(2)
        self.plots: dict[str, Any] = {}
        self.curves: dict[str, Any] = {}
        self.marks: list[Any] = []
        for row, (name, logarithmic) in enumerate(_PLOTS):
            self._add(row, name, logarithmic)
        self.noise = pg.InfiniteLine(angle=0)
        self.plots["misfit"].addItem(self.noise, ignoreBounds=False)
        self.words = QLabel()
        self.words.setWordWrap(True)
        self.words.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 6, 0, 0)
        layout.addWidget(self._canvas)
        layout.addWidget(self.words)

    def _add(self, row: int, name: str, logarithmic: bool) -> None:
        """Add the plot of a row, with its curve and the mark of where more steps gain little."""
        axes = {"left": LogAxis("left")} if logarithmic else {}
        plot = self._canvas.addPlot(row=row, col=0, axisItems=axes)
        plot.setMenuEnabled(False)
        plot.hideButtons()
        plot.setMouseEnabled(False, False)
        plot.setLogMode(y=logarithmic)
        plot.setToolTip(_TOOLTIPS[name])
        plot.getAxis("left").setWidth(62)
        plot.getAxis("left").enableAutoSIPrefix(False)
        plot.getAxis("left").setStyle(hideOverlappingLabels=True)  # at the ends: they meet the next plot's
        plot.setLabel("left", name)
        if row < len(_PLOTS) - 1:
            plot.getAxis("bottom").setStyle(showValues=False)
        else:
            plot.setLabel("bottom", "step")
            plot.getAxis("bottom").setHeight(38)  # numbers and the word, which else is cut off
        if self.plots:
            plot.setXLink(self.plots["misfit"])
        mark = pg.InfiniteLine(angle=90)
        mark.setVisible(False)
        plot.addItem(mark)
        self.plots[name], self.curves[name] = plot, plot.plot()
        self.marks.append(mark)

    def paint_in(self, colours: Colours) -> None:
        """Take on the colours of a theme."""
        self._canvas.setBackground(colours.paper)
        for name, plot in self.plots.items():
            for side in ("left", "bottom"):
                axis = plot.getAxis(side)
                axis.setPen(colours.faint)
                axis.setTextPen(colours.ink)
            self.curves[name].setPen(colours.curve, width=1.5)
        for mark in self.marks:
            mark.setPen(colours.mark, width=1.5, style=Qt.PenStyle.DashLine)
        self.noise.setPen(colours.ink, width=1, style=Qt.PenStyle.DotLine)

    def show_history(self, history: History, noise_std: float) -> None:
        """Show the course of the fit of one image.

        Parameters
        ----------
        history : History
        noise_std : float
            Noise of the image, in the units of ``history.misfit``; 0: not known.
        """
        values = {"misfit": history.misfit, "change": history.kernel_change, "objective": history.objective}
        for name, logarithmic in _PLOTS:
            shown = np.where(np.isfinite(values[name]), values[name], np.nan).astype(np.float64)
            if logarithmic:  # a kernel that is held does not change at all
                shown = np.where(shown > 0, shown, np.nan)
            self.curves[name].setData(history.steps, shown, connect="finite")
        self.noise.setVisible(noise_std > 0)
        if noise_std > 0:
            self.noise.setPos(np.log10(noise_std))
        rest = rest_step(history, noise_std)
        for mark in self.marks:
            mark.setVisible(rest is not None)
            if rest is not None:
                mark.setPos(rest)
        self.words.setText(in_words(history, noise_std, rest))


def in_words(history: History, noise_std: float, rest: int | None) -> str:
    """Say what the curves of a fit show."""
    if not history.steps.size:
        return "No steps yet."
    times = f"Misfit {history.misfit[-1]:.3g}"
    if noise_std > 0:
        times += f", {history.misfit[-1] / noise_std:.1f} times the noise of {noise_std:.3g} (dotted)"
    if rest is None:
        return f"{times}. More steps may still gain something."
    return f"{times}. From step {rest:,} (dashed) more steps gain little."
