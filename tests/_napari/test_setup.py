"""What the form says and offers before a run, and what it remembers of the last one."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import textwrap
import threading
import time
from typing import ClassVar

import numpy as np
import pytest
import tifffile
from test_widget import blobs, press, quick, run

from napari_vdip import cli, trust
from napari_vdip.devices import Device
from napari_vdip.errors import DeviceUnavailable


@pytest.fixture
def here(monkeypatch):
    """Stand in for the device: a processor with 4 GiB of free memory, found at once."""
    monkeypatch.setattr("napari_vdip._napari.setup.find", lambda *_: Device("cpu", "processor", 4 * 2**30))


def told(widget, qtbot, text):
    """Wait until a text stands above Run, and return all of it."""
    qtbot.waitUntil(lambda: text in widget.outlook.text())
    return widget.outlook.text()


def minutes(text):
    """Read the estimate as minutes."""
    number, unit = re.search(r"About ([\d.,]+) (s|min|h)", text).groups()
    return float(number.replace(",", "")) * {"s": 1 / 60, "min": 1, "h": 60}[unit]


@pytest.fixture
def plugin_file():
    """File in which napari keeps the plugin's settings."""
    from napari.settings import get_plugin_settings

    return lambda: get_plugin_settings("napari-vdip").config_path


def restart():
    """Let napari read the plugins' settings from their files again, as after a restart."""
    from napari import settings

    settings._PLUGIN_SETTINGS.clear()


@pytest.mark.usefixtures("small_fit")
class TestTheKindOfImage:
    def test_it_chooses_the_noise_where_that_is_not_given(self, viewer, open_dock, qtbot):
        viewer.add_image(blobs(40, 48), name="cells")
        widget = open_dock()
        quick(widget)
        assert widget.noise.current_choice == "by kind of image"
        reports = []
        for kind, noise in (("photograph", None), ("fluorescence", None), ("astronomy", "gaussian")):
            widget.kind.value, widget.noise.value = kind, noise
            viewer.layers.selection.active = viewer.layers["cells"]
            run(widget, qtbot)
            reports.append(viewer.layers.selection.active.metadata["napari-vdip"])
        assert [report["noise"] for report in reports] == ["gaussian", "poisson", "gaussian"]
        assert [report["options"]["kind"] for report in reports] == [
            "photograph",
            "fluorescence",
            "astronomy",
        ]

    def test_it_stands_above_the_fold(self, viewer, open_dock):
        widget = open_dock()
        assert not widget.kind.native.parent().isHidden()
        assert widget.noise.native.parent().isHidden()


@pytest.mark.usefixtures("here", "fake_fit")
class TestBeforeRun:
    def test_without_an_image_it_says_what_to_do(self, viewer, open_dock):
        assert open_dock().outlook.text() == "Open an image first."

    def test_image_device_memory_and_time_are_told(self, viewer, open_dock, qtbot):
        viewer.add_image(np.ones((255, 255)), name="cells")
        widget = open_dock()
        widget.threads.value = 4
        text = told(widget, qtbot, "memory")
        assert text.startswith("One image of 255 x 255 px.\n")
        assert text.endswith("on the processor with 4 threads; 4.0 GiB of memory free.")
        assert minutes(text) == pytest.approx(32 / 60, rel=0.3)  # tests/test_pace.py
        widget.threads.value = 1
        assert "with 1 thread; " in told(widget, qtbot, "1 thread;")

    def test_the_time_follows_the_form_and_the_image(self, viewer, open_dock, qtbot):
        viewer.add_image(np.ones((800, 800)), name="cells")
        widget = open_dock()
        widget.threads.value = 4
        one = minutes(told(widget, qtbot, "memory"))
        widget.preset.value = "paper"
        assert minutes(widget.outlook.text()) > 30 * one
        widget.preset.value = "balanced"
        widget.iterations.value = 906  # twice the preset's steps, with what comes before and after
        assert minutes(widget.outlook.text()) == pytest.approx(2 * one, rel=0.2)
        widget.iterations.value = None
        viewer.add_image(np.ones((10, 800, 800)), name="stack")
        widget.image.value = viewer.layers["stack"]
        assert minutes(widget.outlook.text()) == pytest.approx(10 * one, rel=0.2)

    def test_the_next_estimate_is_what_the_last_run_took(self, viewer, open_dock, qtbot, fake_fit):
        viewer.add_image(np.ones((64, 64)), name="cells")
        widget = open_dock()
        widget.preset.value = "fast"
        widget.iterations.value = 170
        assert minutes(told(widget, qtbot, "memory")) < 0.5
        fake_fit.steps, fake_fit.pause = 200, 0.0  # its report says 61 s
        run(widget, qtbot)
        widget.image.value = viewer.layers["cells"]
        told(widget, qtbot, "About 1 min")
        restart()
        widget.preset.value = "balanced"
        widget.preset.value = "fast"
        assert minutes(widget.outlook.text()) == 1

    def test_a_device_that_is_not_there_is_told_before_run(self, viewer, open_dock, qtbot, monkeypatch):
        def find(name, compile):
            if compile == "onnx":
                return Device("onnx:dml", "GPU by DirectML, in ONNX Runtime", 2**30)
            if name == "auto":
                return Device("cuda", "big card", 70 * 2**30)
            raise DeviceUnavailable(f"device={name!r} is not available")

        monkeypatch.setattr("napari_vdip._napari.setup.find", find)
        viewer.add_image(np.ones((40, 48)), name="cells")
        widget = open_dock()
        text = told(widget, qtbot, "memory")
        assert text.endswith("Time not known yet on the big card; 70.0 GiB of memory free.")
        widget.device.value = "cuda:7"
        told(widget, qtbot, "device='cuda:7' is not available")
        widget.compile.value = "onnx"
        told(widget, qtbot, "Time not known yet on the GPU by DirectML, in ONNX Runtime; 1.0 GiB")

    def test_opening_the_form_does_not_wait_for_the_device(self, viewer, open_dock, qtbot, monkeypatch):
        def slow(name, compile):
            time.sleep(1.5)
            return Device("cpu", "processor", 2**30)

        monkeypatch.setattr("napari_vdip._napari.setup.find", slow)
        viewer.add_image(np.ones((40, 48)), name="cells")
        widget = open_dock()
        assert "Looking for the device" in widget.outlook.text()
        told(widget, qtbot, "1.0 GiB of memory free")

    def test_what_a_run_needs_is_loaded_before_run_is_pressed(self):
        code = """
            import gc, sys, threading, time
            import napari
            import numpy as np
            from qtpy.QtWidgets import QApplication
            viewer = napari.Viewer(show=False)
            viewer.add_image(np.ones((40, 48)))
            gc.disable()  # what is collected now is collected on purpose
            collected = []
            gc.callbacks.append(lambda phase, info: collected.append((
                phase, info["generation"], threading.current_thread() is threading.main_thread()
            )))
            viewer.window.add_plugin_dock_widget("napari-vdip", "Blind deconvolution (VDIP)")
            begun = "napari_vdip.solve" in sys.modules
            end = time.monotonic() + 60
            while not collected and time.monotonic() < end:
                QApplication.processEvents()
                time.sleep(0.01)
            print(begun, "napari_vdip.solve" in sys.modules, collected[0])
            """
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
        )
        # Garbage is collected after it, in the window's own thread: not in the first seconds of a run.
        assert done.stdout.strip() == "False True ('start', 2, True)", done.stderr

    def test_the_dock_may_be_closed_while_the_device_is_looked_up(
        self, viewer, open_dock, qtbot, monkeypatch
    ):
        found = []

        def slow(name, compile):
            time.sleep(0.3)
            found.append(name)
            return Device("cpu", "processor", 2**30)

        monkeypatch.setattr("napari_vdip._napari.setup.find", slow)
        viewer.add_image(np.ones((40, 48)), name="cells")
        open_dock().native.parent().destroyOnClose()
        qtbot.waitUntil(lambda: bool(found))
        qtbot.wait(200)  # an exception in a slot would fail the test


@pytest.mark.usefixtures("here", "fake_fit")
class TestTheLastSettings:
    CHOSEN: ClassVar = {
        "kernel_size": (7, 9),
        "preset": "paper",
        "kind": "astronomy",
        "method": "std",
        "seed": 5,
        "iterations": 25,
        "threads": 2,
    }

    def ran(self, viewer, open_dock, qtbot):
        viewer.add_image(np.ones((3, 40, 48)), name="stack", axis_labels=("c", "y", "x"))
        widget = open_dock()
        for name, value in self.CHOSEN.items():
            widget[name].value = value
        run(widget, qtbot)
        return widget

    def test_they_come_back_after_a_restart(self, viewer, open_dock, qtbot):
        first = self.ran(viewer, open_dock, qtbot)
        first.native.parent().destroyOnClose()
        restart()
        viewer.layers.clear()
        second = open_dock()
        assert {name: second[name].value for name in self.CHOSEN} == self.CHOSEN
        assert second.channel_axis.value is None  # belongs to the image

    def test_defaults_sets_every_option_back(self, viewer, open_dock, qtbot):
        widget = self.ran(viewer, open_dock, qtbot)
        press(widget.defaults)
        assert widget.kernel_size.value == "auto"
        assert (widget.preset.value, widget.kind.value, widget.seed.value) == ("balanced", "photograph", 0)
        assert (widget.iterations.value, widget.threads.value, widget.method.value) == (None, None, None)

    def test_they_are_forgotten_where_the_preferences_say_so(self, viewer, open_dock, qtbot):
        from napari.settings import get_plugin_settings

        self.ran(viewer, open_dock, qtbot).native.parent().destroyOnClose()
        get_plugin_settings("napari-vdip").form.remember = False
        restart()
        assert open_dock().preset.value == "balanced"

    def test_a_run_does_not_need_them_to_be_saved(
        self, viewer, open_dock, qtbot, plugin_file, notified, monkeypatch, tmp_path, caplog
    ):
        from napari.settings import get_plugin_settings

        (tmp_path / "no folder").write_text("")
        get_plugin_settings("napari-vdip").config_path = tmp_path / "no folder" / "napari-vdip.yaml"
        self.ran(viewer, open_dock, qtbot)
        assert "stack deblurred" in viewer.layers
        assert notified() == []
        assert "could not be saved" in caplog.text

    @pytest.mark.parametrize(
        "saved",
        [
            '{"preset": "turbo", "seed": -4, "colour": 1, "iterations": 30, "kernel": [1]}',
            "no JSON {",
            "[1, 2]",
            "",
        ],
    )
    def test_what_is_not_allowed_any_more_is_ignored(self, viewer, open_dock, plugin_file, notified, saved):
        plugin_file().write_text(f"form:\n  last: {json.dumps(saved)}\n  speeds: {json.dumps(saved)}\n")
        restart()
        viewer.add_image(np.ones((40, 48)), name="cells")
        widget = open_dock()
        assert (widget.preset.value, widget.seed.value) == ("balanced", 0)
        assert widget.iterations.value == (30 if "turbo" in saved else None)
        assert notified() == []


class TestSlices:
    @pytest.fixture(autouse=True)
    def quick_device(self, here):
        """Look no device up."""

    def test_a_single_image_has_none_to_choose(self, viewer, open_dock):
        viewer.add_image(np.ones((40, 48)), name="cells")
        widget = open_dock()
        assert widget.slices.native.parent().isHidden()
        assert widget.channel_axis.native.parent().isHidden()

    def test_a_stack_offers_all_one_and_a_range(self, viewer, open_dock):
        viewer.add_image(np.ones((5, 12, 40, 48)), name="film", axis_labels=("t", "z", "y", "x"))
        widget = open_dock()
        assert not widget.slices.native.parent().isHidden()
        assert widget.slices.current_choice == "all"
        assert widget.outlook.text().startswith("60 slices (5 t x 12 z) of 40 x 48 px, each on its own.")
        texts = [widget.slices.native.itemText(n) for n in range(widget.slices.native.count())]
        assert texts == ["all", "the one shown", "range of t", "range of z"]

    def test_the_slice_that_is_shown_is_taken(self, viewer, open_dock, qtbot, fake_fit):
        stack = np.arange(12)[:, None, None] * np.ones((12, 40, 48))
        source = viewer.add_image(stack, name="stack", scale=(3, 0.5, 0.5), translate=(100, 0, 7))
        widget = open_dock()
        widget.slices.value = "this"
        viewer.dims.set_current_step(0, 4)
        assert "1 slice of 40 x 48 px, on its own. Taken: axis 0 4 (of 0 to 11)." in widget.outlook.text()
        viewer.dims.set_current_step(0, 9)
        assert "axis 0 9" in widget.outlook.text()
        run(widget, qtbot)
        np.testing.assert_array_equal(fake_fit.image, stack[9:10])
        for name in ("deblurred", "uncertainty"):
            layer = viewer.layers[f"stack {name}"]
            assert layer.data.shape == (1, 40, 48)
            np.testing.assert_allclose(layer.data_to_world((0, 5, 6)), source.data_to_world((9, 5, 6)))
        assert viewer.layers["stack kernel"].data_to_world((0, 0, 0))[0] == 100 + 3 * 9
        assert viewer.dims.current_step[0] == 9
        # it is to be seen on its slice, and on that one only
        for step, there in ((9, True), (8, False)):
            viewer.dims.set_current_step(0, step)
            seen = viewer.layers["stack deblurred"].get_value(source.data_to_world((step, 5, 6)), world=True)
            assert (seen == 9) == there

    def test_a_range_is_taken(self, viewer, open_dock, qtbot, fake_fit):
        film = np.arange(24.0).reshape(4, 6, 1, 1) * np.ones((4, 6, 40, 48))
        source = viewer.add_image(film, name="film", rotate=np.diag([1, 1, 1, 1]), axis_labels=list("tzyx"))
        widget = open_dock()
        widget.slices.value = 1
        assert (widget.between.slices_from.value, widget.between.slices_to.value) == (0, 5)
        assert (widget.between.slices_from.max, widget.between.slices_to.max) == (5, 5)
        widget.between.slices_from.value, widget.between.slices_to.value = 2, 3
        assert "8 slices (4 t x 2 z) of 40 x 48 px" in widget.outlook.text()
        assert "Taken: z 2 to 3 (of 0 to 5)." in widget.outlook.text()
        run(widget, qtbot)
        np.testing.assert_array_equal(fake_fit.image, film[:, 2:4])
        layer = viewer.layers["film deblurred"]
        np.testing.assert_allclose(layer.data_to_world((1, 0, 5, 6)), source.data_to_world((1, 2, 5, 6)))

    def test_another_image_starts_with_all_its_slices(self, viewer, open_dock):
        viewer.add_image(np.ones((3, 40, 48)), name="b")
        viewer.add_image(np.ones((12, 40, 48)), name="a")
        widget = open_dock()
        widget.slices.value = "this"
        widget.image.value = viewer.layers["b"]
        assert widget.slices.current_choice == "all"
        assert widget.outlook.text().startswith("3 slices")

    def test_channels_are_no_slices(self, viewer, open_dock, qtbot, fake_fit):
        data = np.arange(24.0).reshape(2, 12, 1, 1) * np.ones((2, 12, 40, 48))
        viewer.add_image(data, name="cells", axis_labels=("c", "z", "y", "x"))
        widget = open_dock()
        assert not widget.channel_axis.native.parent().isHidden()
        assert widget.channel_axis.value == 0
        words = "12 slices of 40 x 48 px in 2 channels: 24 images, each on its own."
        assert widget.outlook.text().startswith(words)
        widget.slices.value = "this"
        viewer.dims.set_current_step(1, 3)
        run(widget, qtbot)
        np.testing.assert_array_equal(fake_fit.image, data[:, 3:4])
        widget.image.value, widget.slices.value = viewer.layers["cells"], "all"
        widget.channel_axis.value = None
        assert widget.outlook.text().startswith("24 slices (2 c x 12 z)")

    def test_in_a_viewer_of_other_units_the_slice_that_is_shown_is_taken(
        self, viewer, open_dock, qtbot, fake_fit
    ):
        data = np.arange(10)[:, None, None] * np.ones((10, 40, 48))
        viewer.add_image(np.ones((10, 40, 48)), name="in um", scale=(2, 1, 1), units="um")
        viewer.add_image(data, name="in nm", scale=(2000, 1000, 1000), units="nm")
        widget = open_dock()
        widget.image.value = viewer.layers["in nm"]
        widget.slices.value = "this"
        viewer.dims.set_current_step(0, 6)
        run(widget, qtbot)
        np.testing.assert_array_equal(fake_fit.image, data[6:7])

    def test_the_mask_is_cut_like_the_image(self, viewer, open_dock, qtbot, fake_fit):
        viewer.add_image(np.ones((5, 40, 48)), name="stack")
        labels = np.zeros((5, 40, 48), int)
        labels[3, :4] = 1
        mask = viewer.add_labels(labels, name="mask")
        widget = open_dock()
        widget.mask.value = mask
        widget.slices.value = "this"
        viewer.dims.set_current_step(0, 3)
        run(widget, qtbot)
        np.testing.assert_array_equal(fake_fit.options.mask, labels[3:4] != 0)


PLACED = {"scale": (0.5, 0.25), "rotate": 20, "translate": (3, -4), "units": ("um", "um")}


@pytest.mark.usefixtures("here")
class TestARegionOfASlice:
    """What is told, deblurred and copied is the region of the slices that are chosen."""

    @pytest.fixture
    def widget(self, viewer, open_dock):
        stack = np.arange(6)[:, None, None] * np.ones((6, 40, 48)) + blobs(40, 48)
        viewer.add_image(stack, name="stack", scale=(3, 0.5, 0.5), axis_labels=("z", "y", "x"))
        drawn = np.array([[5, 10], [5, 29], [24, 29], [24, 10]]) * 0.5
        viewer.add_shapes([drawn], shape_type="polygon", name="box")
        widget = open_dock()
        quick(widget)
        widget.image.value = viewer.layers["stack"]
        widget.region.value = "rectangle"
        widget.slices.value = "this"
        viewer.dims.set_current_step(0, 4)
        return widget

    def test_it_is_told_and_deblurred_in_its_place(self, viewer, widget, qtbot, fake_fit):
        words = "1 slice of 20 x 20 px, on its own. Taken: z 4 (of 0 to 5), y 5 to 24 (of 0 to 39)"
        assert widget.outlook.text().startswith(words)
        source = viewer.layers["stack"]
        run(widget, qtbot)
        np.testing.assert_array_equal(fake_fit.image, source.data[4:5, 5:25, 10:30])
        made = viewer.layers["stack region deblurred"]
        np.testing.assert_allclose(made.data_to_world((0, 0, 0)), source.data_to_world((4, 5, 10)))

    def test_the_copied_code_takes_the_same_part(self, viewer, widget, qtbot):
        run(widget, qtbot)
        widget.image.value, widget.slices.value = viewer.layers["stack"], "this"
        code = TestCopied().copied(widget.copy_python)
        assert "image = viewer.layers['stack'].data[4:5, 5:25, 10:30]" in code
        result = TestCopied().executed(code, viewer)
        TestCopied().same(viewer, "stack region", result.image, result.kernel, result.uncertainty)

    def test_a_missing_rectangle_is_told_before_run(self, viewer, widget):
        viewer.layers.remove("box")
        viewer.add_shapes(name="empty")
        assert "there is no rectangle yet" in widget.outlook.text()

    def test_the_view_is_followed(self, viewer, widget, qtbot):
        widget.region.value = "current view"
        before = widget.outlook.text()
        getattr(viewer, "scene", viewer).camera.zoom *= 4
        qtbot.waitUntil(lambda: widget.outlook.text() != before)
        assert "Taken: z 4 (of 0 to 5), y " in widget.outlook.text()


class Stored:
    """An array on a disk, as zarr and h5py have it; it notes who reads what."""

    def __init__(self, data):
        self._data, self.shape, self.dtype, self.ndim = data, data.shape, data.dtype, data.ndim
        self.read = []

    def __getitem__(self, index):
        self.read.append((threading.current_thread() is threading.main_thread(), index))
        return self._data[index]


class TestLayersOfEveryKind:
    """The real fit: every kind of layer gives layers that lie where it lies."""

    @pytest.fixture(autouse=True)
    def quick_device(self, here):
        """Look no device up."""

    def ran(self, viewer, open_dock, qtbot, layer, words):
        widget = open_dock()
        quick(widget)
        assert widget.image.value.name == layer.name
        assert widget.outlook.text().startswith(words)
        run(widget, qtbot)
        made = viewer.layers[f"{layer.name} deblurred"], viewer.layers[f"{layer.name} uncertainty"]
        for result in made:
            for key in ("scale", "translate", "rotate", "shear"):
                np.testing.assert_allclose(getattr(result, key), getattr(layer, key), atol=1e-12)
            np.testing.assert_array_equal(result.affine.affine_matrix, layer.affine.affine_matrix)
            assert (result.units, result.axis_labels) == (layer.units, layer.axis_labels)
            assert np.isfinite(result.data).all()
        assert [result.rgb for result in made] == [layer.rgb, False]  # one std a pixel
        return made[0]

    def test_colours(self, viewer, open_dock, qtbot):
        data = np.stack([blobs(40, 48) // 80] * 3, axis=-1).astype(np.uint8)
        layer = viewer.add_image(data, rgb=True, name="photo", **PLACED)
        words = "One image of 40 x 48 px in colour; its colours share one kernel."
        assert self.ran(viewer, open_dock, qtbot, layer, words).data.shape == (40, 48, 3)

    def test_channels_in_the_last_axis(self, viewer, open_dock, qtbot):
        data = np.moveaxis(blobs(2, 40, 48), 0, -1)
        layer = viewer.add_image(
            data,
            rgb=False,
            name="channels",
            axis_labels=("y", "x", "channel"),
            scale=(2, 3, 1),
            rotate=np.eye(3),
        )
        words = "2 channels of 40 x 48 px, each on its own."
        assert self.ran(viewer, open_dock, qtbot, layer, words).data.shape == (40, 48, 2)
        assert viewer.layers["channels kernel"].data.shape == (5, 5, 2)

    def test_a_time_series(self, viewer, open_dock, qtbot):
        layer = viewer.add_image(
            blobs(2, 40, 48),
            name="film",
            axis_labels=("t", "y", "x"),
            units=("s", "um", "um"),
            scale=(0.1, 0.5, 0.5),
        )
        self.ran(viewer, open_dock, qtbot, layer, "2 slices of 40 x 48 px, each on its own.")

    def test_several_resolutions(self, viewer, open_dock, qtbot):
        fine = blobs(40, 48)
        layer = viewer.add_image([fine, fine[::2, ::2]], multiscale=True, name="pyramid", **PLACED)
        words = "One image of 40 x 48 px. The finest of 2 resolutions."
        assert self.ran(viewer, open_dock, qtbot, layer, words).data.shape == (40, 48)

    def test_dask(self, viewer, open_dock, qtbot):
        import dask.array

        data = dask.array.from_array(blobs(2, 40, 48), chunks=(1, 40, 48))
        layer = viewer.add_image(data, name="lazy", scale=(3, 1, 1), contrast_limits=(0, 20_500))
        self.ran(viewer, open_dock, qtbot, layer, "2 slices of 40 x 48 px, each on its own.")

    def test_a_slice_of_an_array_on_a_disk_is_read_by_the_worker(self, viewer, open_dock, qtbot, fake_fit):
        stored = Stored(blobs(3, 40, 48))
        viewer.add_image(stored, name="stored", contrast_limits=(0, 20_500))
        widget = open_dock()
        widget.slices.value = "this"
        viewer.dims.set_current_step(0, 2)
        stored.read.clear()
        run(widget, qtbot)
        np.testing.assert_array_equal(viewer.layers["stored deblurred"].data, stored[2:3])
        by_fit = [index for in_main, index in stored.read[:-1] if not in_main]
        assert by_fit
        assert all(index[0] in (2, slice(2, 3), slice(2, 3, 1)) for index in by_fit)

    def test_a_rotated_sheared_layer_with_an_affine(self, viewer, open_dock, qtbot):
        layer = viewer.add_image(
            blobs(40, 48), name="tilted", shear=[0.2], affine=[[0, 1, 5], [-1, 0, 6], [0, 0, 1]], **PLACED
        )
        self.ran(viewer, open_dock, qtbot, layer, "One image of 40 x 48 px.")


@pytest.mark.usefixtures("here")
@pytest.mark.usefixtures("small_fit")
class TestCopied:
    """What is on the clipboard is run, and gives the layers of the viewer bit for bit."""

    def copied(self, button):
        from qtpy.QtGui import QGuiApplication

        press(button)
        return QGuiApplication.clipboard().text()

    def executed(self, code, viewer=None):
        names = {"viewer": viewer}
        exec(compile(code, "copied", "exec"), names)
        return names["result"]

    def commanded(self, text, capsys):
        command = [line for line in text.splitlines() if not line.startswith("#")]
        assert len(command) == 1
        name, *words = shlex.split(command[0])
        assert name == "napari-vdip"
        assert cli.main(words) == 0, capsys.readouterr().err
        return words

    @pytest.fixture
    def opened(self, viewer, open_dock, tmp_path, monkeypatch):
        """Open a saved image in the viewer, and the form with a few steps set."""
        monkeypatch.chdir(tmp_path)
        tifffile.imwrite(tmp_path / "my cells.tif", blobs(40, 48))
        (layer,) = viewer.open(tmp_path / "my cells.tif", plugin="napari")
        widget = open_dock()
        quick(widget)
        widget.kind.value = "fluorescence"
        widget.seed.value = 3
        return layer, widget

    def same(self, viewer, name, image, kernel, uncertainty):
        if viewer.layers[f"{name} deblurred"].rgb:  # shown is one std a pixel
            uncertainty = trust.grey(uncertainty)
        for word, found in (("deblurred", image), ("kernel", kernel), ("uncertainty", uncertainty)):
            np.testing.assert_array_equal(viewer.layers[f"{name} {word}"].data, found, err_msg=word)

    @pytest.fixture
    def viewer(self, make_napari_viewer_proxy, plugin, builtins_reader):
        """Make a viewer that can open files."""
        return make_napari_viewer_proxy()

    @pytest.fixture
    def builtins_reader(self, npe2pm):
        """Register napari's own readers."""
        from npe2 import PluginManifest

        manifest = PluginManifest.from_distribution("napari")
        with npe2pm.tmp_plugin(manifest=manifest):
            yield

    def test_python_gives_the_same_result(self, viewer, opened, qtbot, monkeypatch):
        for name in ("cpu_count", "sched_getaffinity"):  # three cores, whatever there are
            monkeypatch.setattr(os, name, lambda *_: 3 if not _ else {0, 1, 2}, raising=False)
        _, widget = opened
        widget.threads.value = None  # the form then takes one less than all: the code has to say so
        widget.kernel_family.value = "free"  # the search for a Gaussian takes long in many threads
        run(widget, qtbot)
        widget.image.value = viewer.layers["my cells"]
        code = self.copied(widget.copy_python)
        assert widget.status.text() == "Python code copied."
        assert "my cells.tif" in code
        assert "threads=2" in code
        assert "preset='fast'" in code
        assert "noise" not in code  # not given: it follows from the kind
        result = self.executed(code)
        self.same(viewer, "my cells", result.image, result.kernel, result.uncertainty)

    def test_the_command_gives_the_same_result(self, viewer, opened, qtbot, tmp_path, capsys):
        _, widget = opened
        run(widget, qtbot)
        widget.image.value = viewer.layers["my cells"]
        text = self.copied(widget.copy_command)
        assert widget.status.text() == "Command copied."
        self.commanded(text, capsys)
        kinds = ("deblurred", "kernel", "uncertainty")
        self.same(
            viewer,
            "my cells",
            *(tifffile.imread(tmp_path / "results" / f"my cells_{kind}.tif") for kind in kinds),
        )

    def test_kernel_and_mask_of_files_are_in_both(self, viewer, opened, qtbot, tmp_path, capsys):
        layer, widget = opened
        tifffile.imwrite(tmp_path / "psf.tif", np.outer([1, 2, 1], [1, 3, 1]).astype(np.float32))
        tifffile.imwrite(tmp_path / "spots.tif", np.eye(40, 48, dtype=np.uint8))
        viewer.open([tmp_path / "psf.tif"], plugin="napari")
        viewer.open([tmp_path / "spots.tif"], plugin="napari", layer_type="labels")
        widget.kernel_size.value = "auto"
        widget.image.value, widget.kernel.value = layer, viewer.layers["psf"]
        widget.mask.value = viewer.layers["spots"]
        run(widget, qtbot)
        widget.image.value = layer
        result = self.executed(self.copied(widget.copy_python))
        self.same(viewer, "my cells", result.image, result.kernel, result.uncertainty)
        self.commanded(self.copied(widget.copy_command), capsys)
        image = tifffile.imread(tmp_path / "results" / "my cells_deblurred.tif")
        np.testing.assert_array_equal(image, result.image)

    def test_a_changed_layer_is_not_taken_for_its_file(self, viewer, opened, qtbot):
        layer, widget = opened
        layer.data = layer.data[::-1].copy()
        run(widget, qtbot)
        widget.image.value = viewer.layers["my cells"]
        code = self.copied(widget.copy_python)
        assert "viewer.layers['my cells'].data" in code
        result = self.executed(code, viewer)
        self.same(viewer, "my cells", result.image, result.kernel, result.uncertainty)
        assert self.copied(widget.copy_command).startswith(
            "# first save the layer 'my cells' as my_cells.tif\n"
        )

    def test_a_slice_of_an_array_with_a_mask(self, viewer, open_dock, qtbot, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        viewer.add_image(blobs(4, 40, 48), name="stack")
        labels = np.zeros((4, 40, 48), int)
        labels[2, 5:9] = 1
        viewer.add_labels(labels, name="spots")
        widget = open_dock()
        quick(widget)
        widget.image.value, widget.mask.value = viewer.layers["stack"], viewer.layers["spots"]
        widget.slices.value = "this"
        viewer.dims.set_current_step(0, 2)
        run(widget, qtbot)
        widget.image.value = viewer.layers["stack"]
        widget.slices.value = "this"
        result = self.executed(self.copied(widget.copy_python), viewer)
        self.same(viewer, "stack", result.image, result.kernel, result.uncertainty)
        # the shell gets what its notes say has to be saved
        text = self.copied(widget.copy_command)
        for expression, name in re.findall("# first save (viewer.*) as (.*)", text):
            tifffile.imwrite(tmp_path / name, eval(expression, {"viewer": viewer}).astype(np.uint16))
        self.commanded(text, capsys)
        image = tifffile.imread(tmp_path / "results" / "stack_part_deblurred.tif")
        np.testing.assert_array_equal(image.squeeze(), result.image.squeeze())

    def test_colours(self, viewer, open_dock, qtbot, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        photo = np.stack([blobs(40, 48) // 80, blobs(40, 48) // 100, blobs(40, 48) // 90], -1).astype(
            np.uint8
        )
        tifffile.imwrite(tmp_path / "photo.tif", photo, photometric="rgb")
        viewer.open(tmp_path / "photo.tif", plugin="napari")
        widget = open_dock()
        quick(widget)
        run(widget, qtbot)
        widget.image.value = viewer.layers["photo"]
        result = self.executed(self.copied(widget.copy_python))
        assert viewer.layers["photo"].rgb
        self.same(viewer, "photo", result.image, result.kernel, result.uncertainty)
        self.commanded(self.copied(widget.copy_command), capsys)
        image = tifffile.imread(tmp_path / "results" / "photo_deblurred.tif")
        np.testing.assert_array_equal(image, result.image)

    def test_what_cannot_be_run_is_not_copied(self, viewer, open_dock, notified):
        widget = open_dock()
        press(widget.copy_python)
        assert widget.status.text() == "There is nothing to copy yet: open an image first."
        viewer.add_image(blobs(40, 48), name="cells")
        widget.kernel_size.value = 6
        press(widget.copy_command)
        assert "is even" in widget.status.text()
        assert len(notified()) == 1
