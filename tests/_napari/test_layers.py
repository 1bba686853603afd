"""Layers without a viewer: geometry, looks, odd data."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Image, Labels

from napari_vdip._napari import layers
from napari_vdip.errors import InvalidInput
from napari_vdip.result import History, Result


def result_of(image, kernel_shape=(5, 7), leading=(), uncertainty=0.5):
    image = np.asarray(image, np.float32)
    kernel = np.zeros((*leading, *kernel_shape), np.float32)
    kernel[..., kernel_shape[0] // 2, kernel_shape[1] // 2] = 1
    spread = np.full_like(image, uncertainty)
    return Result(image, spread, kernel, History(*(np.zeros(0),) * 5), {"seed": 3})


def made(layer, result, channel_axis=None):
    """Layers that come of a result, by the last word of their names."""
    tuples = layers.from_result(result, layers.record(layer, channel_axis))
    assert {kind for _, _, kind in tuples} == {"image"}
    return {keywords["name"].split()[-1]: Image(data, **keywords) for data, keywords, _ in tuples}


def corners(layer):
    """World coordinates of the outer corners of a layer's pixels, last two axes."""
    height, width = layer.data.shape[-2:]
    lead = [0] * (layer.ndim - 2)
    return np.array(
        [layer.data_to_world([*lead, y, x]) for y in (-0.5, height - 0.5) for x in (-0.5, width - 0.5)]
    )


GEOMETRY = {
    "scale": (0.5, 0.25),
    "translate": (10, -4),
    "rotate": 30,
    "shear": [0.2],
    "affine": [[0, 1, 5], [-1, 0, 6], [0, 0, 1]],
    "units": ("um", "um"),
    "axis_labels": ("y", "x"),
}


def test_image_and_uncertainty_lie_where_the_source_lies():
    source = Image(np.eye(20, 30), name="cells", **GEOMETRY)
    out = made(source, result_of(source.data))
    for name in ("deblurred", "uncertainty"):
        layer = out[name]
        assert layer.name == f"cells {name}"
        for key in ("scale", "translate", "rotate", "shear"):
            np.testing.assert_allclose(getattr(layer, key), getattr(source, key), atol=1e-12)
        np.testing.assert_array_equal(layer.affine.affine_matrix, source.affine.affine_matrix)
        assert layer.units == source.units
        assert layer.axis_labels == ("y", "x")
        assert layer.metadata["napari-vdip"] == {"seed": 3}


@pytest.mark.parametrize("geometry", [{}, GEOMETRY], ids=["plain", "rotated"])
def test_the_kernel_lies_right_of_the_image_and_not_on_it(geometry):
    source = Image(np.eye(20, 30), name="cells", **geometry)
    kernel = made(source, result_of(source.data))["kernel"]
    inverse = np.array([source.world_to_data(corner) for corner in corners(kernel)])
    assert inverse[:, 1].min() == pytest.approx(29.5 + 2)  # two pixels of gap
    assert inverse[:, 0].min() == pytest.approx(-0.5)
    assert np.ptp(inverse, axis=0) == pytest.approx([5, 7])  # in the same pixels
    assert kernel.units == source.units
    assert kernel.interpolation2d == "nearest"


def test_a_stack_has_a_kernel_beside_each_slice():
    source = Image(np.ones((4, 20, 30)), name="stack", scale=(3, 0.5, 0.5), translate=(7, 0, 0))
    kernel = made(source, result_of(source.data, leading=(4,)))["kernel"]
    assert kernel.data.shape == (4, 5, 7)
    assert kernel.data_to_world([2, 0, 0]) == pytest.approx([13, 0, 16])


def test_channels_last_are_put_back_in_the_order_of_the_layer():
    source = Image(np.ones((20, 30, 3)), rgb=False, name="channels", axis_labels=("y", "x", "c"))
    kernel = made(source, result_of(source.data, leading=(3,)), channel_axis=-1)["kernel"]
    assert kernel.data.shape == (5, 7, 3)
    assert tuple(kernel.translate) == (0, 32, 0)


def test_colours_stay_colours_and_look_alike():
    rng = np.random.default_rng(0)
    source = Image(rng.integers(0, 255, (20, 30, 3), np.uint8), rgb=True, name="photo")
    out = made(source, result_of(source.data))
    assert out["deblurred"].rgb
    assert not out["uncertainty"].rgb  # one std with a scale of colours, not three as a colour
    assert out["uncertainty"].data.shape == (20, 30)
    assert not out["kernel"].rgb
    assert tuple(out["deblurred"].contrast_limits) == (0, 255)
    assert out["kernel"].data.shape == (5, 7)


def test_alpha_does_not_hide_the_uncertainty():
    source = Image(np.ones((20, 30, 4), np.float32), rgb=True, name="photo")
    result = result_of(source.data)
    result.uncertainty[..., 3] = 0
    out = made(source, result)
    assert out["deblurred"].data.shape == (20, 30, 4)
    assert out["uncertainty"].data.shape == (20, 30)
    assert out["uncertainty"].data.min() > 0


def test_contrast_is_that_of_the_source_unless_it_hides_the_data():
    source = Image(np.linspace(0, 100, 600).reshape(20, 30), contrast_limits=(10, 60), colormap="green")
    out = made(source, result_of(source.data))
    assert tuple(out["deblurred"].contrast_limits) == (10, 60)
    assert out["deblurred"].colormap.name == "green"
    far = made(source, result_of(source.data + 1000))
    low, high = far["deblurred"].contrast_limits
    assert 1000 <= low < high <= 1100


@pytest.mark.parametrize("value", [0.0, 7.0, -3.0, 1e-30])
def test_constant_data_have_valid_contrast(value):
    source = Image(np.ones((20, 30)))
    for layer in made(source, result_of(np.full((20, 30), value), uncertainty=abs(value))).values():
        low, high = layer.contrast_limits
        assert low < high


def test_nan_is_tolerated():
    data = np.linspace(0, 1, 600).reshape(20, 30).copy()
    data[:5] = np.nan
    source = Image(data, contrast_limits=(0, 1))
    result = result_of(data, leading=())
    result.uncertainty[:5] = np.nan
    out = made(source, result)
    assert all(np.isfinite(layer.contrast_limits).all() for layer in out.values())


def test_slices_not_begun_are_tolerated():
    source = Image(np.ones((2, 20, 30)))
    result = result_of(source.data, leading=(2,))
    result.kernel[1] = result.image[1] = result.uncertainty[1] = np.nan
    out = made(source, result)
    assert tuple(out["kernel"].contrast_limits) == (0, 1)


def test_no_uncertainty_no_layer():
    source = Image(np.ones((20, 30)), name="cells")
    assert list(made(source, result_of(source.data, uncertainty=np.nan))) == ["deblurred", "kernel"]


def test_the_uncertainty_does_not_cover_the_image():
    source = Image(np.ones((20, 30)), name="cells")
    out = made(source, result_of(source.data))
    assert out["deblurred"].visible
    assert not out["uncertainty"].visible


def test_the_finest_level_of_a_multiscale_layer_is_taken():
    fine = np.arange(4096.0).reshape(64, 64)
    assert layers.full_resolution(Image([fine, fine[::2, ::2]], multiscale=True)) is fine
    assert layers.full_resolution(Image(fine)) is fine


def test_masks_and_kernels_come_from_layers():
    labels = np.zeros((6, 8), int)
    labels[2, 3] = 5
    mask = layers.to_mask(Labels(labels))
    assert mask.dtype == bool
    assert mask.sum() == 1
    np.testing.assert_array_equal(layers.to_kernel(Image(np.eye(5))), np.eye(5))


def test_a_coloured_layer_is_no_kernel_and_no_mask():
    layer = Image(np.zeros((40, 40, 3), np.uint8), rgb=True, name="photo")
    with pytest.raises(InvalidInput, match="'photo' is in colour and cannot be the kernel"):
        layers.to_kernel(layer)
    with pytest.raises(InvalidInput, match="'photo' is in colour and cannot be the mask"):
        layers.to_mask(layer)


def test_channels_are_known_by_their_label():
    data = np.ones((3, 20, 30))
    assert layers.channel_axis(Image(data, axis_labels=("c", "y", "x"))) == 0
    assert layers.channel_axis(Image(data, axis_labels=("z", "y", "x"))) is None
    assert layers.channel_axis(Image(np.ones((40, 40, 3)), rgb=True)) is None
