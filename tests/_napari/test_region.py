"""Parts of an image: where they are in its data, in words when there is none, and runs on them."""

from __future__ import annotations

import dask.array
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Shapes
from test_layers import result_of
from test_widget import blobs, is_back, names, offered, press, quick, run

from napari_vdip._napari import layers, region
from napari_vdip.errors import InvalidInput

GEOMETRY = {
    "scale": (0.5, 0.25),
    "translate": (10, -4),
    "rotate": 30,
    "shear": [0.2],
    "affine": [[0, 1, 5], [-1, 0, 6], [0, 0, 1]],
    "units": ("um", "um"),
}
BOX = np.array([[4.7, 10.2], [4.7, 19.9], [14.3, 19.9], [14.3, 10.2]])  # in the image's pixels


def drawn(image, corners, **keywords):
    """Shapes layer with a rectangle over an image, given in the image's pixels."""
    made = Shapes(ndim=image.ndim, **keywords)
    lead = [0] * (image.ndim - 2)
    world = [image.data_to_world([*lead, *corner]) for corner in corners]
    made.add([made.world_to_data(point) for point in world], shape_type="polygon")
    return made


class TestAShape:
    def test_is_found_under_a_layer_that_is_scaled_moved_rotated_and_sheared(self):
        image = Image(np.zeros((40, 48)), **GEOMETRY)
        assert region.of_shape(drawn(image, BOX), image, None) == (slice(5, 15), slice(10, 21))

    def test_may_be_drawn_on_a_layer_with_a_geometry_of_its_own(self):
        image = Image(np.zeros((40, 48)), **GEOMETRY)
        shape = drawn(image, BOX, scale=(3, 2), translate=(1, 7), rotate=70, units=("um", "um"))
        assert region.of_shape(shape, image, None) == (slice(5, 15), slice(10, 21))

    def test_may_be_in_other_units(self):
        image = Image(np.zeros((40, 48)), scale=(0.5, 0.5), units=("um", "um"))
        shape = Shapes([BOX * 0.5e-3], shape_type="polygon", units=("mm", "mm"))
        assert region.of_shape(shape, image, None) == (slice(5, 15), slice(10, 21))

    def test_takes_the_pixels_that_it_touches(self):
        image = Image(np.zeros((40, 48)))
        exact = np.array([[4.5, 9.5], [4.5, 19.5], [14.5, 19.5], [14.5, 9.5]])
        assert region.of_shape(drawn(image, exact), image, None) == (slice(5, 15), slice(10, 20))

    def test_is_clipped_to_the_image(self):
        image = Image(np.zeros((40, 48)))
        assert region.of_shape(drawn(image, 4 * BOX - 30), image, None) == (slice(0, 28), slice(11, 48))

    def test_restricts_height_and_width_only(self):
        stack = Image(np.zeros((3, 40, 48)), scale=(2, 0.5, 0.5))
        assert region.of_shape(drawn(stack, BOX), stack, None) == (slice(None), slice(5, 15), slice(10, 21))
        flat = drawn(Image(np.zeros((40, 48)), scale=(0.5, 0.5)), BOX)
        assert region.of_shape(flat, stack, None) == (slice(None), slice(5, 15), slice(10, 21))

    def test_knows_channels_in_the_last_axis(self):
        image = Image(np.zeros((40, 48, 2)))
        shape = Shapes([[[5, 10, 0], [5, 20, 0], [14, 20, 0], [14, 10, 0]]], ndim=3)
        assert region.of_shape(shape, image, 2) == (slice(5, 15), slice(10, 21), slice(None))
        assert region.of_shape(shape, image, -1) == (slice(5, 15), slice(10, 21), slice(None))

    def test_leaves_colours_alone(self):
        photo = Image(np.zeros((40, 48, 3), np.uint8), rgb=True)
        index = region.of_shape(drawn(photo, BOX), photo, None)
        assert region.cut(photo.data, index).shape == (10, 11, 3)

    def test_of_several_is_the_selected_one_else_the_last(self):
        image = Image(np.zeros((40, 48)))
        shapes = drawn(image, BOX)
        shapes.add(BOX + 10, shape_type="polygon")
        shapes.selected_data = set()
        assert region.of_shape(shapes, image, None) == (slice(15, 25), slice(20, 31))
        shapes.selected_data = {0}
        assert region.of_shape(shapes, image, None) == (slice(5, 15), slice(10, 21))

    def test_beside_the_image_is_refused(self):
        image = Image(np.zeros((40, 48)), name="cells")
        with pytest.raises(InvalidInput, match="does not touch the image 'cells'"):
            region.of_shape(drawn(image, BOX + 100), image, None)

    @pytest.mark.parametrize("shapes", [None, Shapes()], ids=["no layer", "no shape"])
    def test_is_asked_for_where_there_is_none(self, shapes):
        with pytest.raises(InvalidInput, match="draw a rectangle"):
            region.of_shape(shapes, Image(np.zeros((40, 48))), None)


class TestTheView:
    def viewer(self, image, zoom=4.0, center=(20, 24), size=(80, 120)):
        viewer = ViewerModel()
        viewer.add_layer(image)
        viewer.canvas.size = size
        viewer.scene.camera.zoom, viewer.scene.camera.center = zoom, (0, *center)
        return viewer

    def test_is_what_the_canvas_shows(self):
        image = Image(np.zeros((40, 48)))
        # 80 x 120 px at 4 px a pixel: 20 x 30 pixels around (20, 24)
        assert region.of_view(self.viewer(image), image, None) == (slice(10, 31), slice(9, 40))

    def test_follows_scale_and_rotation(self):
        image = Image(np.zeros((100, 100)), scale=(0.5, 0.5), translate=(3, 4), rotate=90)
        viewer = self.viewer(image, zoom=8, center=image.data_to_world((50, 40)))
        # 10 x 15 world units, turned by 90 degrees: 30 rows and 20 columns of 0.5
        assert region.of_view(viewer, image, None) == (slice(35, 66), slice(30, 51))

    def test_of_a_stack_takes_all_slices(self):
        stack = Image(np.zeros((3, 40, 48)))
        assert region.of_view(self.viewer(stack), stack, None) == (slice(None), slice(10, 31), slice(9, 40))

    def test_from_the_side_takes_the_hidden_axis_whole(self):
        stack = Image(np.zeros((30, 40, 48)))
        viewer = self.viewer(stack)
        viewer.dims.order = (1, 0, 2)  # which resets the camera
        viewer.scene.camera.zoom, viewer.scene.camera.center = 4, (0, 15, 24)
        assert region.of_view(viewer, stack, None) == (slice(None), slice(None), slice(9, 40))

    def test_in_a_grid_is_one_cell_of_it(self):
        image = Image(np.zeros((40, 48)))
        viewer = self.viewer(image)
        viewer.add_image(np.zeros((40, 48)))
        viewer.canvas.grid.enabled, viewer.canvas.grid.shape = True, (1, 2)
        assert region.of_view(viewer, image, None) == (slice(10, 31), slice(17, 32))

    def test_beside_the_image_or_in_3d_is_refused(self):
        image = Image(np.zeros((40, 48)), name="cells")
        with pytest.raises(InvalidInput, match="does not touch the image 'cells'"):
            region.of_view(self.viewer(image, center=(500, 24)), image, None)
        viewer = self.viewer(Image(np.zeros((3, 40, 48))))
        viewer.dims.ndisplay = 3
        with pytest.raises(InvalidInput, match="switch to 2-D"):
            region.of_view(viewer, viewer.layers[0], None)


class TestTheCut:
    index = (slice(5, 15), slice(10, 21))

    @pytest.mark.parametrize(
        ("size", "text"),
        [
            (11, "10 x 11 px, but at least 11 x 11 px are needed for a kernel of this size"),
            ((5, 13), "10 x 11 px, but at least 8 x 13 px are needed for a kernel of this size"),
        ],
    )
    def test_must_hold_the_kernel(self, size, text):
        with pytest.raises(InvalidInput, match=text):
            region.check_size(self.index, Image(np.zeros((40, 48))), (0, 1), size)

    def test_must_hold_something(self):
        region.check_size(self.index, Image(np.zeros((40, 48))), (0, 1), "auto")
        with pytest.raises(InvalidInput, match="at least 8 x 8 px are needed; draw it larger"):
            region.check_size((slice(0, 7), slice(None)), Image(np.zeros((40, 48))), (0, 1), "auto")

    def test_of_dask_and_the_like_is_not_loaded(self):
        lazy = dask.array.ones((40, 48), chunks=20)
        assert isinstance(region.cut(lazy, self.index), dask.array.Array)

        class Stored:  # as zarr: it has no lazy slices of its own
            shape, dtype, ndim = (40, 48), np.dtype(float), 2

            def __getitem__(self, index):
                return np.ones(self.shape)[index]

        part = region.cut(Stored(), self.index)
        assert isinstance(part, dask.array.Array)
        assert part.compute().shape == (10, 11)

    def test_of_the_whole_is_the_data_themselves(self):
        data = np.zeros((40, 48, 3))
        assert region.cut(data, (slice(None), slice(0, 48))) is data

    def test_of_a_mask(self):
        plane, whole = np.arange(40 * 48).reshape(40, 48), np.zeros((3, 40, 48))
        index = (slice(1, 2), *self.index)
        shape = (3, 40, 48)
        np.testing.assert_array_equal(region.cut_mask(plane, shape, (1, 2), index), plane[5:15, 10:21])
        assert region.cut_mask(whole, shape, (1, 2), index).shape == (1, 10, 11)
        assert region.cut_mask(None, shape, (1, 2), index) is None
        with pytest.raises(InvalidInput, match=r"shape \(7, 7\); expected \(40, 48\) or \(3, 40, 48\)"):
            region.cut_mask(np.zeros((7, 7)), shape, (1, 2), index)


def test_a_part_lies_on_its_image_and_its_kernel_beside_the_whole():
    image = Image(np.random.default_rng(0).random((40, 48)), name="cells", **GEOMETRY)
    index = (slice(5, 15), slice(10, 21))
    source = region.moved(layers.record(image), index, image.data.shape, (0, 1))
    part, kernel, _ = (
        Image(data, **keywords)
        for data, keywords, _ in layers.from_result(result_of(image.data[index]), source)
    )
    assert part.name == "cells region deblurred"
    for at in [(0, 0), (9, 0), (3.5, 10)]:
        there = np.add(at, (5, 10))
        np.testing.assert_allclose(part.data_to_world(at), image.data_to_world(there), atol=1e-9)
    np.testing.assert_allclose(kernel.data_to_world((0, 0)), image.data_to_world((0, 50)), atol=1e-9)


def test_a_slice_lies_at_its_place_in_the_stack():
    stack = Image(np.random.default_rng(0).random((3, 40, 48)), name="stack", scale=(2, 1, 1))
    index = (slice(1, 2), slice(None), slice(None))
    assert region.moved(layers.record(stack), index, stack.data.shape, (1, 2)).name == "stack"
    index = (slice(1, 2), slice(5, 15), slice(None))
    source = region.moved(layers.record(stack), index, stack.data.shape, (1, 2))
    assert source.name == "stack region"
    result = result_of(stack.data[index], leading=(1,))
    part, kernel, _ = (Image(data, **keywords) for data, keywords, _ in layers.from_result(result, source))
    np.testing.assert_allclose(part.data_to_world((0, 0, 0)), (2, 5, 0))
    np.testing.assert_allclose(kernel.data_to_world((0, 0, 0)), (2, 0, 50))


class TestARun:
    def test_on_a_rectangle_and_then_with_its_kernel_on_the_whole(self, viewer, open_dock, qtbot):
        source = viewer.add_image(blobs(60, 64), name="cells", scale=(0.5, 0.5), translate=(3, 4))
        widget = open_dock()
        quick(widget)
        widget.region.value = "rectangle"
        viewer.add_shapes([[[4, 6], [4, 20], [22, 20], [22, 6]]], name="here")
        assert widget.region_layer.value.name == "here"
        assert widget.image.value.name == "cells"
        run(widget, qtbot)
        assert names(viewer) == [
            "cells",
            "here",
            "cells region deblurred",
            "cells region kernel",
            "cells region uncertainty",
        ]
        part = viewer.layers["cells region deblurred"]
        assert part.data.shape == (37, 29)
        np.testing.assert_allclose(part.data_to_world((0, 0)), source.data_to_world((2, 4)))
        kernel = viewer.layers["cells region kernel"].data
        assert not offered(widget.all_slices)
        press(widget.apply_kernel)
        qtbot.waitUntil(lambda: is_back(widget), timeout=60_000)
        whole = viewer.layers["cells deblurred"]
        assert whole.data.shape == (60, 64)
        report = whole.metadata["napari-vdip"]
        assert report["options"]["kernel_fixed"]
        assert report["options"]["preset"] == "fast"
        np.testing.assert_allclose(viewer.layers["cells kernel"].data, kernel, atol=1e-6)
        assert not offered(widget.apply_kernel)

    def test_on_the_current_view(self, viewer, open_dock, qtbot, fake_fit):
        viewer.add_image(np.ones((400, 480)), name="cells")
        widget = open_dock()
        viewer.scene.camera.zoom *= 4
        widget.region.value = "current view"
        run(widget, qtbot)
        height, width = fake_fit.image.shape
        assert 40 <= height < 200
        assert 40 <= width < 300
        assert viewer.layers["cells region deblurred"].data.shape == (height, width)

    def test_without_a_rectangle_is_told(self, viewer, open_dock, fake_fit, notified):
        viewer.add_image(np.ones((40, 48)), name="cells")
        widget = open_dock()
        widget.region.value = "rectangle"
        press(widget.run)
        assert is_back(widget)
        assert "add a Shapes layer" in widget.status.text()
        assert len(notified()) == 1

    def test_on_too_small_a_region_is_told(self, viewer, open_dock, fake_fit):
        viewer.add_image(np.ones((40, 48)), name="cells")
        viewer.add_shapes([[[4, 6], [4, 20], [22, 20], [22, 6]]])
        widget = open_dock()
        widget.region.value = "rectangle"
        widget.kernel_size.value = 17
        press(widget.run)
        assert "19 x 15 px, but at least 17 x 17 px are needed" in widget.status.text()

    def test_the_layer_of_the_region_is_asked_for_only_then(self, viewer, open_dock):
        widget = open_dock()
        assert widget.region_layer.native.parent().isHidden()
        widget.region.value = "rectangle"
        assert not widget.region_layer.native.parent().isHidden()

    def test_a_mask_is_cut_alike(self, viewer, open_dock, qtbot, fake_fit):
        viewer.add_image(np.ones((40, 48)), name="cells")
        viewer.add_labels(np.eye(40, 48, dtype=int), name="mask")
        viewer.add_shapes([[[5, 5], [5, 20], [22, 20], [22, 5]]])
        widget = open_dock()
        widget.image.value = viewer.layers["cells"]
        widget.mask.value = viewer.layers["mask"]
        widget.region.value = "rectangle"
        run(widget, qtbot)
        np.testing.assert_array_equal(fake_fit.options.mask, np.eye(18, 16, dtype=bool))
        press(widget.apply_kernel)
        qtbot.waitUntil(lambda: is_back(widget))
        assert fake_fit.options.mask.shape == (40, 48)

    def test_the_image_may_be_gone_when_its_kernel_is_to_be_applied(self, viewer, open_dock, qtbot, fake_fit):
        viewer.add_image(np.ones((40, 48)), name="cells")
        viewer.add_shapes([[[5, 5], [5, 20], [22, 20], [22, 5]]])
        widget = open_dock()
        widget.region.value = "rectangle"
        run(widget, qtbot)
        assert offered(widget.apply_kernel)
        viewer.layers.remove("cells")
        press(widget.apply_kernel)
        assert is_back(widget) or not widget.run.enabled
