"""In an environment of its own: the menu entry opens the dock widget, and a fit makes its layers.

Usage: rehearse_widget.py SCREENSHOT.png
"""

from __future__ import annotations

import sys
import time

import napari
import numpy as np
from qtpy import API_NAME
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication, QMenu

import napari_vdip

TITLE = "Blind deconvolution (VDIP)"


def entries(menu: QMenu) -> dict[str, object]:
    """Actions of a menu and of those below it, by their texts."""
    menu.aboutToShow.emit()
    found: dict[str, object] = {}
    for action in menu.actions():
        if action.menu() is not None:
            found |= entries(action.menu())
        found[action.text().replace("&", "")] = action
    return found


def wait(until: object, seconds: float = 240.0) -> None:
    """Let Qt work until something holds."""
    end = time.monotonic() + seconds
    while not until():
        if time.monotonic() > end:
            raise SystemExit("timed out")
        QApplication.processEvents()
        time.sleep(0.01)


def main(screenshot: str) -> None:
    """Open, run, look."""
    viewer = napari.Viewer()
    random = np.random.default_rng(0)
    viewer.add_image(random.random((40, 48)), name="cells")
    window = viewer.window._qt_window
    offered = entries(
        viewer.window.layers_menu if hasattr(viewer.window, "layers_menu") else window.menuBar()
    )
    names = [name for name in offered if name.startswith(TITLE)]
    assert names, f"no menu entry {TITLE!r}; there are {sorted(offered)}"
    offered[names[0]].trigger()
    wait(lambda: any(TITLE in name for name in viewer.window._dock_widgets), 20)
    (dock,) = (dock for name, dock in viewer.window._dock_widgets.items() if TITLE in name)
    widget = dock.widget()._magic_widget if hasattr(dock.widget(), "_magic_widget") else None
    if widget is None:
        widget = dock.inner_widget()._magic_widget
    widget.preset.value, widget.kernel_size.value, widget.iterations.value = "fast", "5", 3
    widget.run.native.click()
    wait(lambda: len(viewer.layers) == 4 and widget.run.visible)
    assert [layer.name for layer in viewer.layers] == [
        "cells",
        *(f"cells {role}" for role in ("deblurred", "kernel", "uncertainty")),
    ], [layer.name for layer in viewer.layers]
    viewer.screenshot(screenshot, canvas_only=False, flash=False)
    print(f"{API_NAME}, napari {napari.__version__}, napari-vdip {napari_vdip.__version__}: {viewer.layers}")
    QTimer.singleShot(0, viewer.close)
    napari.run()


if __name__ == "__main__":
    main(sys.argv[1])
