"""What a restless user does while a run goes on, at moments that nobody chose: all of it is survived."""

from __future__ import annotations

import gc
import random

import numpy as np
import pytest
from napari.utils import progress
from qtpy.QtCore import QThreadPool
from superqt.utils import WorkerBase
from test_live import remove_all, rename_all
from test_views import course_fit  # noqa: F401
from test_widget import blobs, is_back, names, offered, press

ACTS = 14


def remove_one(viewer, widget, chance):
    if len(viewer.layers):
        viewer.layers.remove(chance.choice(list(viewer.layers)))


def select_one(viewer, widget, chance):
    viewer.layers.selection.active = chance.choice([None, *viewer.layers])


def hide_one(viewer, widget, chance):
    for layer in chance.sample(list(viewer.layers), min(1, len(viewer.layers))):
        layer.visible = not layer.visible


def move_one(viewer, widget, chance):
    if len(viewer.layers) > 1:
        viewer.layers.move(0, len(viewer.layers))


def turn_tab(viewer, widget, chance):
    widget.views.tabs.setCurrentIndex(chance.randrange(3))


def show_uncertainty(viewer, widget, chance):
    box = widget.views.uncertainty.shown
    if box.isEnabled():
        box.setCurrentIndex(chance.randrange(box.count()))
        box.activated.emit(box.currentIndex())


def press_one(viewer, widget, chance):
    buttons = [widget.run, widget.stop, widget.resume, widget.undo, widget.apply_kernel]
    views = widget.views
    own = [button.native for button in buttons if offered(button)]
    chosen = chance.choice([*own, views.uncertainty.mark, views.kernel.use])
    chosen.click()


def replace_or_add(viewer, widget, chance):
    widget.results.value = chance.choice(["replace the last ones", "add new layers"])


def turn_theme(viewer, widget, chance):
    viewer.theme = chance.choice(["dark", "light"])


OTHERS = [
    *(2 * [remove_one, select_one, press_one]),
    *(hide_one, move_one, turn_tab, show_uncertainty, replace_or_add, turn_theme),
    lambda viewer, widget, chance: rename_all(viewer),
    lambda viewer, widget, chance: remove_all(viewer),
    lambda viewer, widget, chance: viewer.add_image(blobs(40, 48), name="cells"),
]


@pytest.fixture
def restless(course_fit):  # noqa: F811
    """Fit without torch that lasts longer than anybody looks."""
    course_fit.steps, course_fit.pause = 5_000, 0.004
    return course_fit


def live_through(viewer, widget, qtbot, chance):
    """Start, and do this and that; each act at a moment of its own."""
    press(widget.run)
    for _ in range(ACTS):
        qtbot.wait(chance.choice([0, 1, 20, 150, 600]))
        chance.choice(OTHERS)(viewer, widget, chance)


def nothing_is_left(qtbot):
    """Wait until no thread, no bar and no busy task is there."""
    qtbot.waitUntil(lambda: not WorkerBase._worker_set, timeout=20_000)
    assert QThreadPool.globalInstance().waitForDone(2000)
    assert not progress._all_instances


@pytest.mark.parametrize("seed", range(3))
def test_a_run_ends_well_after_all_that(viewer, open_dock, qtbot, restless, notified, seed):
    viewer.add_image(blobs(40, 48), name="cells")
    widget = open_dock()
    live_through(viewer, widget, qtbot, random.Random(seed))
    press(widget.stop)
    qtbot.waitUntil(lambda: is_back(widget) or not offered(widget.stop), timeout=20_000)
    told = [note.message for note in notified() if note.severity.value == "error"]
    assert told == []
    # And the tool is as good as before:
    remove_all(viewer)
    restless.steps = 30
    viewer.add_image(blobs(40, 48), name="other")
    widget.kernel.value, widget.kernel_size.value = None, "auto"
    widget.image.value = viewer.layers["other"]
    press(widget.run)
    qtbot.waitUntil(lambda: is_back(widget), timeout=20_000)
    assert widget.status.text().startswith("Finished")
    assert {"other", "other deblurred", "other kernel", "other uncertainty"} <= set(names(viewer))
    assert not widget.views.isHidden()
    assert "Window 15 x 15 px" in widget.views.kernel.words.text()
    nothing_is_left(qtbot)


@pytest.mark.parametrize("seed", range(2))
def test_closing_the_dock_ends_it(viewer, open_dock, qtbot, restless, notified, seed):
    chance = random.Random(100 + seed)
    viewer.add_image(blobs(40, 48), name="cells")
    widget = open_dock()
    live_through(viewer, widget, qtbot, chance)
    widget.native.parent().destroyOnClose()
    chance.choice(OTHERS[:2])(viewer, widget, chance)
    viewer.theme = "light"
    nothing_is_left(qtbot)
    qtbot.waitUntil(lambda: restless.open == 0)
    assert [note.message for note in notified() if note.severity.value == "error"] == []


@pytest.mark.parametrize("seed", range(2))
def test_closing_the_viewer_ends_it(make_napari_viewer_proxy, plugin, qtbot, restless, notified, seed):
    viewer = make_napari_viewer_proxy()
    viewer.add_image(blobs(40, 48), name="cells")
    _, widget = viewer.window.add_plugin_dock_widget("napari-vdip", "Blind deconvolution (VDIP)")
    live_through(viewer, widget, qtbot, random.Random(200 + seed))
    viewer.close()
    nothing_is_left(qtbot)
    qtbot.waitUntil(lambda: restless.open == 0)
    gc.collect()
    assert [note.message for note in notified() if note.severity.value == "error"] == []
    assert np.isfinite(restless.image).all()
