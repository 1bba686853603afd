"""The fitted model of a result in the viewer, as a file: a menu entry of napari."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from napari.utils.notifications import show_error, show_info
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QFileDialog

from napari_vdip._napari import family, pixels
from napari_vdip._napari.layers import METADATA_KEY
from napari_vdip.errors import InvalidInput, VdipError

if TYPE_CHECKING:
    import napari
    from napari.layers import Layer

    from napari_vdip.result import Result

# Of each deblurred layer, the last result and the one that Undo brings back: the layer, and what
# can be undone, hold their arrays anyway. A layer that is gone takes its results with it.
_results: weakref.WeakKeyDictionary[Layer, list[Result]] = weakref.WeakKeyDictionary()
_KEPT = 2


def remember(layer: Layer | None, result: Result) -> None:
    """Keep the result that a deblurred layer shows, so that its model can be saved."""
    if layer is not None:
        _results[layer] = [*_results.get(layer, []), result][-_KEPT:]


def result_of(viewer: napari.Viewer) -> tuple[Result, Layer]:
    """Find the result that the selected layer belongs to, and its deblurred layer.

    Raises
    ------
    InvalidInput
        If it belongs to none, or the run was not of this session.
    """
    active = viewer.layers.selection.active
    report = None if active is None else active.metadata.get(METADATA_KEY)
    if report is None:
        raise InvalidInput("select the deblurred image (or its kernel or uncertainty) whose model is wanted")
    for layer in family.of_report(viewer, report).values():
        for result in _results.get(layer, []):
            if result.report is report:
                return result, layer
    raise InvalidInput(
        f"the network behind {active.name!r} is not there: it is kept while the deblurred layer of its run "
        "is in the viewer, and not stored with layers; run again to save it"
    )


def save_fitted_model() -> None:
    """Ask for a file and write the model of the selected layer into it."""
    from napari import current_viewer

    viewer = current_viewer()
    if viewer is None:
        return
    try:
        result, layer = result_of(viewer)
        path, kind = QFileDialog.getSaveFileName(
            viewer.window._qt_window,
            "Save fitted model",
            f"{layer.name}.pt",
            "TorchScript (*.pt);;ONNX (*.onnx)",
        )
        if not path:
            return
        if not path.lower().endswith((".pt", ".onnx")):
            path += ".onnx" if "onnx" in kind else ".pt"
        size = pixels.size_of(layer)
        sizes = {"Y": (size.height, size.unit), "X": (size.width, size.unit)} if size.known else None
        QApplication.setOverrideCursor(Qt.CursorShape.WaitCursor)  # ONNX takes some seconds
        try:
            result.save_model(path, sizes)
        finally:
            QApplication.restoreOverrideCursor()
    except (VdipError, OSError) as error:
        show_error(str(error))
    else:
        show_info(f"Saved {path}")
