"""The kernel in view: its picture on axes in px, how wide it is, and what can be done with it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pyqtgraph as pg
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_vdip.psf import PixelSize, half_maximum

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_vdip._napari.colours import Colours
    from napari_vdip.psf import HalfMaximum

_SIDE = 190  # px on the screen
_ROUND = 1.05  # length over width up to which a direction says nothing


class KernelView(QWidget):
    """Picture of a kernel, the outline of what is above half its peak, and its size in words.

    Attributes
    ----------
    picture : PlotWidget
    words : QLabel
    use, save : QPushButton
    """

    def __init__(self) -> None:
        super().__init__()
        self.picture = pg.PlotWidget()
        self.picture.setFixedSize(_SIDE, _SIDE)
        self.picture.setToolTip(
            "The kernel on axes in px. The line encloses all that is above half its peak."
        )
        plot = self.picture.getPlotItem()
        plot.setMenuEnabled(False)
        plot.hideButtons()
        plot.setMouseEnabled(False, False)
        plot.setAspectLocked(True)
        plot.invertY(True)
        for side in ("left", "bottom"):
            plot.getAxis(side).setStyle(tickLength=-4, hideOverlappingLabels=True)  # at the ends: cut off
        self._image = pg.ImageItem(axisOrder="row-major")
        self._outline = pg.PlotCurveItem(connect="finite")
        plot.addItem(self._image)
        plot.addItem(self._outline)
        self.words = QLabel()
        self.words.setWordWrap(True)
        self.words.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.words.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.use = QPushButton("Use as kernel")
        self.use.setToolTip(
            "Choose this kernel for the next run, held as it is: to deblur other images of the same "
            "instrument. Advanced has the field."
        )
        self.save = QPushButton("Save kernel...")
        self.save.setToolTip("Write a float32 TIFF with the pixel size, and the report of the fit beside it.")
        self._arrange()
        half_maximum(np.eye(3))  # loads what would halt the viewer at the first snapshot of a run

    def _arrange(self) -> None:
        row = QHBoxLayout()
        row.addWidget(self.picture)
        row.addWidget(self.words, 1)
        buttons = QHBoxLayout()
        buttons.addWidget(self.use)
        buttons.addWidget(self.save)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 6, 0, 0)
        layout.addLayout(row)
        layout.addLayout(buttons)

    def paint_in(self, colours: Colours) -> None:
        """Take on the colours of a theme."""
        self.picture.setBackground(colours.paper)
        for side in ("left", "bottom"):
            axis = self.picture.getPlotItem().getAxis(side)
            axis.setPen(colours.faint)
            axis.setTextPen(colours.ink)
        self._outline.setPen(colours.mark, width=1.5)

    def show_kernel(self, kernel: npt.NDArray[Any], pixel_size: PixelSize) -> None:
        """Show a kernel (h, w) of an image with pixels of a known size, or of 1 pixel."""
        if not np.isfinite(kernel).all():
            self._image.clear()
            self._outline.setData([], [])
            self.words.setText("No kernel yet.")
            return
        height, width = kernel.shape
        self._image.setImage(kernel, levels=(0.0, float(kernel.max()) or 1.0))
        self._image.setRect(-width / 2, -height / 2, width, height)
        self.picture.setRange(xRange=(-width / 2, width / 2), yRange=(-height / 2, height / 2), padding=0.02)
        found = half_maximum(kernel)
        self._outline.setData(*_joined(found))
        real = half_maximum(kernel, (pixel_size.height, pixel_size.width)) if pixel_size.known else None
        self.words.setText(in_words(kernel.shape, found, real, pixel_size.unit))


def _joined(found: HalfMaximum | None) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Join the lines of an outline into one, NaN in between; across and down."""
    if found is None:
        return np.zeros(0), np.zeros(0)
    gap = np.full((1, 2), np.nan)
    lines = np.concatenate([part for line in found.outline for part in (line, gap)])
    return lines[:, 1], lines[:, 0]


def in_words(shape: tuple[int, ...], found: HalfMaximum | None, real: HalfMaximum | None, unit: str) -> str:
    """Say how wide a kernel is.

    Parameters
    ----------
    shape : (int, int)
        Of its window, in px.
    found, real : HalfMaximum or None
        Measured in px, and in `unit` where there is one.
    unit : str
        As pint writes it.
    """
    lines = [f"Window {shape[0]} x {shape[1]} px"]
    if found is None:
        return lines[0]
    short = _short(unit) if real else ""
    lines += ["", "Width at half maximum:"]
    lines += [_sides(measure, name) for measure, name in ((found, "px"), (real, short)) if measure]
    lines += ["", "Disc of the same area:"]
    lines += [f"{m.diameter:.3g} {name}" for m, name in ((found, "px"), (real, short)) if m]
    if found.length > _ROUND * found.width:
        lines += ["", f"Long axis at {found.angle:.0f}\u00b0"]
    return "\n".join(lines)


def _sides(found: HalfMaximum, unit: str) -> str:
    if math.isclose(found.length, found.width, rel_tol=_ROUND - 1):
        return f"{(found.length + found.width) / 2:.3g} {unit}"
    return f"{found.length:.3g} x {found.width:.3g} {unit}"


def _short(unit: str) -> str:
    """Symbol of a unit: µm for micrometer."""
    import pint

    registry = pint.get_application_registry()  # type: ignore[no-untyped-call]
    return f"{registry.Unit(unit):~P}"
