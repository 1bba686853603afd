"""What is seen of a fit beside its layers: kernel, curve and uncertainty, in tabs that one run opens.

While a run is at work they show it. Else they follow the layers: they show the fit of the selected
layer, and what Undo takes away from the layers goes from them too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QSizePolicy,
    QSpinBox,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from napari_vdip import kernelfile
from napari_vdip._napari import family
from napari_vdip._napari.colours import Colours
from napari_vdip._napari.cursor import CursorStatus
from napari_vdip._napari.curve import CurveView
from napari_vdip._napari.kernel_view import KernelView
from napari_vdip._napari.layers import METADATA_KEY
from napari_vdip._napari.rhythm import Rhythm
from napari_vdip._napari.seen import Album, Seen
from napari_vdip._napari.uncertainty_view import UncertaintyView
from napari_vdip.psf import PixelSize
from napari_vdip.result import History

if TYPE_CHECKING:
    import napari
    import numpy.typing as npt
    from napari.layers import Layer

    from napari_vdip.result import Progress, Result


class Views(QWidget):
    """Tabs with kernel, curve and uncertainty; hidden until there is something in them.

    Parameters
    ----------
    viewer : napari.viewer.Viewer

    Attributes
    ----------
    kernel : KernelView
    curve : CurveView
    uncertainty : UncertaintyView
    slice : QSpinBox
        Slice of a stack that is shown, from 1.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._seen: Seen | None = None
        self._album = Album()
        self._closed = self._at_work = False
        self._name, self._pixel_size, self._rhythm = "image", PixelSize(), Rhythm()
        self.kernel, self.curve = KernelView(), CurveView()
        self.uncertainty = UncertaintyView(viewer)
        self.slice = QSpinBox()
        self.slice.setMinimum(1)
        self._arrange()
        self._cursor = CursorStatus(viewer)
        self.slice.valueChanged.connect(self._draw)
        self.tabs.currentChanged.connect(self._draw)
        self.kernel.save.clicked.connect(self._save)
        for event in self._events():
            event.connect(self.follow)
        viewer.events.theme.connect(self._paint)
        self._paint()

    def _arrange(self) -> None:
        self.tabs = QTabWidget()
        self.tabs.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
        for name, view in (
            ("Kernel", self.kernel),
            ("Curve", self.curve),
            ("Uncertainty", self.uncertainty),
        ):
            page = QWidget()  # a view takes the height that it needs, the page that of the highest one
            column = QVBoxLayout(page)
            column.setContentsMargins(6, 0, 6, 6)
            column.addWidget(view)
            column.addStretch()
            self.tabs.addTab(page, name)
        self._slice_row = QWidget()
        row = QHBoxLayout(self._slice_row)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(QLabel("slice"))
        row.addWidget(self.slice)
        row.addStretch()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(5, 0, 0, 0)
        layout.addWidget(self._slice_row)
        layout.addWidget(self.tabs)
        self.setVisible(False)

    def _events(self) -> tuple[Any, ...]:
        """List what tells that other layers are looked at."""
        layers = self._viewer.layers
        return layers.selection.events.active, layers.events.inserted, layers.events.removed

    def begin(self, name: str, pixel_size: PixelSize) -> None:
        """Prepare for a run on a layer of some name and size of its pixels."""
        self._name, self._pixel_size = name, pixel_size

    def start(self) -> None:
        """Show what is offered from now on, whatever is selected."""
        self._at_work = True
        self._enable(False)

    def offer(self, progress: Progress) -> None:
        """Show a snapshot, if it is time."""
        if self._rhythm.wait() > 0:
            return
        self._rhythm.begin()
        self._take(Seen.of(progress.result, self._name, self._pixel_size))
        with_signals = self.slice.blockSignals(True)
        self.slice.setValue(progress.slice_index + 1)  # follows the work
        self.slice.blockSignals(with_signals)
        self._draw()

    def finish(self, result: Result) -> None:
        """Show what came out at the end or at a halt."""
        seen = Seen.of(result, self._name, self._pixel_size)
        self._album.keep(seen)
        self._take(seen)
        self._draw()

    def end(self) -> None:
        """Follow the layers again: the run is over, with a result or without."""
        self._at_work = False
        self._enable(True)
        self.follow()

    def follow(self, *_: Any) -> None:
        """Show the fit of the layers that are looked at; nothing where there is none."""
        if self._at_work:
            if self.uncertainty.isVisible():
                self.uncertainty.refresh()
            return
        found = family.in_view(self._viewer, self._seen.report if self._seen else None)
        if not found:
            self._seen = None
            self.setVisible(False)
            return
        report = next(iter(found.values())).metadata[METADATA_KEY]
        seen = self._album.find(report)
        if seen is not None and seen is not self._seen:
            self._take(seen)
        self._draw()

    def kernel_layer(self) -> Layer | None:
        """Layer of the kernel that is shown, a new one for a slice; None if it is not in the viewer."""
        seen = self._seen
        if seen is None:
            return None
        layer = family.of_report(self._viewer, seen.report).get("kernel")
        if layer is None or layer.ndim == 2:
            return layer
        size, active = seen.pixel_size, self._viewer.layers.selection.active
        alone = self._viewer.add_image(
            self._shown_kernel(seen),
            name=f"{layer.name} of slice {self.slice.value()}",
            scale=(size.height, size.width),
            units=(size.unit, size.unit),
            interpolation2d="nearest",
        )
        self._viewer.layers.selection.active = active
        return alone

    def close_down(self) -> None:
        """Listen no more to the viewer."""
        if self._closed:
            return
        self._closed = True
        self._cursor.close()
        for event in self._events():
            event.disconnect(self.follow)
        self._viewer.events.theme.disconnect(self._paint)

    def _enable(self, done: bool) -> None:
        self.kernel.use.setEnabled(done)
        self.kernel.save.setEnabled(done)

    def _take(self, seen: Seen) -> None:
        self._seen, self.uncertainty.preferred = seen, seen.report
        count = int(np.prod(seen.kernel.shape[:-2], dtype=int))
        self.slice.setMaximum(count)
        self._slice_row.setVisible(count > 1)
        self.setVisible(True)

    def _draw(self, *_: Any) -> None:
        """Renew the tab in front; the others when they come there."""
        seen, number = self._seen, self.slice.value() - 1
        if seen is None:
            return
        view = (self.kernel, self.curve, self.uncertainty)[self.tabs.currentIndex()]
        if view is self.kernel:
            self.kernel.show_kernel(self._shown_kernel(seen), seen.pixel_size)
        elif view is self.curve:
            self.curve.show_history(of_slice(seen, number), seen.report.get("noise_std", 0.0))
        else:
            self.uncertainty.refresh()

    def _shown_kernel(self, seen: Seen) -> npt.NDArray[np.float32]:
        """Kernel of the slice that is shown, (h, w)."""
        kernels = seen.kernel.reshape(-1, *seen.kernel.shape[-2:])  # (slices, Kh, Kw)
        kernel: npt.NDArray[np.float32] = kernels[self.slice.value() - 1]
        return kernel

    def _paint(self, *_: Any) -> None:
        colours = Colours.of_theme(self._viewer.theme)
        self.kernel.paint_in(colours)
        self.curve.paint_in(colours)

    def _save(self) -> None:
        """Ask for a file and write the kernel into it."""
        seen = self._seen
        if seen is None:
            return
        path, _ = QFileDialog.getSaveFileName(
            self, "Save kernel", f"{seen.name}_kernel.tif", "TIFF (*.tif *.tiff)"
        )
        if not path:
            return
        try:
            written = kernelfile.save(path, seen.kernel, seen.pixel_size, seen.report)
        except OSError as error:
            self.kernel.words.setText(f"Cannot write {path}: {error.strerror or error}")
            return
        self.kernel.words.setText(f"Written: {written[0]} and {written[1].name}")


def of_slice(seen: Seen, number: int) -> History:
    """Part of a stack's history that belongs to one slice; all of it for a single image."""
    lengths = [part["steps"] for part in seen.report.get("slices", ())]
    if not lengths:
        return seen.history
    start, stop = sum(lengths[:number]), sum(lengths[: number + 1])
    columns = ("steps", "objective", "misfit", "kernel_change", "seconds")
    return History(*(getattr(seen.history, name)[start:stop] for name in columns))
