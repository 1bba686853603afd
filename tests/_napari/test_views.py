"""Kernel, curve, uncertainty and advice in a real viewer: what someone sees who looks at a result."""

from __future__ import annotations

import dataclasses
import json
import time

import numpy as np
import pytest
import tifffile
from napari.layers import Labels
from qtpy.QtWidgets import QApplication, QFileDialog, QLabel, QScrollArea
from test_widget import blobs, is_back, names, press, quick, run

from napari_vdip import kernelfile
from napari_vdip._napari.curve import LogAxis
from napari_vdip.psf import PixelSize
from napari_vdip.result import History

BORDER = {
    "code": "border",
    "sentence": "9% of the kernel lies on its border; try kernel_size=29",
    "remedy": {"kernel_size": 29},
}
KERNEL, CURVE, UNCERTAINTY = range(3)


def gaussian(std, side, across=None):
    y, x = np.mgrid[:side, :side] - side // 2
    kernel = np.exp(-(y**2) / (2 * std**2) - x**2 / (2 * (across or std) ** 2))
    return (kernel / kernel.sum()).astype(np.float32)


@pytest.fixture
def course_fit(fake_fit):
    """Fit without torch that has a course, a noise, findings and a Gaussian kernel."""
    plain = fake_fit.result

    def result(data, spatial, stop_reason, step=0):
        made = plain(data, spatial, stop_reason, step)
        steps = np.arange(step + 1 if "stopped" in stop_reason else fake_fit.steps)
        misfit = 2.5 + 100 * np.exp(-steps / 20)
        change = np.where(steps < 60, 0.1, 1e-3)
        made.report.update(noise_std=fake_fit.noise, findings=list(fake_fit.findings))
        made.kernel[...] = gaussian(2, 15)
        return dataclasses.replace(made, history=History(steps, -misfit, misfit, change, steps / 10))

    fake_fit.findings, fake_fit.noise, fake_fit.result = (), 2.0, result
    fake_fit.steps, fake_fit.pause, fake_fit.kernel_shape = 120, 0.0, (15, 15)
    return fake_fit


@pytest.fixture
def chosen_path(monkeypatch, tmp_path):
    """Answer the file dialogs as a user would; gives the function that sets the answer."""
    answer = {"path": ""}
    for name in ("getOpenFileName", "getSaveFileName"):
        monkeypatch.setattr(QFileDialog, name, lambda *_: (str(answer["path"]), ""))

    def choose(name):
        answer["path"] = tmp_path / name
        return answer["path"]

    return choose


def cells(viewer, **keywords):
    return viewer.add_image(blobs(40, 48), name="cells", **keywords)


def shown_texts():
    """All words in the window."""
    return [label.text() for label in QApplication.allWidgets() if isinstance(label, QLabel)]


class TestTheKernel:
    def test_a_real_fit_shows_its_kernel_with_its_width(self, viewer, open_dock, qtbot):
        cells(viewer, scale=(0.1, 0.1), units=("um", "um"))
        widget = open_dock()
        quick(widget)
        assert widget.views.isHidden()
        run(widget, qtbot)
        assert not widget.views.isHidden()
        words = widget.views.kernel.words.text()
        assert "Window 5 x 5 px" in words
        assert "Width at half maximum" in words
        assert "µm" in words

    def test_the_width_is_that_of_the_kernel_in_px_and_in_the_layers_unit(
        self, viewer, open_dock, qtbot, course_fit
    ):
        cells(viewer, scale=(0.1, 0.1), units=("um", "um"))
        widget = open_dock()
        run(widget, qtbot)
        lines = widget.views.kernel.words.text().splitlines()
        at = lines.index("Width at half maximum:")
        assert lines[at + 1 : at + 3] == ["4.71 px", "0.471 µm"]

    def test_without_units_it_is_in_px_alone(self, viewer, open_dock, qtbot, course_fit):
        cells(viewer)
        widget = open_dock()
        run(widget, qtbot)
        lines = widget.views.kernel.words.text().splitlines()
        assert lines.count("4.71 px") == 2  # width, and diameter of the disc
        assert not any("µm" in line for line in lines)

    def test_it_is_saved_with_its_pixel_size_and_report(
        self, viewer, open_dock, qtbot, course_fit, chosen_path
    ):
        cells(viewer, scale=(0.1, 0.1), units=("um", "um"))
        widget = open_dock()
        run(widget, qtbot)
        path = chosen_path("mine.tif")
        widget.views.kernel.save.click()
        assert tifffile.imread(path).dtype == np.float32
        loaded = kernelfile.load(path)
        np.testing.assert_array_equal(loaded.data, viewer.layers["cells kernel"].data)
        assert loaded.pixel_size.height == pytest.approx(0.1)
        assert json.loads(path.with_suffix(".json").read_text())["stop_reason"] == "finished"
        assert "mine.tif" in widget.views.kernel.words.text()

    def test_a_disk_that_refuses_is_told(self, viewer, open_dock, qtbot, course_fit, chosen_path):
        cells(viewer)
        widget = open_dock()
        run(widget, qtbot)
        chosen_path("no such folder/mine.tif")
        widget.views.kernel.save.click()
        assert "Cannot write" in widget.views.kernel.words.text()

    def test_one_click_takes_it_for_the_next_run(self, viewer, open_dock, qtbot, course_fit):
        cells(viewer)
        widget = open_dock()
        widget.kernel_size.value = 15
        run(widget, qtbot)
        widget.views.kernel.use.click()
        assert widget.kernel.value.name == "cells kernel"
        assert widget.kernel_size.value == "auto"
        run(widget, qtbot)
        np.testing.assert_array_equal(course_fit.options.kernel, gaussian(2, 15))

    def test_a_kernel_whose_layer_is_gone_is_told(self, viewer, open_dock, qtbot, course_fit):
        cells(viewer)
        widget = open_dock()
        run(widget, qtbot)
        viewer.layers.remove("cells kernel")
        widget.views.kernel.use.click()
        assert widget.kernel.value is None
        assert "no longer in the viewer" in widget.status.text()

    def test_each_slice_of_a_stack_has_its_own(self, viewer, open_dock, qtbot, course_fit):
        viewer.add_image(blobs(3, 40, 48), name="stack")
        widget = open_dock()
        run(widget, qtbot)
        assert not widget.views.slice.parent().isHidden()
        assert widget.views.slice.maximum() == 3
        widget.views.slice.setValue(2)
        assert "4.71 px" in widget.views.kernel.words.text()

    def test_the_one_of_a_slice_can_be_used(self, viewer, open_dock, qtbot, course_fit):
        viewer.add_image(blobs(3, 40, 48), name="stack")
        widget = open_dock()
        run(widget, qtbot)
        widget.views.slice.setValue(2)
        widget.views.kernel.use.click()
        assert widget.kernel.value.name == "stack kernel of slice 2"
        run(widget, qtbot)
        np.testing.assert_array_equal(course_fit.options.kernel, gaussian(2, 15))


class TestAMeasuredPsf:
    def test_a_file_becomes_a_layer_and_the_kernel_on_the_images_pixels(
        self, viewer, open_dock, qtbot, course_fit, chosen_path
    ):
        cells(viewer, scale=(0.2, 0.2), units=("um", "um"))
        widget = open_dock()
        path = chosen_path("bead.tif")
        kernelfile.save(path, gaussian(4, 41), PixelSize(100, 100, "nm"), {})
        widget.fold.click()
        press(widget.load_kernel)
        assert names(viewer) == ["cells", "bead (kernel)"]
        assert widget.kernel.value.name == "bead (kernel)"
        assert widget.image.value.name == "cells"
        run(widget, qtbot)
        assert course_fit.options.kernel.shape == (21, 21)
        assert course_fit.options.kernel.sum() == pytest.approx(1, abs=1e-5)
        assert "resampled from 41 x 41 px of 100 nanometer to 21 x 21 px" in widget.status.text()
        assert "resampled" in viewer.layers["cells deblurred"].metadata["napari-vdip"]["kernel_note"]

    def test_a_real_fit_holds_it(self, viewer, open_dock, qtbot, chosen_path):
        cells(viewer)
        widget = open_dock()
        tifffile.imwrite(chosen_path("bead.tif"), gaussian(1, 7))
        quick(widget)
        press(widget.load_kernel)
        run(widget, qtbot)
        np.testing.assert_allclose(viewer.layers["cells kernel"].data, gaussian(1, 7), atol=1e-6)

    def test_a_file_without_pixel_size_gets_that_of_the_image(
        self, viewer, open_dock, course_fit, chosen_path, notified
    ):
        source = cells(viewer, scale=(0.2, 0.1), units=("um", "um"))
        widget = open_dock()
        tifffile.imwrite(chosen_path("bead.tif"), gaussian(1, 7))
        press(widget.load_kernel)
        layer = viewer.layers["bead (kernel)"]
        assert layer.units == source.units
        assert tuple(layer.scale) == (0.2, 0.1)
        assert "tells no pixel size" in widget.status.text()
        assert notified() == []  # napari warns of layers whose units differ

    def test_a_file_that_is_no_kernel_is_told(self, viewer, open_dock, chosen_path, notified):
        cells(viewer)
        widget = open_dock()
        chosen_path("bead.tif").write_text("nothing")
        press(widget.load_kernel)
        assert "unknown format" in notified()[0].message
        assert names(viewer) == ["cells"]

    def test_no_file_changes_nothing(self, viewer, open_dock, chosen_path, notified, monkeypatch):
        monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: ("", ""))
        cells(viewer)
        widget = open_dock()
        press(widget.load_kernel)
        assert names(viewer) == ["cells"]
        assert notified() == []

    def test_units_that_cannot_be_converted_are_told(self, viewer, open_dock, course_fit, notified):
        cells(viewer, scale=(0.2, 0.2), units=("um", "um"))
        psf = viewer.add_image(gaussian(1, 7), name="psf", scale=(0.1, 0.1), units=("s", "s"))
        widget = open_dock()
        widget.image.value, widget.kernel.value = viewer.layers["cells"], psf
        press(widget.run)
        assert "'second', the image's in 'micrometer'" in notified()[-1].message
        assert is_back(widget)


class TestAdvice:
    def test_a_finding_has_a_button_that_runs_again(self, viewer, open_dock, qtbot, course_fit):
        course_fit.findings, course_fit.warnings = (BORDER,), (BORDER["sentence"],)
        cells(viewer)
        widget = open_dock()
        widget.kernel_size.value = 21
        run(widget, qtbot)
        assert BORDER["sentence"] in widget.status.text()
        (button,) = widget.advice.buttons
        assert button.text() == "Run again with kernel size 29"
        course_fit.findings = course_fit.warnings = ()
        button.click()
        assert not widget.run.enabled
        qtbot.waitUntil(lambda: is_back(widget))
        assert course_fit.options.kernel_size == 29
        assert widget.advice.isHidden()

    def test_slices_with_the_same_finding_share_a_button(self, viewer, open_dock, qtbot, course_fit):
        other = {**BORDER, "remedy": {"preset": "balanced"}}
        none = {**BORDER, "remedy": {}}
        course_fit.findings = (BORDER, BORDER, other, none)
        cells(viewer)
        widget = open_dock()
        run(widget, qtbot)
        texts = [button.text() for button in widget.advice.buttons]
        assert texts == ["Run again with kernel size 29", "Run again with preset balanced"]

    def test_a_fit_that_was_too_short_offers_a_longer_one(self, viewer, open_dock, qtbot):
        cells(viewer)
        widget = open_dock()
        quick(widget)
        run(widget, qtbot)
        assert widget.advice.buttons[0].text() == "Run again with the preset's own iterations"

    def test_without_findings_there_is_none(self, viewer, open_dock, qtbot, course_fit):
        cells(viewer)
        widget = open_dock()
        run(widget, qtbot)
        assert widget.advice.buttons == []


class TestTheCurve:
    def test_it_shows_the_course_the_noise_and_where_to_stop(self, viewer, open_dock, qtbot, course_fit):
        cells(viewer)
        widget = open_dock()
        run(widget, qtbot)
        widget.views.tabs.setCurrentIndex(CURVE)
        curve = widget.views.curve
        assert curve.curves["misfit"].getData()[0].size == 120
        assert curve.noise.isVisible()
        assert 10 ** curve.noise.value() == pytest.approx(2.0)
        (rest,) = {mark.value() for mark in curve.marks}
        assert (
            70 <= rest <= 100
        )  # the misfit is at twice the noise from step 84 on, the kernel at rest from 60
        assert all(mark.isVisible() for mark in curve.marks)
        assert f"From step {rest} (dashed) more steps gain little" in curve.words.text()
        assert "1.4 times the noise of 2" in curve.words.text()

    def test_a_fit_far_from_the_noise_has_no_such_mark(self, viewer, open_dock, qtbot, course_fit):
        course_fit.noise = 0.5
        cells(viewer)
        widget = open_dock()
        run(widget, qtbot)
        widget.views.tabs.setCurrentIndex(CURVE)
        assert not any(mark.isVisible() for mark in widget.views.curve.marks)
        assert "may still gain" in widget.views.curve.words.text()

    def test_it_grows_while_the_fit_runs_at_most_twice_a_second(self, viewer, open_dock, qtbot, course_fit):
        course_fit.steps, course_fit.pause = 10_000, 0.01
        cells(viewer)
        widget = open_dock()
        press(widget.run)
        qtbot.waitUntil(lambda: not widget.views.isHidden())
        widget.views.tabs.setCurrentIndex(CURVE)
        drawn, sizes = [], []
        curve = widget.views.curve.curves["misfit"]
        curve.sigPlotChanged.connect(lambda: drawn.append(time.monotonic()))
        curve.sigPlotChanged.connect(lambda: sizes.append(curve.getData()[0].size))
        qtbot.waitUntil(lambda: len(drawn) == 4)
        assert np.diff(drawn).min() > 0.45
        assert np.diff(sizes).min() > 0
        assert not widget.views.kernel.save.isEnabled()
        press(widget.stop)
        qtbot.waitUntil(lambda: is_back(widget))
        assert widget.views.kernel.save.isEnabled()

    def test_a_kernel_that_is_held_can_be_drawn(self, viewer, open_dock, qtbot):
        cells(viewer)
        viewer.add_image(gaussian(1, 5), name="psf")
        widget = open_dock()
        quick(widget)
        widget.kernel_size.value = "auto"
        widget.image.value, widget.kernel.value = viewer.layers["cells"], viewer.layers["psf"]
        run(widget, qtbot)
        widget.views.tabs.setCurrentIndex(CURVE)
        assert "times the noise" in widget.views.curve.words.text()

    @pytest.mark.parametrize(
        ("low", "high", "shown"),
        [
            (0.4, 1.9, ["5", "10", "20", "50"]),
            (0.1, 0.8, ["2", "5"]),
            (0.1, 1.8, ["3", "10", "30"]),
            (-0.2, 2.3, ["1", "10", "100"]),
            (-6.1, 0.1, ["1e-06", "0.0001", "0.01", "1"]),
        ],
    )
    def test_its_numbers_are_round_and_few(self, qtbot, low, high, shown):
        axis = LogAxis("left")
        ((_, places),) = axis.tickValues(low, high, 80)
        assert axis.tickStrings(places, 1, 1) == shown

    def test_it_takes_the_theme(self, viewer, open_dock, qtbot, course_fit):
        cells(viewer)
        widget = open_dock()
        run(widget, qtbot)
        picture = widget.views.kernel.picture
        viewer.theme = "dark"
        dark = picture.backgroundBrush().color().lightness()
        viewer.theme = "light"
        assert picture.backgroundBrush().color().lightness() > 150 > dark


GEOMETRY = {"scale": (0.5, 0.25), "translate": (10, -4), "rotate": 15, "units": ("um", "um")}


class TestTheUncertainty:
    def deblurred(self, viewer, open_dock, qtbot, fit, std=40.0, **keywords):
        cells(viewer, **keywords)
        widget = open_dock()
        fit.std = std
        run(widget, qtbot)
        widget.views.tabs.setCurrentIndex(UNCERTAINTY)
        return widget, widget.views.uncertainty

    def choose(self, view, text):
        """Choose as a click in the box does."""
        view.shown.setCurrentText(text)
        view.shown.activated.emit(view.shown.currentIndex())

    def test_it_is_shown_as_it_is_or_relative(self, viewer, open_dock, qtbot, course_fit):
        _, view = self.deblurred(viewer, open_dock, qtbot, course_fit, **GEOMETRY)
        absolute = viewer.layers["cells uncertainty"]
        assert absolute.colormap.name == "magma"
        assert not absolute.visible
        self.choose(view, "absolute")
        assert absolute.visible
        self.choose(view, "relative (%)")
        qtbot.waitUntil(lambda: "cells uncertainty (%)" in viewer.layers)
        relative = viewer.layers["cells uncertainty (%)"]
        assert relative.visible
        assert not absolute.visible
        image = viewer.layers["cells deblurred"].data
        np.testing.assert_allclose(relative.data, 4000 / np.abs(image), rtol=1e-5)
        np.testing.assert_array_equal(relative.extent.world, absolute.extent.world)
        low, high = relative.contrast_limits
        assert np.percentile(relative.data, 1) >= low
        assert np.percentile(relative.data, 99) <= high
        self.choose(view, "absolute")
        assert absolute.visible
        assert not relative.visible
        self.choose(view, "hidden")
        assert not absolute.visible

    def test_doubtful_pixels_become_labels_in_place(self, viewer, open_dock, qtbot, course_fit):
        _, view = self.deblurred(viewer, open_dock, qtbot, course_fit, std=2000.0, **GEOMETRY)
        image = viewer.layers["cells deblurred"]
        view.of.setCurrentText("the pixel's value")
        limit = 100 * 2000 / np.median(image.data)
        view.percent.setValue(limit)
        view.mark.click()
        qtbot.waitUntil(lambda: "cells not to be trusted" in viewer.layers)
        marked = viewer.layers["cells not to be trusted"]
        assert isinstance(marked, Labels)
        assert set(np.unique(marked.data)) == {0, 1}
        assert 0.4 < marked.data.mean() < 0.6
        assert image.data[marked.data == 1].max() <= image.data[marked.data == 0].min()
        np.testing.assert_array_equal(marked.extent.world, image.extent.world)
        np.testing.assert_array_equal(marked.rotate, image.rotate)
        assert viewer.layers.selection.active.name == "cells deblurred"
        assert "of the pixels of cells deblurred are marked" in view.words.text()

    def test_what_the_limit_is_of_has_a_limit_of_its_own(self, viewer, open_dock, qtbot, course_fit):
        _, view = self.deblurred(viewer, open_dock, qtbot, course_fit)
        assert (view.of.currentText(), view.percent.value()) == ("the image's range", 5)
        view.of.setCurrentText("the pixel's value")
        assert view.percent.value() == 20
        view.of.setCurrentText("the image's range")
        view.mark.click()
        qtbot.waitUntil(lambda: "cells not to be trusted" in viewer.layers)
        assert viewer.layers["cells not to be trusted"].data.sum() == 0  # 40 of a range of 20,000

    def test_the_suggested_limit_is_of_the_value_where_photons_are_counted(
        self, viewer, open_dock, qtbot, course_fit
    ):
        cells(viewer)
        widget = open_dock()
        widget.noise.value = "poisson"
        run(widget, qtbot)
        widget.views.tabs.setCurrentIndex(UNCERTAINTY)
        view = widget.views.uncertainty
        assert (view.of.currentText(), view.percent.value()) == ("the pixel's value", 20)
        view.percent.setValue(7)
        viewer.layers.selection.active = viewer.layers["cells"]
        assert view.percent.value() == 7  # the user's own stays

    def test_the_status_bar_tells_the_value_and_its_std(self, viewer, open_dock, qtbot, course_fit):
        self.deblurred(viewer, open_dock, qtbot, course_fit, **GEOMETRY)
        image = viewer.layers["cells deblurred"]
        image.data[7, 9] = 412.3
        self.point_at(viewer, image.data_to_world((7, 9)))
        assert "412 ± 40" in viewer.status["coordinates"]
        assert any("412 ± 40" in text for text in shown_texts())
        self.point_at(viewer, image.data_to_world((-5, -5)))
        assert "±" not in str(viewer.status)

    def test_of_colours_it_tells_the_mean(self, viewer, open_dock, qtbot, course_fit):
        photo = np.stack([blobs(40, 48) // 80] * 3, axis=-1).astype(np.uint8)
        viewer.add_image(photo, name="photo", rgb=True)
        widget = open_dock()
        run(widget, qtbot)
        viewer.layers["photo deblurred"].data[7, 9] = (30, 60, 90)
        self.point_at(viewer, (7, 9))
        assert "60.00 ± 0.50" in viewer.status["coordinates"]
        assert not viewer.layers["photo uncertainty"].rgb
        widget.views.tabs.setCurrentIndex(UNCERTAINTY)
        widget.views.uncertainty.mark.click()
        qtbot.waitUntil(lambda: "photo not to be trusted" in viewer.layers)
        assert viewer.layers["photo not to be trusted"].data.shape == (40, 48)

    def test_other_layers_are_left_alone(self, viewer, open_dock, qtbot, course_fit):
        self.deblurred(viewer, open_dock, qtbot, course_fit)
        viewer.layers.selection.active = viewer.layers["cells"]
        self.point_at(viewer, (7, 9))
        assert "±" not in str(viewer.status)

    def test_before_a_result_there_is_nothing_to_press(self, viewer, open_dock, qtbot, course_fit):
        course_fit.steps, course_fit.pause = 10_000, 0.01
        cells(viewer)
        widget = open_dock()
        press(widget.run)
        qtbot.waitUntil(lambda: not widget.views.isHidden())
        widget.views.tabs.setCurrentIndex(UNCERTAINTY)
        assert not widget.views.uncertainty.mark.isEnabled()
        assert "No uncertainty yet" in widget.views.uncertainty.words.text()
        press(widget.stop)
        qtbot.waitUntil(lambda: is_back(widget))
        assert widget.views.uncertainty.mark.isEnabled()

    def point_at(self, viewer, position):
        """Move the mouse."""
        viewer.mouse_over_canvas = True
        viewer.cursor.position = tuple(position)
        viewer.update_status_from_cursor()


class TestTheyFollowTheLayers:
    def two_runs(self, viewer, open_dock, qtbot, fit, results):
        """Run with a narrow and with a wide kernel; returns the widget and what the tabs say of each."""
        cells(viewer)
        widget = open_dock()
        widget.results.value = results
        words = []
        plain = fit.result
        for across in (2, 4):

            def result(*arguments, across=across):
                made = plain(*arguments)
                made.kernel[...] = gaussian(2, 15, across)
                return made

            fit.result = result
            run(widget, qtbot)
            words.append(widget.views.kernel.words.text())
        assert words[0] != words[1]
        return widget, words

    @pytest.mark.parametrize("results", ["add new layers", "replace the last ones"])
    def test_undo_takes_them_back_and_redo_forth(self, viewer, open_dock, qtbot, course_fit, results):
        widget, words = self.two_runs(viewer, open_dock, qtbot, course_fit, results)
        shown = widget.views.kernel.words
        press(widget.undo)
        qtbot.waitUntil(lambda: shown.text() == words[0] and len(viewer.layers) == 4)
        assert widget.status.text().startswith("Undone")
        press(widget.undo)
        qtbot.waitUntil(lambda: shown.text() == words[1])
        assert widget.status.text().startswith("Finished")

    def test_undo_of_the_only_run_leaves_nothing_to_see(self, viewer, open_dock, qtbot, course_fit):
        cells(viewer)
        widget = open_dock()
        run(widget, qtbot)
        press(widget.undo)
        qtbot.waitUntil(lambda: widget.views.isHidden())
        press(widget.undo)
        qtbot.waitUntil(lambda: not widget.views.isHidden())
        assert "Window 15 x 15 px" in widget.views.kernel.words.text()

    def test_the_selected_layers_fit_is_shown(self, viewer, open_dock, qtbot, course_fit):
        widget, words = self.two_runs(viewer, open_dock, qtbot, course_fit, "add new layers")
        viewer.layers.selection.active = viewer.layers["cells deblurred"]
        assert widget.views.kernel.words.text() == words[0]
        viewer.layers.selection.active = viewer.layers["cells"]  # of no fit
        assert widget.views.kernel.words.text() == words[0]
        viewer.layers.selection.active = viewer.layers["cells deblurred [1]"]
        assert widget.views.kernel.words.text() == words[1]

    def test_a_run_is_shown_whatever_is_selected(self, viewer, open_dock, qtbot, course_fit):
        widget, words = self.two_runs(viewer, open_dock, qtbot, course_fit, "add new layers")
        course_fit.steps, course_fit.pause = 10_000, 0.01
        press(widget.run)
        qtbot.waitUntil(lambda: widget.status.text().startswith("fit"))
        viewer.layers.selection.active = viewer.layers["cells deblurred"]
        assert widget.views.kernel.words.text() == words[1]
        assert not widget.views.kernel.use.isEnabled()
        press(widget.stop)
        qtbot.waitUntil(lambda: is_back(widget))
        assert widget.views.kernel.words.text() == words[0]  # that of the selected layer

    def test_a_run_that_failed_gives_way_to_the_one_before(
        self, viewer, open_dock, qtbot, course_fit, notified
    ):
        widget, words = self.two_runs(viewer, open_dock, qtbot, course_fit, "add new layers")
        course_fit.error, course_fit.pause = ValueError("no"), 0.1
        course_fit.result = lambda *arguments, plain=course_fit.result: dataclasses.replace(
            plain(*arguments), kernel=gaussian(1, 15)
        )
        press(widget.run)
        qtbot.waitUntil(lambda: is_back(widget) and len(notified()) == 1)
        qtbot.waitUntil(lambda: widget.views.kernel.words.text() in words)


class TestTheDock:
    def test_it_fits_a_small_screen(self, make_napari_viewer_proxy, plugin, qtbot, course_fit):
        viewer = make_napari_viewer_proxy(show=True)
        cells(viewer)
        name = "Blind deconvolution (VDIP)"
        widget = viewer.window.add_plugin_dock_widget("napari-vdip", name)[1]
        viewer.window.resize(1200, 700)
        widget.fold.click()
        run(widget, qtbot)
        save = widget.views.kernel.save
        (area,) = (a for a in widget.native.findChildren(QScrollArea) if a.isAncestorOf(save))
        assert area.height() < 700
        area.ensureWidgetVisible(widget.image.native)
        qtbot.waitUntil(lambda: widget.image.native.visibleRegion().boundingRect().height() > 10)
        assert save.visibleRegion().isEmpty()
        area.ensureWidgetVisible(save)
        qtbot.waitUntil(lambda: save.visibleRegion().boundingRect().height() > 10)
        assert widget.native.width() <= 480

    def test_closed_it_listens_no_more(self, viewer, open_dock, qtbot, course_fit):
        cells(viewer)
        widget = open_dock()
        run(widget, qtbot)
        widget.native.parent().destroyOnClose()
        viewer.layers.selection.active = viewer.layers["cells deblurred"]
        viewer.theme = "light"
        viewer.mouse_over_canvas = True
        viewer.cursor.position = (7, 9)
        viewer.update_status_from_cursor()
        assert "±" not in str(viewer.status)
