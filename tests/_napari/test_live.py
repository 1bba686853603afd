"""The layers of a running fit: what someone sees who watches it, and who works on meanwhile."""

from __future__ import annotations

import gc
import re
import time

import numpy as np
import psutil
import pytest
from test_widget import blobs, is_back, names, offered, press, quick, run

from napari_vdip._napari.bar import Bar
from napari_vdip.core.program import Program


def step_of(widget) -> int:
    """Read off the line which step is told; 0: none yet."""
    told = re.search(r"step ([\d,]+) of", widget.status.text())
    return int(told[1].replace(",", "")) if told else 0


@pytest.fixture
def growing(fake_fit):
    """Fit without torch whose image and kernel get brighter with each step."""
    fake_fit.steps, fake_fit.grows = 10_000, True
    return fake_fit


def shown(viewer, qtbot, name="cells deblurred"):
    """Wait for the layers of the preview, of which the uncertainty comes last, and take one."""
    qtbot.waitUntil(lambda: name.replace("deblurred", "uncertainty") in viewer.layers, timeout=60_000)
    return viewer.layers[name]


def stop(widget, qtbot):
    press(widget.stop)
    qtbot.waitUntil(lambda: is_back(widget), timeout=20_000)


def values(layer):
    """One number that tells snapshots apart."""
    return float(np.nanmax(layer.data))


class TestThePreview:
    def test_the_real_fit_sharpens_in_view(self, viewer, open_dock, qtbot):
        viewer.add_image(blobs(64, 64), name="cells")
        widget = open_dock()
        quick(widget)
        widget.iterations.value = 100_000
        press(widget.run)
        image = shown(viewer, qtbot)
        kernel = viewer.layers["cells kernel"]
        first, flat = image.data, kernel.data
        qtbot.waitUntil(lambda: image.data is not first, timeout=20_000)
        assert not np.array_equal(image.data, first)
        assert not np.array_equal(kernel.data, flat)
        assert image.metadata["napari-vdip"]["partial"]
        assert names(viewer) == ["cells", "cells deblurred", "cells kernel", "cells uncertainty"]
        assert not viewer.layers["cells uncertainty"].visible
        assert viewer.layers.selection.active.name == "cells deblurred"
        stop(widget, qtbot)
        assert names(viewer) == ["cells", "cells deblurred", "cells kernel", "cells uncertainty"]
        assert viewer.layers["cells deblurred"].data is not first

    def test_it_is_renewed_at_most_twice_a_second(self, viewer, open_dock, qtbot, growing):
        viewer.add_image(np.ones((40, 48)), name="cells")
        widget = open_dock()
        press(widget.run)
        image, renewed = shown(viewer, qtbot), []
        image.events.data.connect(lambda _event: renewed.append(time.monotonic()))
        qtbot.waitUntil(lambda: len(renewed) == 4, timeout=20_000)
        assert np.diff(renewed).min() > 0.45
        stop(widget, qtbot)

    @pytest.mark.real_rhythm
    def test_slow_drawing_makes_it_rarer_down_to_once_in_two_seconds(self, viewer, open_dock, qtbot, growing):
        """Else the fit would wait for the drawing: it may have a twentieth of the time."""
        viewer.add_image(np.ones((40, 48)), name="cells")
        widget = open_dock()
        press(widget.run)
        image, renewed = shown(viewer, qtbot), []

        def slow(_event):
            renewed.append(time.monotonic())
            time.sleep(0.2)

        image.events.data.connect(slow)
        qtbot.waitUntil(lambda: len(renewed) == 3, timeout=20_000)
        gaps = np.diff(renewed)
        stop(widget, qtbot)
        assert gaps[1] == pytest.approx(2, abs=0.4)

    def test_the_contrast_of_the_image_is_steady_and_the_kernels_follows_its_peak(
        self, viewer, open_dock, qtbot, growing
    ):
        viewer.add_image(np.ones((40, 48)), name="cells", contrast_limits=(-1, 7))
        widget = open_dock()
        press(widget.run)
        image, kernel = shown(viewer, qtbot), viewer.layers["cells kernel"]
        limits = []
        image.events.contrast_limits.connect(lambda _event: limits.append(image.contrast_limits))
        early = kernel.contrast_limits[1]
        qtbot.waitUntil(lambda: kernel.contrast_limits[1] > early)
        assert kernel.contrast_limits[1] == pytest.approx(values(kernel))
        stop(widget, qtbot)
        assert image.contrast_limits == [-1, 7]
        assert limits == []

    def test_what_the_user_set_stays(self, viewer, open_dock, qtbot, growing):
        viewer.add_image(np.ones((40, 48)), name="cells")
        widget = open_dock()
        press(widget.run)
        image, kernel = shown(viewer, qtbot), viewer.layers["cells kernel"]
        image.name, image.contrast_limits, image.colormap, image.gamma = "mine", (0, 3), "magma", 0.5
        kernel.visible, kernel.contrast_limits, kernel.translate = False, (0, 9), (5, 5)
        viewer.layers.move(0, 2)
        viewer.layers.selection.active = viewer.layers["cells"]
        before = values(image)
        qtbot.waitUntil(lambda: values(image) > before)
        stop(widget, qtbot)
        assert names(viewer) == ["mine", "cells", "cells kernel", "cells uncertainty"]
        assert (image.contrast_limits, image.colormap.name, image.gamma) == ([0, 3], "magma", 0.5)
        assert (kernel.visible, kernel.contrast_limits) == (False, [0, 9])
        assert tuple(kernel.translate) == (5, 5)
        assert viewer.layers.selection.active.name == "cells"

    def test_a_deleted_layer_stays_away_until_the_result_is_handed_out(
        self, viewer, open_dock, qtbot, growing
    ):
        viewer.add_image(np.ones((40, 48)), name="cells")
        widget = open_dock()
        press(widget.run)
        shown(viewer, qtbot)
        kernel = viewer.layers["cells kernel"]
        viewer.layers.remove("cells deblurred")
        before = values(kernel)
        qtbot.waitUntil(lambda: values(kernel) > before)
        assert names(viewer) == ["cells", "cells kernel", "cells uncertainty"]
        stop(widget, qtbot)
        assert names(viewer) == ["cells", "cells kernel", "cells uncertainty", "cells deblurred"]

    def test_removing_everything_meanwhile_is_survived(self, viewer, open_dock, qtbot, growing, notified):
        viewer.add_image(np.ones((40, 48)), name="cells")
        widget = open_dock()
        press(widget.run)
        shown(viewer, qtbot)
        viewer.layers.clear()
        qtbot.wait(700)
        assert names(viewer) == []
        stop(widget, qtbot)
        assert names(viewer) == ["cells deblurred", "cells kernel", "cells uncertainty"]
        assert notified() == []

    def test_the_prefit_does_not_cover_the_image(self, viewer, open_dock, qtbot, growing):
        growing.stage = "pre-fit"
        viewer.add_image(np.ones((40, 48)), name="cells")
        widget = open_dock()
        press(widget.run)
        # The line is renewed less often than there are steps: none of them is sure to be seen.
        qtbot.waitUntil(lambda: step_of(widget) >= 20)
        assert names(viewer) == ["cells"]
        growing.stage = "fit"
        shown(viewer, qtbot)
        stop(widget, qtbot)

    def test_a_stack_is_filled_plane_by_plane(self, viewer, open_dock, qtbot):
        viewer.add_image(blobs(3, 64, 64), name="stack")
        widget = open_dock()
        quick(widget)
        widget.iterations.value = 60
        press(widget.run)
        image = shown(viewer, qtbot, "stack deblurred")
        data = image.data
        qtbot.waitUntil(lambda: "slice 2 of 3" in widget.status.text(), timeout=60_000)
        assert np.isfinite(image.data[:2]).all()
        assert np.isnan(image.data[2]).all()
        stop(widget, qtbot)
        assert image.data is data
        assert image.metadata["napari-vdip"]["partial"]

    def test_the_bar_tells_stage_and_slice(self, viewer, open_dock, qtbot, growing):
        from napari.utils import progress

        viewer.add_image(np.ones((40, 48)), name="cells")
        widget = open_dock()
        press(widget.run)
        shown(viewer, qtbot)
        (bar,) = progress._all_instances
        assert bar.desc.startswith("deblurring cells, fit")
        stop(widget, qtbot)
        assert not progress._all_instances

    def test_the_first_layer_and_the_first_bar_come_in_turns_of_their_own(
        self, viewer, open_dock, qtbot, fake_fit, monkeypatch
    ):
        # Each draws the whole window: together they halt it for twice as long.
        fake_fit.pause, seen, show = 0.5, [], Bar.show

        def watched(bar, progress):
            seen.append(names(viewer))
            show(bar, progress)

        monkeypatch.setattr(Bar, "show", watched)
        viewer.add_image(np.ones((40, 48)), name="cells")
        widget = open_dock()
        press(widget.run)
        qtbot.waitUntil(lambda: is_back(widget))
        assert seen[0] == ["cells"]
        assert "cells deblurred" in seen[1]

    def test_a_failed_run_leaves_nothing(self, viewer, open_dock, qtbot, fake_fit, notified):
        fake_fit.error, fake_fit.pause = ValueError("no"), 0.5  # the first layer is there when it fails
        viewer.add_image(np.ones((40, 48)), name="cells")
        widget = open_dock()
        inserted = []
        viewer.layers.events.inserted.connect(lambda event: inserted.append(event.value.name))
        press(widget.run)
        qtbot.waitUntil(lambda: is_back(widget) and names(viewer) == ["cells"])
        assert inserted[0] == "cells deblurred"
        assert not offered(widget.undo)
        assert len(notified()) == 1

    def test_a_failed_stack_keeps_its_finished_slices(self, viewer, open_dock, qtbot, fake_fit, notified):
        fake_fit.steps, fake_fit.error = 1, ValueError("no")
        fake_fit.fails_at = 2
        viewer.add_image(np.ones((3, 40, 48)), name="stack")
        widget = open_dock()
        press(widget.run)
        qtbot.waitUntil(lambda: is_back(widget) and bool(notified()))
        assert names(viewer) == ["stack", "stack deblurred", "stack kernel", "stack uncertainty"]


class TestTheButton:
    def seen(self, widget):
        names = ("run", "stop", "resume", "undo", "apply_kernel", "all_slices")
        return [name for name in names if offered(widget[name])]

    def test_it_says_what_it_does(self, viewer, open_dock, qtbot, growing):
        viewer.add_image(np.ones((40, 48)), name="cells")
        widget = open_dock()
        assert self.seen(widget) == ["run"]
        press(widget.run)
        assert self.seen(widget) == ["stop"]
        shown(viewer, qtbot)
        stop(widget, qtbot)
        assert self.seen(widget) == ["run", "resume", "undo"]
        press(widget.resume)
        assert self.seen(widget) == ["stop"]
        stop(widget, qtbot)

    def test_a_double_click_on_run_does_not_stop(self, viewer, open_dock, qtbot, growing):
        from qtpy.QtCore import Qt
        from qtpy.QtTest import QTest

        viewer.add_image(np.ones((40, 48)), name="cells")
        widget = open_dock()
        press(widget.run)
        QTest.mouseDClick(widget.stop.native, Qt.MouseButton.LeftButton)
        assert widget.stop.enabled
        QTest.mouseClick(widget.stop.native, Qt.MouseButton.LeftButton)
        assert not widget.stop.enabled
        qtbot.waitUntil(lambda: is_back(widget))

    def test_programs_press_it_by_its_signal(self, viewer, open_dock, qtbot, growing):
        viewer.add_image(np.ones((40, 48)), name="cells")
        widget = open_dock()
        widget.run.changed.emit(True)
        shown(viewer, qtbot)
        widget.stop.changed.emit(True)
        qtbot.waitUntil(lambda: is_back(widget))
        assert "cells deblurred" in viewer.layers


class TestContinue:
    def test_the_result_is_that_of_a_run_without_a_stop(self, viewer, open_dock, qtbot):
        viewer.add_image(blobs(64, 64), name="cells")
        widget = open_dock()
        quick(widget)
        widget.iterations.value = 80
        run(widget, qtbot)
        whole = {name: viewer.layers[name].data for name in names(viewer)[1:]}
        viewer.layers.remove("cells deblurred")
        viewer.layers.remove("cells kernel")
        viewer.layers.remove("cells uncertainty")
        press(widget.run)
        qtbot.waitUntil(lambda: "step" in widget.status.text(), timeout=60_000)
        for _ in range(2):
            stop(widget, qtbot)
            report = viewer.layers["cells deblurred"].metadata["napari-vdip"]
            assert report["partial"]
            assert report["steps"] < 82
            assert widget.status.text().startswith("Stopped at step")
            assert "Continue" in widget.status.text()
            press(widget.resume)
            qtbot.waitUntil(lambda: widget.status.text().split(",")[0] in ("pre-fit", "fit"), timeout=60_000)
        qtbot.waitUntil(lambda: is_back(widget), timeout=60_000)
        report = viewer.layers["cells deblurred"].metadata["napari-vdip"]
        assert (report["partial"], report["stop_reason"], report["steps"]) == (False, "finished", 82)
        for name, data in whole.items():
            np.testing.assert_array_equal(viewer.layers[name].data, data)
        assert names(viewer) == ["cells", "cells deblurred", "cells kernel", "cells uncertainty"]

    def test_a_new_run_closes_the_one_that_waits(self, viewer, open_dock, qtbot, growing):
        viewer.add_image(np.ones((40, 48)), name="cells")
        widget = open_dock()
        press(widget.run)
        shown(viewer, qtbot)
        stop(widget, qtbot)
        assert growing.open == 1
        press(widget.run)
        qtbot.waitUntil(lambda: "step" in widget.status.text())
        assert growing.open == 1
        stop(widget, qtbot)

    def test_closing_the_dock_closes_the_one_that_waits(self, viewer, open_dock, qtbot, growing):
        viewer.add_image(np.ones((40, 48)), name="cells")
        widget = open_dock()
        press(widget.run)
        shown(viewer, qtbot)
        stop(widget, qtbot)
        widget.native.parent().destroyOnClose()
        qtbot.waitUntil(lambda: growing.open == 0)
        assert "cells deblurred" in viewer.layers

    def test_nothing_is_busy_while_it_waits(self, viewer, open_dock, qtbot, growing):
        from qtpy.QtCore import QThreadPool
        from superqt.utils import WorkerBase

        viewer.add_image(np.ones((40, 48)), name="cells")
        widget = open_dock()
        press(widget.run)
        shown(viewer, qtbot)
        stop(widget, qtbot)
        qtbot.waitUntil(lambda: QThreadPool.globalInstance().activeThreadCount() == 0)
        qtbot.waitUntil(lambda: not WorkerBase._worker_set)  # one may just have looked the device up


class TestTheRunBefore:
    def test_a_run_replaces_it_where_the_user_says_so(self, viewer, open_dock, qtbot, fake_fit):
        viewer.add_image(np.ones((40, 48)), name="cells")
        widget = open_dock()
        run(widget, qtbot)
        image = viewer.layers["cells deblurred"]
        image.name, image.contrast_limits = "mine", (0, 2)
        before = image.data
        fake_fit.gain = 3.0
        widget.results.value = "replace the last ones"
        run(widget, qtbot)
        assert names(viewer) == ["cells", "mine", "cells kernel", "cells uncertainty"]
        np.testing.assert_array_equal(image.data, 3 * before)
        assert image.contrast_limits == [0, 2]
        press(widget.undo)
        np.testing.assert_array_equal(image.data, before)
        assert widget.undo.text == "Redo"
        press(widget.undo)
        np.testing.assert_array_equal(image.data, 3 * before)
        assert widget.undo.text == "Undo"

    def test_what_was_deleted_meanwhile_is_added_anew(self, viewer, open_dock, qtbot, fake_fit):
        viewer.add_image(np.ones((40, 48)), name="cells")
        widget = open_dock()
        widget.results.value = "replace the last ones"
        run(widget, qtbot)
        viewer.layers.remove("cells kernel")
        run(widget, qtbot)
        assert names(viewer) == ["cells", "cells deblurred", "cells uncertainty", "cells kernel"]

    def test_an_uncertainty_without_successor_is_removed(self, viewer, open_dock, qtbot, fake_fit):
        viewer.add_image(np.ones((40, 48)), name="cells")
        widget = open_dock()
        widget.results.value = "replace the last ones"
        run(widget, qtbot)
        fake_fit.std = float("nan")
        run(widget, qtbot)
        assert names(viewer) == ["cells", "cells deblurred", "cells kernel"]
        press(widget.undo)
        assert names(viewer) == ["cells", "cells deblurred", "cells kernel", "cells uncertainty"]

    def test_undo_removes_what_was_added_and_redo_brings_it_back(self, viewer, open_dock, qtbot, fake_fit):
        viewer.add_image(np.ones((40, 48)), name="cells")
        widget = open_dock()
        run(widget, qtbot)
        data = viewer.layers["cells deblurred"].data
        press(widget.undo)
        qtbot.waitUntil(lambda: names(viewer) == ["cells"])
        press(widget.undo)
        assert names(viewer) == ["cells", "cells deblurred", "cells kernel", "cells uncertainty"]
        assert viewer.layers["cells deblurred"].data is data
        viewer.layers.clear()
        press(widget.undo)
        press(widget.undo)  # the user removed them: nothing comes back, and nothing fails
        assert names(viewer) == []

    def test_a_run_right_after_undo_has_layers_of_its_own(self, viewer, open_dock, qtbot, fake_fit):
        viewer.add_image(np.ones((40, 48)), name="cells")
        widget = open_dock()
        widget.results.value = "replace the last ones"
        run(widget, qtbot)
        before = list(viewer.layers)[1:]
        press(widget.undo)  # which takes its time
        run(widget, qtbot)
        qtbot.waitUntil(lambda: not any(layer in viewer.layers for layer in before))
        assert len(viewer.layers) == 4
        assert viewer.layers["cells deblurred"].data.shape == (40, 48)

    def test_continue_after_undo_shows_the_layers_again(self, viewer, open_dock, qtbot, growing):
        viewer.add_image(np.ones((40, 48)), name="cells")
        widget = open_dock()
        press(widget.run)
        shown(viewer, qtbot)
        stop(widget, qtbot)
        press(widget.undo)
        qtbot.waitUntil(lambda: names(viewer) == ["cells"])
        press(widget.resume)
        assert names(viewer) == ["cells", "cells deblurred", "cells kernel", "cells uncertainty"]
        stop(widget, qtbot)


def remove_all(viewer):
    for layer in list(viewer.layers):
        viewer.layers.remove(layer)


def rename_all(viewer):
    for number, layer in enumerate(viewer.layers):
        layer.name = f"layer {number}"


def remove_one(role):
    def remove(viewer):
        for layer in [layer for layer in viewer.layers if layer.name.endswith(role)]:
            viewer.layers.remove(layer)

    return remove


@pytest.mark.parametrize(
    "change",
    [remove_all, rename_all, *map(remove_one, ("cells", "deblurred", "kernel", "uncertainty"))],
    ids=["all", "renamed", "source", "deblurred", "kernel", "uncertainty"],
)
def test_layers_may_go_or_be_renamed_at_any_moment(viewer, open_dock, qtbot, growing, notified, change):
    widget = open_dock()
    for moment in ("start", "preview", "stopping", "paused"):
        viewer.layers.clear()
        viewer.add_image(np.ones((40, 48)), name="cells")
        press(widget.run)
        if moment == "start":
            change(viewer)
            qtbot.waitUntil(lambda: "step" in widget.status.text())
        else:
            shown(viewer, qtbot)
            if moment == "preview":
                change(viewer)
            press(widget.stop)
            if moment == "stopping":
                change(viewer)
            qtbot.waitUntil(lambda: not offered(widget.stop))
            if moment == "paused":
                change(viewer)
            press(widget.resume)
            qtbot.waitUntil(lambda: widget.status.text().startswith("fit"))
        press(widget.stop)
        qtbot.waitUntil(lambda: not offered(widget.stop))
        press(widget.undo)
        press(widget.undo)
        assert notified() == [], moment
        made = [layer for layer in viewer.layers if "napari-vdip" in layer.metadata]
        assert len(made) == 3, moment


def test_runs_and_stops_in_a_row_leave_nothing_behind(viewer, open_dock, qtbot):
    """The short form of benchmarks/soak.py, which looks at the memory too."""
    from napari.utils import progress
    from qtpy.QtCore import QThreadPool
    from superqt.utils import WorkerBase

    viewer.add_image(blobs(40, 48), name="cells")
    widget = open_dock()
    quick(widget)
    widget.iterations.value = 100_000
    widget.results.value = "replace the last ones"
    process, threads, fits = psutil.Process(), [], []
    for _ in range(6):
        for button in (widget.run, widget.resume):
            press(button)
            qtbot.waitUntil(lambda: widget.status.text().startswith(("pre-fit", "fit")), timeout=60_000)
            stop(widget, qtbot)
        gc.collect()
        threads.append(process.num_threads())
        fits.append(sum(type(thing) is Program for thing in gc.get_objects()))
    assert max(threads[3:]) <= max(threads[:3])
    assert fits[2:] == [1] * 4  # the one that waits to go on
    assert QThreadPool.globalInstance().waitForDone(2000)
    qtbot.waitUntil(lambda: not WorkerBase._worker_set)  # one may just have looked the device up
    assert not progress._all_instances
    assert names(viewer) == ["cells", "cells deblurred", "cells kernel", "cells uncertainty"]
    widget.native.parent().destroyOnClose()
    gc.collect()
    assert not any(type(thing) is Program for thing in gc.get_objects())
