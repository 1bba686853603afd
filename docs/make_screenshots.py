"""Make the pictures of the documentation: the real viewer, the real dock widget, real runs.

Usage, where there is no display::

    xvfb-run -a -s "-screen 0 1600x1000x24" python docs/make_screenshots.py

``--quick`` takes a few steps only, to look at the layout; ``--only stars`` makes the pictures of one
page. Writes into ``docs/images``. The runs are those of the preset ``fast``, some minutes in all.
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
import numpy as np
from qtpy.QtCore import QPoint, QRect
from qtpy.QtWidgets import QApplication

if TYPE_CHECKING:
    from collections.abc import Callable

IMAGES = Path(__file__).parent / "images"
SIZE = (1400, 800)  # px; a small laptop has no more
TABS = ("kernel", "curve", "uncertainty")


class Desk:
    """A viewer with the dock, and somebody who clicks and takes pictures.

    Parameters
    ----------
    folder : Path
        Where the pictures go.
    quick : bool
        A few steps are enough.
    """

    def __init__(self, folder: Path, quick: bool) -> None:
        self._folder, self._quick = folder, quick
        self.viewer = napari.Viewer(show=True)
        self.window = self.viewer.window._qt_window
        self.window.setGeometry(0, 0, *SIZE)
        settle()

    def menu(self, name: str, *path: str) -> None:
        """Take a picture with a menu open, down to one of its entries."""
        menus, entries = [], self.window.menuBar()
        for text in path:
            action = next(a for a in entries.actions() if text in a.text().replace("&", ""))
            corner = entries.actionGeometry(action)
            if action.menu() is None:
                entries.setActiveAction(action)
                break
            beside = corner.topRight() if menus else corner.bottomLeft()
            action.menu().popup(entries.mapToGlobal(beside))
            entries.setActiveAction(action)
            entries = action.menu()
            menus.append(entries)
            settle(0.3)
        settle()
        screen = QApplication.primaryScreen().grabWindow(0, 0, 0, 1000, 500)
        screen.save(str(self._folder / name))
        for menu in reversed(menus):
            menu.close()

    def dock(self) -> None:
        """Open the dock widget."""
        name = "Blind deconvolution (VDIP)"
        self._dock, self.form = self.viewer.window.add_plugin_dock_widget("napari-vdip", name)
        self.form.preset.value = "fast"
        wait(lambda: "memory" in self.form.outlook.text())
        settle()
        self.viewer.reset_view()

    def run(self, halfway: str = "") -> None:
        """Press Run and wait; with a picture half-way."""
        form = self.form
        form.iterations.value = 20 if self._quick else None
        form.run.native.click()
        if halfway:
            wait(lambda: form.progress_bar.value() > 0.3 * form.progress_bar.maximum() > 0)
            settle(0.6)
            self.part(halfway, form.views)
        wait(lambda: form.run.enabled)
        settle()
        print(form.status.text(), flush=True)

    def photograph(self, name: str) -> None:
        """Take a picture of the whole window."""
        settle()
        self.viewer.screenshot(str(self._folder / name), canvas_only=False, flash=False)

    def part(self, name: str, last: Any) -> None:
        """Take a picture of the form down to one of its widgets, as long as it is."""
        self.window.resize(SIZE[0], 1900)  # nothing scrolled away
        settle()
        bottom = last.mapTo(self._dock, QPoint(0, last.height())).y()
        self._dock.grab(QRect(0, 0, self._dock.width(), bottom + 10)).save(str(self._folder / name))
        self.window.resize(*SIZE)
        settle()

    def tabs(self, name: str) -> None:
        """Take a picture of each tab."""
        self.window.resize(SIZE[0], 1900)
        for number, tab in enumerate(TABS):
            self.form.views.tabs.setCurrentIndex(number)
            settle()
            self.form.views.grab().save(str(self._folder / f"{name}-{tab}.png"))
        self.form.views.tabs.setCurrentIndex(0)
        self.window.resize(*SIZE)
        settle()

    def side_by_side(self, *names: str) -> None:
        """Show these layers alone, one beside another."""
        layers, grid = self.viewer.layers, self.viewer.canvas.grid
        for layer in layers:
            layer.visible = layer.name in names
        hidden = [layer for layer in layers if not layer.visible]
        for layer in hidden:
            layers.move(layers.index(layer), 0)
        for place, name in enumerate(reversed(names)):
            layers.move(layers.index(layers[name]), len(hidden) + place)
        grid.enabled, grid.shape, grid.stride = True, (1, len(names)), -1
        settle()
        self.viewer.reset_view(margin=0.02)
        settle()

    def close(self) -> None:
        """Close the viewer."""
        self.viewer.close()


def tutorial(desk: Desk) -> None:
    """Each click of the first image."""
    viewer = desk.viewer
    desk.menu("sample.png", "File", "Open Sample", "VDIP blind deconvolution", "Photograph")
    viewer.open_sample("napari-vdip", "photograph")
    viewer.layers.remove("photograph true image")
    desk.menu("open-form.png", "Layers", "Filter", "Blind deconvolution (VDIP)")
    desk.dock()
    desk.photograph("open.png")
    desk.form.fold.click()
    desk.part("widget.png", desk.form.copy_python.native)
    desk.form.fold.click()
    desk.run(halfway="running.png")
    desk.side_by_side("photograph", "photograph deblurred", "photograph uncertainty")
    viewer.layers.selection.active = viewer.layers["photograph deblurred"]
    desk.photograph("result.png")
    desk.tabs("tab")
    doubtful(desk)


def doubtful(desk: Desk) -> None:
    """Mark what is not to be trusted, in the result that is there."""
    viewer, views = desk.viewer, desk.form.views
    views.tabs.setCurrentIndex(2)
    views.uncertainty.mark.click()
    wait(lambda: any("trusted" in layer.name for layer in viewer.layers))
    viewer.canvas.grid.enabled = False
    for layer in viewer.layers:
        layer.visible = layer.name in ("photograph deblurred", "photograph not to be trusted")
    viewer.layers.move(viewer.layers.index(viewer.layers["photograph not to be trusted"]), len(viewer.layers))
    settle()
    viewer.reset_view()
    print(views.uncertainty.words.text(), flush=True)
    desk.photograph("photograph-trust.png")


def photograph(desk: Desk) -> None:
    """Try on a region, then the whole; what is not to be trusted."""
    viewer = desk.viewer
    viewer.open_sample("napari-vdip", "photograph")
    for name in ("photograph true image", "photograph true kernel"):
        viewer.layers.remove(name)
    desk.dock()
    box = viewer.add_shapes(
        [[40, 90], [40, 217], [167, 217], [167, 90]],
        face_color="transparent",
        edge_color="yellow",
        edge_width=2,
    )
    box.name = "box"
    desk.form.image.value = viewer.layers["photograph"]
    desk.form.region.value = "rectangle"
    desk.form.kernel_size.value = 19
    desk.run()
    desk.photograph("photograph-region.png")


def microscope(desk: Desk) -> None:
    """Show a frame with a scale bar."""
    viewer = desk.viewer
    viewer.open_sample("napari-vdip", "microscopy")
    for name in ("microscopy true image", "microscopy true kernel"):
        viewer.layers.remove(name)
    frame = viewer.layers["microscopy"]
    frame.data = frame.data[60:204, 60:204]
    viewer.canvas.overlays.scale_bar.visible = True
    desk.dock()
    desk.form.kind.value = "fluorescence"
    desk.photograph("microscope-open.png")
    desk.run()
    desk.side_by_side("microscopy", "microscopy deblurred")
    viewer.layers.selection.active = viewer.layers["microscopy deblurred"]
    desk.photograph("microscope-result.png")


def stars(desk: Desk) -> None:
    """Show a simulated field of stars."""
    viewer = desk.viewer
    frame = star_field()
    low, high = np.percentile(frame, (1, 99.7))
    viewer.add_image(frame, name="field", contrast_limits=(low, high))
    desk.dock()
    desk.form.kind.value = "astronomy"
    desk.form.kernel_size.value = 15
    desk.photograph("stars-open.png")
    desk.run()
    desk.side_by_side("field", "field deblurred")
    viewer.layers.selection.active = viewer.layers["field deblurred"]
    desk.photograph("stars-result.png")


def star_field(side: int = 128) -> Any:
    """Simulate counts of 40 stars and a small galaxy, seen by a telescope that was badly guided."""
    from scipy.ndimage import gaussian_filter, shift

    random = np.random.default_rng(3)
    y, x = np.mgrid[:side, :side]
    field = 1200.0 * np.exp(-np.hypot((y - 75) / 12, (x - 50) / 6))
    for row, column, magnitude in zip(
        *random.uniform(4, side - 4, (2, 60)), random.exponential(1, 60), strict=True
    ):
        field[round(row), round(column)] += 4000 * magnitude
    seen = sum(shift(gaussian_filter(field, 1.3), (0.6 * step, step), order=1) for step in range(-3, 4)) / 7
    return random.poisson(np.maximum(seen, 0) + 100).astype(np.uint16)


PAGES = {"tutorial": tutorial, "photograph": photograph, "microscope": microscope, "stars": stars}


def main() -> None:
    """Open, run, take pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few steps only, to look at the layout")
    parser.add_argument("--only", choices=PAGES, nargs="+", default=list(PAGES), help="pages")
    parser.add_argument("--output", type=Path, default=IMAGES, help="folder of the pictures")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    for page in arguments.only:
        desk = Desk(arguments.output, arguments.quick)
        PAGES[page](desk)
        desk.close()


def settle(seconds: float = 0.8) -> None:
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
