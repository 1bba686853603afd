"""The bar in napari's activity dialog, and the wheel that turns beside it."""

from __future__ import annotations

from napari.utils import progress
from qtpy.QtGui import QMovie
from qtpy.QtWidgets import QLabel, QMainWindow, QStatusBar
from test_widget import blobs, is_back, press

RUNNING, PAUSED = QMovie.MovieState.Running, QMovie.MovieState.Paused


def wheel_of(widget):
    labels = widget.native.window().statusBar().findChildren(QLabel)
    (label,) = (label for label in labels if label.movie() is not None)
    return label


def test_the_fit_turns_the_wheel(viewer, open_dock, qtbot, fake_fit):
    fake_fit.steps = 40
    viewer.add_image(blobs(20, 30), name="cells")
    widget = open_dock()
    label = wheel_of(widget)
    press(widget.run)
    qtbot.waitUntil(lambda: label.isVisibleTo(label.parent()))
    seen = []
    label.movie().frameChanged.connect(seen.append)
    qtbot.waitUntil(lambda: len(set(seen)) > 5)
    assert label.movie().state() == PAUSED
    qtbot.waitUntil(lambda: is_back(widget))
    assert len(seen) <= 40  # a picture for a step; its own pace would be 30 a second whatever the fit does
    qtbot.waitUntil(lambda: not label.isVisibleTo(label.parent()))


def test_another_plugins_bar_has_its_wheel_back(viewer, open_dock, qtbot, fake_fit):
    fake_fit.steps = 40
    viewer.add_image(blobs(20, 30), name="cells")
    widget = open_dock()
    label = wheel_of(widget)
    with progress(total=5):
        assert label.movie().state() == RUNNING
        press(widget.run)
        qtbot.waitUntil(lambda: label.movie().state() == PAUSED)
        qtbot.waitUntil(lambda: is_back(widget))
        # In a window that is not shown napari stops it at the end of any bar.
        assert label.movie().state() != PAUSED


def test_a_window_without_a_status_bar_gets_none(viewer, open_dock, qtbot, fake_fit):
    plain = QMainWindow()
    qtbot.addWidget(plain)
    viewer.add_image(blobs(20, 30), name="cells")
    widget = open_dock()
    press(widget.run)
    qtbot.waitUntil(lambda: is_back(widget))
    assert plain.findChildren(QStatusBar) == []
