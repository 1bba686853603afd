"""More than one at once: two docks in a viewer, two viewers, two fits; and a clock that jumps."""

from __future__ import annotations

import errno
import os
import time

import numpy as np
import pytest
from test_views import course_fit  # noqa: F401
from test_widget import blobs, is_back, names, press, quick

from napari_vdip import deblur

TITLE = "Blind deconvolution (VDIP)"
THREE = ("deblurred", "kernel", "uncertainty")

# What is tested here does not depend on how good a fit is.
pytestmark = pytest.mark.usefixtures("small_fits")


def dock(viewer):
    """Open a dock widget of its own, as the menu does."""
    return viewer.window.add_plugin_dock_widget("napari-vdip", TITLE)[1]


def another_dock(viewer):
    """Add one more dock to a viewer whose menu would bring back the first, as a script does."""
    from napari_vdip._napari.widget import DeblurWidget

    widget = DeblurWidget(viewer)
    viewer.window.add_dock_widget(widget, name="another")
    return widget


class TestTwoDocksInOneViewer:
    def test_both_runs_make_their_own_layers(self, viewer, open_dock, qtbot, fake_fit, notified):
        fake_fit.steps, fake_fit.pause = 30, 0.02
        viewer.add_image(blobs(40, 48), name="left")
        viewer.add_image(2.0 * blobs(40, 48), name="right")
        first, second = open_dock(), another_dock(viewer)
        first.image.value, second.image.value = viewer.layers["left"], viewer.layers["right"]
        press(first.run)
        press(second.run)
        assert not first.run.enabled
        assert not second.run.enabled
        qtbot.waitUntil(lambda: fake_fit.open == 2, timeout=10_000)
        qtbot.waitUntil(lambda: is_back(first) and is_back(second), timeout=60_000)
        assert {f"{image} {part}" for image in ("left", "right") for part in THREE} <= set(names(viewer))
        for image in ("left", "right"):
            np.testing.assert_allclose(
                viewer.layers[f"{image} deblurred"].data, viewer.layers[image].data, rtol=1e-6
            )
        assert first.status.text().startswith("Finished")
        assert second.status.text().startswith("Finished")
        assert notified() == []

    def test_stop_and_undo_of_one_leave_the_other_alone(self, viewer, open_dock, qtbot, fake_fit):
        fake_fit.steps, fake_fit.pause = 5_000, 0.01
        viewer.add_image(blobs(40, 48), name="left")
        viewer.add_image(blobs(40, 48), name="right")
        first, second = open_dock(), another_dock(viewer)
        first.image.value, second.image.value = viewer.layers["left"], viewer.layers["right"]
        press(first.run)
        press(second.run)
        qtbot.waitUntil(lambda: "left deblurred" in viewer.layers, timeout=20_000)
        qtbot.waitUntil(lambda: "right deblurred" in viewer.layers, timeout=20_000)
        press(first.stop)
        qtbot.waitUntil(lambda: is_back(first), timeout=20_000)
        press(first.undo)
        assert "left deblurred" not in viewer.layers
        assert "right deblurred" in viewer.layers
        assert second.stop.enabled
        step = second.progress_bar.value()
        qtbot.waitUntil(lambda: second.progress_bar.value() > step, timeout=20_000)
        press(second.stop)
        qtbot.waitUntil(lambda: is_back(second), timeout=20_000)
        assert second.status.text().startswith("Stopped")


class TestTwoViewers:
    def test_each_gets_its_own_result(self, make_napari_viewer_proxy, plugin, qtbot, fake_fit):
        fake_fit.steps, fake_fit.pause = 30, 0.02
        viewers = [make_napari_viewer_proxy() for _ in range(2)]
        for viewer, factor in zip(viewers, (1, 2), strict=True):
            viewer.add_image(factor * blobs(40, 48), name="cells")
        docks = [dock(viewer) for viewer in viewers]
        for widget in docks:
            press(widget.run)
        qtbot.waitUntil(lambda: all(is_back(widget) for widget in docks), timeout=60_000)
        for viewer in viewers:
            assert names(viewer) == ["cells", *(f"cells {part}" for part in THREE)]
            np.testing.assert_allclose(viewer.layers["cells deblurred"].data, viewer.layers["cells"].data)

    def test_closing_one_ends_its_run_and_no_other(
        self, make_napari_viewer_proxy, plugin, qtbot, fake_fit, notified
    ):
        fake_fit.steps, fake_fit.pause = 5_000, 0.01
        viewers = [make_napari_viewer_proxy() for _ in range(2)]
        for viewer in viewers:
            viewer.add_image(blobs(40, 48), name="cells")
        docks = [dock(viewer) for viewer in viewers]
        for widget in docks:
            press(widget.run)
        qtbot.waitUntil(lambda: fake_fit.open == 2, timeout=20_000)
        viewers[0].close()
        qtbot.waitUntil(lambda: fake_fit.open == 1, timeout=20_000)
        step = docks[1].progress_bar.value()
        qtbot.waitUntil(lambda: docks[1].progress_bar.value() > step, timeout=20_000)
        press(docks[1].stop)
        qtbot.waitUntil(lambda: is_back(docks[1]), timeout=20_000)
        assert "cells deblurred" in viewers[1].layers
        assert [note for note in notified() if note.severity.value == "error"] == []


class TestTwoFits:
    def test_two_real_fits_at_once_are_what_each_is_alone(self, viewer, open_dock, qtbot):
        images = {"left": blobs(40, 48), "right": blobs(48, 40)}
        for name, data in images.items():
            viewer.add_image(data, name=name)
        docks = {"left": open_dock(), "right": another_dock(viewer)}
        for name, widget in docks.items():
            quick(widget)
            widget.image.value = viewer.layers[name]
        for widget in docks.values():
            press(widget.run)
        qtbot.waitUntil(lambda: all(is_back(widget) for widget in docks.values()), timeout=120_000)
        for name, data in images.items():
            alone = deblur(
                data, kernel_size=5, preset="fast", iterations=5, compile="off", threads=1, kernel_draws=0
            )
            np.testing.assert_array_equal(viewer.layers[f"{name} deblurred"].data, alone.image)
            np.testing.assert_array_equal(viewer.layers[f"{name} kernel"].data, alone.kernel)


class TestClock:
    def test_a_clock_that_jumps_back_changes_nothing(self, viewer, open_dock, qtbot, fake_fit, monkeypatch):
        """As when the time is set over the network, or summer ends: only the wall clock moves."""
        fake_fit.steps, fake_fit.pause = 60, 0.02
        true, begun = time.time, time.monotonic()

        def jumping():
            return true() - (7200.0 if time.monotonic() - begun > 0.5 else 0.0)

        viewer.add_image(blobs(40, 48), name="cells")
        widget = open_dock()
        seen = []
        monkeypatch.setattr(time, "time", jumping)
        press(widget.run)
        while not is_back(widget):
            qtbot.wait(50)
            seen.append((widget.progress_bar.value(), widget.status.text()))
        steps = [step for step, text in seen if "step" in text]
        assert steps == sorted(steps)
        assert len(set(steps)) > 5  # it was renewed after the jump too
        assert not any("-" in text for _, text in seen)  # no negative time left
        assert widget.status.text().startswith("Finished")


def test_saving_from_the_viewer_onto_a_full_disk_is_told(
    viewer,
    open_dock,
    qtbot,
    course_fit,  # noqa: F811
    monkeypatch,
    tmp_path,
):
    from qtpy.QtWidgets import QFileDialog

    viewer.add_image(blobs(40, 48), name="cells")
    widget = open_dock()
    press(widget.run)
    qtbot.waitUntil(lambda: is_back(widget), timeout=60_000)
    path = tmp_path / "kernel.tif"
    path.write_bytes(b"what was there")
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *args, **keywords: (str(path), ""))

    def full(*args, **keywords):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)
    widget.views.kernel.save.click()
    assert "No space left on device" in widget.views.kernel.words.text()
    assert path.read_bytes() == b"what was there"
    assert [found.name for found in tmp_path.iterdir() if found.suffix == ".part"] == []
