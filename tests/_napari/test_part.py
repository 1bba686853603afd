"""The part of a layer without a viewer: it lies in the world where it was cut out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from napari.components import ViewerModel
from napari.layers import Image

from napari_vdip._napari import layers, part, region

numbers = st.floats(-3, 3).map(lambda value: round(value, 3))
positive = st.floats(0.1, 5).map(lambda value: round(value, 3))
triples = st.tuples(numbers, numbers, numbers)


@settings(deadline=None, max_examples=40)
@given(
    scale=st.tuples(positive, positive, positive),
    translate=triples,
    rotate=st.floats(-180, 180),
    shear=triples,
    first=st.integers(0, 5),
    pixel=st.tuples(st.integers(0, 1), st.integers(0, 6), st.integers(0, 4)),
)
def test_each_pixel_of_the_part_lies_where_it_was(scale, translate, rotate, shear, first, pixel):
    turn = np.deg2rad(rotate)
    about_z = [[1, 0, 0], [0, np.cos(turn), -np.sin(turn)], [0, np.sin(turn), np.cos(turn)]]
    affine = np.eye(4)
    affine[0, 2], affine[1, 3] = 0.5, 2.0
    source = Image(
        np.ones((7, 8, 6)), scale=scale, translate=translate, rotate=about_z, shear=shear, affine=affine
    )
    index = (slice(first, first + 2), slice(1, 8), slice(None))
    geometry = region.moved(layers.record(source), index, source.data.shape, (1, 2)).geometry
    made = Image(region.cut(source.data, index), **geometry)
    there = np.add(pixel, (first, 1, 0))
    np.testing.assert_allclose(made.data_to_world(pixel), source.data_to_world(there), atol=1e-6)
    assert made.data.shape == part.cut_shape(source, index)


@pytest.mark.parametrize(
    ("layer", "channel_axis", "axes"),
    [
        (Image(np.ones((8, 6))), None, []),
        (Image(np.ones((8, 6))), 0, []),
        (Image(np.ones((4, 8, 6))), None, [0]),
        (Image(np.ones((1, 8, 6))), None, []),
        (Image(np.ones((2, 4, 8, 6))), 0, [1]),
        (Image(np.ones((4, 8, 6, 2)), rgb=False), -1, [0]),
        (Image(np.ones((4, 30, 30, 3), np.uint8), rgb=True), None, [0]),
    ],
    ids=["plane", "too few", "stack", "one slice", "channels first", "channels last", "colours"],
)
def test_slices_lie_along_these_axes(layer, channel_axis, axes):
    assert part.slice_axes(layer, channel_axis) == axes


def test_the_point_that_is_shown_is_found_in_a_moved_and_scaled_layer_of_fewer_axes():
    viewer = ViewerModel()
    viewer.add_image(np.ones((2, 9, 8, 6)), scale=(1, 2, 1, 1))
    stack = viewer.add_image(np.ones((5, 8, 6)), scale=(4, 1, 1), translate=(2, 0, 0))
    viewer.dims.set_point(1, 10)
    assert part.position(stack, viewer.dims)[0] == 2
    viewer.dims.set_point(1, 0)
    assert part.position(stack, viewer.dims)[0] == 0  # before the first slice: the first one


def test_a_range_may_be_given_backwards():
    layer = Image(np.ones((9, 8, 6)))
    dims = ViewerModel().dims
    assert part.index_of(layer, 0, (6, 2), dims, None)[0] == slice(2, 7)
    assert part.index_of(layer, "all", (6, 2), dims, None) == (slice(None),) * 3
