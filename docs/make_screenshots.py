"""Make the pictures of the documentation: the real viewer, the real dock widget, a real run.

Usage, where there is no display::

    xvfb-run -a -s "-screen 0 1600x1000x24" python docs/make_screenshots.py

``--quick`` takes a few steps only, to look at the layout. Writes into ``docs/images``: ``widget.png``, the
form unfolded, and the steps of the tutorial, ``open.png``, ``running.png`` and ``result.png``.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

# The settings of a first start, not those of whoever takes the pictures; read when napari is imported.
os.environ["NAPARI_CONFIG"] = str(Path(tempfile.mkdtemp()) / "settings.yaml")

import napari
from qtpy.QtCore import QPoint, QRect
from qtpy.QtWidgets import QApplication

if TYPE_CHECKING:
    from collections.abc import Callable

IMAGES = Path(__file__).parent / "images"


def main() -> None:
    """Open, run, photograph."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few steps only, to look at the layout")
    parser.add_argument("--kernel-size", default="auto", help="what is typed into the field")
    parser.add_argument("--output", type=Path, default=IMAGES, help="folder of the pictures")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)

    viewer = napari.Viewer(show=True)
    viewer.window.resize(1600, 720)
    viewer.open_sample("napari-vdip", "photograph")
    viewer.layers.remove("photograph true image")
    dock, widget = viewer.window.add_plugin_dock_widget("napari-vdip", "Blind deconvolution (VDIP)")
    wait(lambda: "memory" in widget.outlook.text())
    settle()
    viewer.reset_view()
    settle()
    photograph(viewer, arguments.output / "open.png")
    widget.fold.click()
    settle()
    form_of(dock, widget.copy_python.native).save(str(arguments.output / "widget.png"))
    widget.fold.click()

    widget.kernel_size.value = arguments.kernel_size
    if arguments.quick:
        widget.preset.value = "fast"
        widget.iterations.value = 20
    widget.run.native.click()
    wait(lambda: widget.progress_bar.value() > 0.2 * widget.progress_bar.maximum() > 0)
    form_of(dock, widget.status).save(str(arguments.output / "running.png"))
    wait(lambda: widget.run.enabled)
    if arguments.quick:
        widget.preset.value = "balanced"
        widget.iterations.value = None
    arrange(viewer)
    settle()
    photograph(viewer, arguments.output / "result.png")
    print(widget.status.text())
    viewer.close()


def photograph(viewer: Any, path: Path) -> None:
    """Take a picture of the whole window."""
    viewer.screenshot(str(path), canvas_only=False, flash=False)


def form_of(dock: Any, last: Any) -> Any:
    """Take a picture of the dock down to one of its widgets."""
    bottom = last.mapTo(dock, QPoint(0, last.height())).y()
    return dock.grab(QRect(0, 0, dock.width(), bottom + 10))


def arrange(viewer: Any) -> None:
    """Show side by side: blurred image and true kernel, deblurred image and its kernel, uncertainty."""
    for layer in viewer.layers:
        layer.visible = True
    grid = viewer.canvas.grid
    grid.enabled, grid.shape, grid.stride = True, (1, 3), 2
    viewer.reset_view(margin=0.02)


def settle(seconds: float = 1.0) -> None:
    """Let the window draw itself."""
    end = time.monotonic() + seconds
    wait(lambda: time.monotonic() > end)


def wait(done: Callable[[], bool]) -> None:
    """Handle the window's events until something is done."""
    while not done():
        QApplication.processEvents()
        time.sleep(0.01)


if __name__ == "__main__":
    main()
