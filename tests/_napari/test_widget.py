"""The dock widget in a real viewer: what someone who presses its buttons sees."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager

import dask.array
import numpy as np
import pytest
from napari.layers import Image
from qtpy.QtCore import QThreadPool

from napari_vdip.errors import Diverged

GEOMETRY = {
    "scale": (0.5, 0.25),
    "translate": (10, -4),
    "rotate": 15,
    "units": ("um", "um"),
    "axis_labels": ("y", "x"),
}


def blobs(*shape, dtype=np.uint16):
    """Smooth random image, as a blurred one is."""
    from scipy.ndimage import gaussian_filter

    noise = np.random.default_rng(0).random(shape)
    sigma = [0] * (len(shape) - 2) + [2, 2]
    smooth = gaussian_filter(noise, sigma)
    return (20_000 * (smooth - smooth.min()) / np.ptp(smooth) + 500).astype(dtype)


def quick(widget):
    """Set the real fit to a few steps, without the time that compiling takes."""
    widget.kernel_size.value = 5
    widget.preset.value = "fast"
    widget.iterations.value = 5
    widget.compile.value = "off"
    widget.threads.value = 1
    widget.kernel_draws.value = 0


def press(button):
    button.native.click()


def offered(button):
    return not button.native.isHidden()


def is_back(widget):
    return widget.run.enabled and not widget.stop.enabled


def run(widget, qtbot, timeout=120_000):
    press(widget.run)
    assert not widget.run.enabled
    assert widget.stop.enabled
    qtbot.waitUntil(lambda: is_back(widget), timeout=timeout)


@contextmanager
def threads_taken():
    """Keep all threads of the pool busy: a run that is started waits for one."""
    pool, free = QThreadPool.globalInstance(), threading.Event()
    for _ in range(pool.maxThreadCount()):
        pool.start(free.wait)
    try:
        yield
    finally:
        free.set()


def names(viewer):
    return [layer.name for layer in viewer.layers]


class TestTheRealFit:
    def test_three_layers_lie_where_the_image_lies(self, viewer, open_dock, qtbot, notified):
        source = viewer.add_image(blobs(40, 48), name="cells", **GEOMETRY)
        widget = open_dock()
        quick(widget)
        run(widget, qtbot)
        assert names(viewer) == ["cells", "cells deblurred", "cells kernel", "cells uncertainty"]
        for name in ("cells deblurred", "cells uncertainty"):
            layer = viewer.layers[name]
            assert layer.data.shape == (40, 48)
            assert layer.data.dtype == np.float32
            for key in ("scale", "translate", "rotate", "shear"):
                np.testing.assert_allclose(getattr(layer, key), getattr(source, key), atol=1e-12)
            np.testing.assert_array_equal(layer.affine.affine_matrix, source.affine.affine_matrix)
            assert layer.units == source.units
            assert layer.axis_labels == source.axis_labels
        kernel = viewer.layers["cells kernel"]
        assert kernel.data.shape == (5, 5)
        assert kernel.data.sum() == pytest.approx(1, abs=1e-4)
        assert kernel.units == source.units
        assert source.world_to_data(kernel.data_to_world((0, 0)))[1] > 47.5
        report = viewer.layers["cells deblurred"].metadata["napari-vdip"]
        assert report["stop_reason"] == "finished"
        assert report["options"]["iterations"] == 5
        assert viewer.layers.selection.active.name == "cells deblurred"
        assert widget.status.text().startswith("Finished")
        assert notified() == [] or all(note.severity.value == "warning" for note in notified())

    def test_stop_brings_the_button_back_with_what_was_reached(self, viewer, open_dock, qtbot):
        viewer.add_image(blobs(256, 256), name="cells")
        widget = open_dock()
        widget.kernel_size.value = 21
        widget.iterations.value = 100_000
        press(widget.run)
        qtbot.waitUntil(lambda: "step" in widget.status.text(), timeout=240_000)
        pressed = time.perf_counter()
        press(widget.stop)
        qtbot.waitUntil(lambda: is_back(widget), timeout=10_000)
        assert time.perf_counter() - pressed < 1.5
        assert names(viewer) == ["cells", "cells deblurred", "cells kernel", "cells uncertainty"]
        assert widget.status.text().startswith("Stopped at step")

    def test_a_coloured_image_stays_coloured(self, viewer, open_dock, qtbot):
        photo = np.stack([blobs(40, 48) // 80] * 3, axis=-1).astype(np.uint8)
        viewer.add_image(photo, name="photo", rgb=True)
        widget = open_dock()
        quick(widget)
        run(widget, qtbot)
        assert viewer.layers["photo deblurred"].rgb
        assert viewer.layers["photo deblurred"].data.shape == (40, 48, 3)
        assert viewer.layers["photo kernel"].data.shape == (5, 5)

    def test_a_stack_gets_a_kernel_for_each_slice(self, viewer, open_dock, qtbot):
        viewer.add_image(blobs(2, 40, 48), name="stack", scale=(3, 1, 1))
        widget = open_dock()
        quick(widget)
        run(widget, qtbot)
        assert viewer.layers["stack deblurred"].data.shape == (2, 40, 48)
        assert viewer.layers["stack kernel"].data.shape == (2, 5, 5)
        assert tuple(viewer.layers["stack uncertainty"].scale) == (3, 1, 1)

    def test_missing_pixels_take_no_part(self, viewer, open_dock, qtbot):
        data = blobs(40, 48, dtype=np.float32)
        data[10:14, 20:25] = np.nan
        viewer.add_image(data, name="cells")
        widget = open_dock()
        quick(widget)
        run(widget, qtbot)
        assert "cells deblurred" in viewer.layers

    def test_a_mask_and_a_known_kernel_are_layers(self, viewer, open_dock, qtbot):
        viewer.add_image(blobs(40, 48), name="cells")
        psf = viewer.add_image(np.outer([1, 2, 1], [1, 2, 1]).astype(float), name="psf")
        mask = viewer.add_labels(np.eye(40, 48, dtype=int), name="mask")
        widget = open_dock()
        quick(widget)
        widget.kernel_size.value = "auto"
        widget.image.value = viewer.layers["cells"]
        widget.kernel.value = psf
        widget.mask.value = mask
        run(widget, qtbot)
        expected = np.outer([1, 2, 1], [1, 2, 1]) / 16
        np.testing.assert_allclose(viewer.layers["cells kernel"].data, expected, atol=1e-6)

    @pytest.mark.parametrize(
        ("data", "setting", "text"),
        [
            (blobs(12, 12), {"kernel_size": 21}, "smaller than the kernel"),
            (np.full((40, 48), 7.0), {"kernel_size": 5}, "constant"),
            (np.full((40, 48), np.nan), {"kernel_size": 5}, "no usable pixel"),
            (np.where(np.eye(40, 48), np.inf, 1.0), {"kernel_size": 5}, "infinite values"),
            (blobs(40, 48), {"kernel_size": 6}, "is even"),
            (blobs(40, 48), {"kernel_size": "wide"}, "write auto"),
            (blobs(40, 48), {"kernel_size": -5}, "write auto"),
            (blobs(40, 48), {"device": "abacus"}, "device='abacus' is unknown"),
            (blobs(40, 48), {"device": "cuda:99"}, "is not available"),
        ],
        ids=lambda value: str(value) if isinstance(value, dict | str) else "",
    )
    def test_bad_input_is_told_once_and_leaves_the_form_usable(
        self, viewer, open_dock, qtbot, notified, data, setting, text
    ):
        # (napari itself refuses images that are 1-D or complex.)
        viewer.add_layer(Image(data, name="cells", contrast_limits=(0, 1)))
        widget = open_dock()
        for name, value in setting.items():
            widget[name].value = value
        press(widget.run)
        qtbot.waitUntil(lambda: is_back(widget) and bool(notified()), timeout=20_000)
        assert len(notified()) == 1
        assert text in notified()[0].message
        assert text in widget.status.text()
        assert names(viewer) == ["cells"]

    def test_after_an_error_a_run_succeeds(self, viewer, open_dock, qtbot):
        viewer.add_image(blobs(40, 48), name="cells")
        widget = open_dock()
        quick(widget)
        widget.kernel_size.value = 6
        press(widget.run)
        assert is_back(widget)
        widget.kernel_size.value = 5
        run(widget, qtbot)
        assert "cells deblurred" in viewer.layers

    def test_a_mask_of_another_shape_is_told(self, viewer, open_dock, qtbot, notified):
        viewer.add_image(blobs(40, 48), name="cells")
        viewer.add_labels(np.zeros((30, 30), int), name="mask")
        widget = open_dock()
        quick(widget)
        widget.mask.value = viewer.layers["mask"]
        run(widget, qtbot)
        assert [note.message for note in notified()] == ["the mask has shape (30, 30); expected (40, 48)"]


class TestTheForm:
    def test_run_needs_an_image(self, viewer, open_dock):
        widget = open_dock()
        assert not widget.run.enabled
        viewer.add_image(np.ones((40, 48)), name="cells")
        assert widget.image.value.name == "cells"
        assert widget.run.enabled
        viewer.layers.clear()
        assert not widget.run.enabled

    def test_the_selected_image_is_chosen(self, viewer, open_dock):
        for name in "abc":
            viewer.add_image(np.ones((40, 48)), name=name)
        viewer.layers.selection.active = viewer.layers["b"]
        assert open_dock().image.value.name == "b"

    def test_the_topmost_image_is_chosen_where_none_is_selected(self, viewer, open_dock):
        viewer.add_image(np.ones((40, 48)), name="a")
        viewer.add_image(np.ones((40, 48)), name="b")
        viewer.add_points(np.zeros((1, 2)))
        assert open_dock().image.value.name == "b"

    def test_a_renamed_image_stays_chosen(self, viewer, open_dock):
        viewer.add_image(np.ones((40, 48)), name="a")
        b = viewer.add_image(np.ones((40, 48)), name="b")
        widget = open_dock()
        b.name = "renamed"
        assert widget.image.value.name == "renamed"
        assert widget.image.current_choice == "renamed"

    def test_the_advanced_fields_are_folded(self, viewer, open_dock):
        widget = open_dock()
        assert not widget.preset.native.parent().isHidden()
        assert widget.seed.native.parent().isHidden()
        widget.fold.click()
        assert not widget.seed.native.parent().isHidden()
        widget.fold.click()
        assert widget.seed.native.parent().isHidden()

    def test_the_axis_of_channels_is_known_from_its_label(self, viewer, open_dock):
        viewer.add_image(np.ones((3, 40, 48)), name="channels", axis_labels=("c", "y", "x"))
        widget = open_dock()
        assert widget.channel_axis.value == 0
        viewer.add_image(np.ones((3, 40, 48)), name="z", axis_labels=("z", "y", "x"))
        widget.image.value = viewer.layers["z"]
        assert widget.channel_axis.value is None

    def test_holding_a_kernel_needs_a_kernel(self, viewer, open_dock):
        viewer.add_image(np.ones((5, 5)), name="psf")
        widget = open_dock()
        assert not widget.kernel_fixed.enabled
        widget.kernel.value = viewer.layers["psf"]
        assert widget.kernel_fixed.enabled


class TestARun:
    def test_the_fields_are_the_options(self, viewer, open_dock, qtbot, fake_fit):
        viewer.add_image(np.ones((40, 48)))
        widget = open_dock()
        widget.kernel_size.value = (7, 9)
        widget.method.value = "std"
        widget.seed.value = 5
        widget.threads.value = 2
        run(widget, qtbot)
        options = fake_fit.options
        assert (options.kernel_size, options.method, options.seed, options.threads) == ((7, 9), "std", 5, 2)
        assert not options.rgb

    def test_progress_is_shown(self, viewer, open_dock, qtbot, fake_fit):
        from napari.utils import progress

        fake_fit.steps = 10_000
        viewer.add_image(np.ones((40, 48)), name="cells")
        widget = open_dock()
        press(widget.run)
        qtbot.waitUntil(lambda: "of 10,000" in widget.status.text())
        assert widget.status.text().endswith("1:15 left")
        assert widget.progress_bar.maximum() == 10_000
        assert [bar.desc for bar in progress._all_instances] == ["deblurring cells, fit"]
        press(widget.stop)
        qtbot.waitUntil(lambda: is_back(widget))
        assert not progress._all_instances

    def test_the_bar_of_a_stack_tells_the_slice(self, viewer, open_dock, qtbot, fake_fit):
        from napari.utils import progress

        fake_fit.steps = 20
        viewer.add_image(np.ones((300, 40, 48)), name="stack")
        widget = open_dock()
        press(widget.run)
        qtbot.waitUntil(lambda: "slice 2 of 300" in widget.status.text())
        (bar,) = progress._all_instances
        qtbot.waitUntil(lambda: "slice 1 " not in bar.desc)
        assert bar.desc.startswith("deblurring stack, slice ")
        assert bar.total == 6_000
        assert bar.n >= 21
        press(widget.stop)
        qtbot.waitUntil(lambda: is_back(widget))
        assert not progress._all_instances
        assert "stack deblurred" in viewer.layers

    def test_stop_before_the_first_step_adds_nothing(self, viewer, open_dock, qtbot, fake_fit):
        viewer.add_image(np.ones((40, 48)), name="cells")
        widget = open_dock()
        with threads_taken():
            press(widget.run)
            press(widget.stop)
        qtbot.waitUntil(lambda: is_back(widget))
        assert names(viewer) == ["cells"]
        assert "nothing to show" in widget.status.text()

    @pytest.mark.parametrize(
        "error",
        [Diverged("try another seed"), RuntimeError("torch says no"), KeyError("a bug"), MemoryError("full")],
        ids=lambda error: type(error).__name__,
    )
    def test_a_failing_run_gives_the_button_back_and_is_told_once(
        self, viewer, open_dock, qtbot, fake_fit, notified, error
    ):
        fake_fit.error = error
        viewer.add_image(np.ones((40, 48)), name="cells")
        widget = open_dock()
        run(widget, qtbot)
        assert len(notified()) == 1
        assert error.args[0] in notified()[0].message
        assert error.args[0] in widget.status.text()
        assert names(viewer) == ["cells"]
        fake_fit.error = None
        run(widget, qtbot)
        assert "cells deblurred" in viewer.layers

    def test_warnings_of_the_report_are_told_once(self, viewer, open_dock, qtbot, fake_fit, notified):
        fake_fit.warnings = ("the kernel reaches its border", "and another thing")
        viewer.add_image(np.ones((40, 48)), name="cells")
        widget = open_dock()
        run(widget, qtbot)
        assert [note.message for note in notified()] == ["the kernel reaches its border\nand another thing"]
        assert "reaches its border" in widget.status.text()

    def test_python_warnings_of_the_worker_are_no_pop_ups(
        self, viewer, open_dock, qtbot, fake_fit, notified, caplog, monkeypatch
    ):
        import warnings

        def warn(image, options):
            warnings.warn("torch.jit is deprecated", DeprecationWarning, stacklevel=1)
            return (yield from fake_fit(image, options))

        monkeypatch.setattr("napari_vdip.stack.fit", warn)
        viewer.add_image(np.ones((40, 48)), name="cells")
        run(open_dock(), qtbot)
        assert notified() == []
        assert "torch.jit is deprecated" in caplog.text

    def test_the_layer_may_be_removed_meanwhile(self, viewer, open_dock, qtbot, fake_fit, notified):
        fake_fit.steps = 30
        viewer.add_image(np.ones((40, 48)), name="cells", scale=(2, 2))
        widget = open_dock()
        press(widget.run)
        qtbot.waitUntil(lambda: "step" in widget.status.text())
        viewer.layers.remove("cells")
        assert not widget.run.enabled
        qtbot.waitUntil(lambda: len(viewer.layers) == 3)
        qtbot.waitUntil(lambda: is_back(widget))
        assert tuple(viewer.layers["cells deblurred"].scale) == (2, 2)
        assert notified() == []

    def test_the_layer_may_be_renamed_meanwhile(self, viewer, open_dock, qtbot, fake_fit):
        fake_fit.steps = 30
        layer = viewer.add_image(np.ones((40, 48)), name="cells")
        widget = open_dock()
        press(widget.run)
        qtbot.waitUntil(lambda: "step" in widget.status.text())
        layer.name = "renamed"
        qtbot.waitUntil(lambda: is_back(widget))
        assert names(viewer) == ["renamed", "cells deblurred", "cells kernel", "cells uncertainty"]

    def test_a_multiscale_layer_gives_its_finest_level(self, viewer, open_dock, qtbot, fake_fit):
        fine = np.random.default_rng(0).random((64, 80))
        viewer.add_image([fine, fine[::2, ::2]], multiscale=True, name="pyramid", scale=(0.5, 0.5))
        run(open_dock(), qtbot)
        assert viewer.layers["pyramid deblurred"].data.shape == (64, 80)
        assert tuple(viewer.layers["pyramid deblurred"].scale) == (0.5, 0.5)

    def test_dask_is_handed_on_as_it_is(self, viewer, open_dock, qtbot, fake_fit):
        viewer.add_image(dask.array.ones((3, 40, 48), chunks=(1, 40, 48)), name="lazy")
        run(open_dock(), qtbot)
        assert isinstance(fake_fit.image, dask.array.Array)

    def test_a_second_run_adds_layers_of_its_own(self, viewer, open_dock, qtbot, fake_fit):
        viewer.add_image(np.ones((40, 48)), name="cells")
        widget = open_dock()
        run(widget, qtbot)
        assert widget.image.value.name == "cells"
        run(widget, qtbot)
        assert "cells deblurred [1]" in viewer.layers


class TestClosing:
    def test_closing_the_dock_ends_the_run(self, viewer, open_dock, qtbot, fake_fit):
        fake_fit.steps = 100_000
        viewer.add_image(np.ones((40, 48)), name="cells")
        widget = open_dock()
        press(widget.run)
        qtbot.waitUntil(lambda: "step" in widget.status.text())
        qtbot.waitUntil(lambda: "cells uncertainty" in viewer.layers)
        widget.native.parent().destroyOnClose()
        qtbot.waitUntil(lambda: fake_fit.closed)
        seen = viewer.layers["cells deblurred"].data
        qtbot.wait(700)
        assert viewer.layers["cells deblurred"].data is seen
        assert viewer.layers["cells deblurred"].metadata["napari-vdip"]["partial"]

    def test_hiding_the_dock_does_not(self, viewer, open_dock, qtbot, fake_fit):
        fake_fit.steps = 30
        viewer.add_image(np.ones((40, 48)), name="cells")
        widget = open_dock()
        press(widget.run)
        widget.native.parent().close()
        qtbot.waitUntil(lambda: "cells deblurred" in viewer.layers)

    def test_the_dock_can_be_opened_again(self, viewer, open_dock, qtbot, fake_fit):
        viewer.add_image(np.ones((40, 48)), name="cells")
        first = open_dock()
        first.native.parent().destroyOnClose()
        second = open_dock()
        assert second is not first
        run(second, qtbot)
        assert "cells deblurred" in viewer.layers


class TestSamples:
    @pytest.mark.parametrize("name", ["microscopy", "photograph"])
    def test_a_sample_opens_ready_to_be_deblurred(self, viewer, open_dock, qtbot, name):
        viewer.open_sample("napari-vdip", name)
        assert names(viewer) == [f"{name} true kernel", f"{name} true image", name]
        assert [layer.visible for layer in viewer.layers] == [False, False, True]
        assert len({layer.units for layer in viewer.layers}) == 1
        assert viewer.layers[f"{name} true kernel"].data.sum() == pytest.approx(1, abs=1e-5)
        assert open_dock().image.value.name == name
