"""napari's plugin manager lists and installs the wheel; its menu entry works at once; it is taken away again.

Usage: rehearse_manager.py WHEEL SCREENSHOTS. The package index and the list of plugins, which are
napari's and PyPI's otherwise, are served from this process; what else is needed is installed already
or comes from the user's own index.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import sysconfig
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import napari
import numpy as np
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication, QDialog, QMenu

if TYPE_CHECKING:
    from collections.abc import Callable

NAME, TITLE = "napari-vdip", "Blind deconvolution (VDIP)"


def serve(wheel: Path) -> str:
    """Serve a package index and the list of plugins; its address."""
    version = wheel.name.split("-")[1]
    plugin = {
        "name": NAME,
        "version": version,
        "display_name": "VDIP blind deconvolution",
        "summary": "Blind deconvolution with uncertainty",
        "author": "",
        "license": "BSD-3-Clause",
        "home_page": "https://github.com/napari-vdip/napari-vdip",
        "pypi_versions": [version],
        "conda_versions": [],
    }
    pages = {
        f"/simple/{NAME}/": f'<a href="/files/{wheel.name}">{wheel.name}</a>'.encode(),
        f"/files/{wheel.name}": wheel.read_bytes(),
        "/api/extended_summary": json.dumps([plugin]).encode(),
        "/api/conda": b"{}",
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = pages.get(self.path)
            self.send_response(200 if page is not None else 404)
            self.send_header("Content-Type", "text/html" if "simple" in self.path else "application/json")
            self.end_headers()
            self.wfile.write(page or b"")

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


def wait(what: str, until: Callable[[], Any], seconds: float = 300.0) -> Any:
    """Let Qt work until something holds; what it gave."""
    end = time.monotonic() + seconds
    while not (found := until()):
        if time.monotonic() > end:
            raise SystemExit(f"timed out: {what}")
        QApplication.processEvents()
        time.sleep(0.01)
    return found


def entry(menu: Any, text: str) -> Any:
    """Find the action of a menu, or of those below it, whose text begins so."""
    if isinstance(menu, QMenu):
        menu.aboutToShow.emit()
    for action in menu.actions():
        if action.text().replace("&", "").startswith(text):
            return action
        if action.menu() is not None and (found := entry(action.menu(), text)) is not None:
            return found
    return None


def item_of(listed: Any) -> Any:
    """Our line in one of the manager's lists, or None."""
    widgets = (listed.item(row).widget for row in range(listed.count()))
    return next((widget for widget in widgets if widget.name == NAME), None)


def files_left() -> list[Path]:
    """List what there is of the package in this environment."""
    folders = {Path(sysconfig.get_path(name)) for name in ("purelib", "platlib", "scripts")}
    return [path for folder in folders for path in folder.rglob("*napari?vdip*")]


def close(dialog: QDialog) -> str:
    """Close the manager and the warning that it ends with; what that said."""
    told: list[str] = []

    def answer() -> None:
        modal = QApplication.activeModalWidget()
        if modal is not None and modal is not dialog:
            told.append(modal.windowTitle())
            modal.accept()

    timer = QTimer()
    timer.timeout.connect(answer)
    timer.start(50)
    dialog.hide()
    wait("the manager closes", lambda: not dialog.isVisible(), 20)
    timer.stop()
    return ", ".join(told)


def main(wheel: Path, shots: Path) -> None:
    """Go through it as a user does."""
    shots.mkdir(parents=True, exist_ok=True)
    address = serve(wheel)
    from napari_plugin_manager import npe2api
    from napari_plugin_manager.qt_plugin_dialog import QtPluginDialog

    npe2api.EXTENDED_SUMMARY_URL = f"{address}/api/extended_summary"
    npe2api.CONDA_URL = f"{address}/api/conda"
    others = os.environ.get("PIP_EXTRA_INDEX_URL", "")
    os.environ["PIP_EXTRA_INDEX_URL"] = f"{others} {address}/simple/".strip()
    assert not files_left(), "it is there already"

    viewer = napari.Viewer()
    viewer.add_image(np.random.default_rng(0).random((40, 48)), name="cells")
    bar = viewer.window._qt_window.menuBar()
    assert entry(bar, TITLE) is None, "the menu entry is there before the plugin"

    entry(bar, "Install/Uninstall Plugins").trigger()
    tops = QApplication.topLevelWidgets
    dialog = wait("the manager", lambda: next((w for w in tops() if isinstance(w, QtPluginDialog)), None), 20)
    wait("the list of plugins", lambda: dialog._plugin_data, 60)
    dialog.packages_search.setText("deconvolution")
    line = wait("the plugin in the list", lambda: item_of(dialog.available_list), 60)
    dialog.grab().save(str(shots / "listed.png"))
    print(f"listed: {line.name} {line.version_choice_dropdown.currentText()}")
    line.action_button.click()
    wait("the installation", lambda: item_of(dialog.installed_list) and not dialog.installer.hasJobs())
    dialog.grab().save(str(shots / "installed.png"))
    print(f"installed: {importlib.metadata.version(NAME)}")
    print(f"the manager closes with: {close(dialog)!r}")

    action = wait("the menu entry", lambda: entry(bar, TITLE), 20)
    action.trigger()
    docks = viewer.window._dock_widgets
    wait("the dock widget", lambda: any(TITLE in name for name in docks), 60)
    drawn = time.monotonic() + 1
    wait("drawing", lambda: time.monotonic() > drawn, 5)
    viewer.screenshot(str(shots / "opened.png"), canvas_only=False, flash=False)
    print("opened without a restart:", [name for name in docks if TITLE in name])

    entry(bar, "Install/Uninstall Plugins").trigger()
    line = wait("the installed line", lambda: dialog.isVisible() and item_of(dialog.installed_list), 20)
    line.action_button.click()
    wait("the removal", lambda: not item_of(dialog.installed_list) and not dialog.installer.hasJobs())
    left = files_left()
    assert not left, left
    print("uninstalled: nothing is left")
    close(dialog)
    viewer.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]))
