"""A kernel from a part of an image: what else it can be used for."""

from __future__ import annotations

import dataclasses
import gc
import weakref

import numpy as np
import pytest
from napari.layers import Image
from test_layers import result_of

from napari_vdip._napari.reuse import Found, Task
from napari_vdip.options import Options

WHOLE = slice(None)
IMAGE = Image(np.zeros((3, 40, 48)), name="stack")


def task(*index, **options):
    return Task(weakref.ref(IMAGE), Options(**options), index, (1, 2))


@pytest.mark.parametrize(
    ("index", "left"),
    [
        ((WHOLE, WHOLE, WHOLE), (False, False)),
        ((slice(0, 3), slice(0, 40), slice(0, 48)), (False, False)),
        ((slice(1, 2), WHOLE, WHOLE), (False, True)),
        ((WHOLE, slice(5, 15), WHOLE), (True, False)),
        ((slice(1, 2), WHOLE, slice(5, 15)), (True, True)),
    ],
)
def test_what_is_left_of_the_image(index, left):
    assert task(*index).leaves((3, 40, 48)) == left


def test_the_rest_is_deblurred_with_the_kernel_held_and_all_else_alike():
    kernel = np.full((5, 7), 1 / 35, np.float32)
    part = task(slice(1, 2), slice(5, 15), slice(5, 15), kernel_size=31, preset="fast", seed=7)
    for wider, index in (
        (part.for_image(kernel), (slice(1, 2), WHOLE, WHOLE)),
        (part.for_slices(kernel), (WHOLE, slice(5, 15), slice(5, 15))),
    ):
        assert wider.index == index
        options = wider.options
        assert options.kernel is kernel
        assert (options.kernel_fixed, options.kernel_size) == (True, "auto")
        assert (options.preset, options.seed) == ("fast", 7)


def test_a_kernel_of_one_slice_is_kept_and_those_of_many_are_not():
    one = result_of(np.zeros((1, 10, 10)), leading=(1,))
    found = Found.by(task(slice(1, 2), WHOLE, WHOLE), one)
    assert found is not None
    assert found.kernel.shape == (5, 7)
    assert found.leaves() == (False, True)
    assert Found.by(task(WHOLE, WHOLE, WHOLE), result_of(np.zeros((3, 10, 10)), leading=(3,))) is None


def test_of_a_layer_that_is_gone_nothing_is_left():
    gone = Image(np.zeros((3, 40, 48)))
    part = dataclasses.replace(task(slice(1, 2), WHOLE, WHOLE), image=weakref.ref(gone))
    del gone
    gc.collect()
    assert Found(part, np.ones((5, 7), np.float32)).leaves() == (False, False)
