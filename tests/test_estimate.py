"""The noise and the kernel size, read off one image."""

from __future__ import annotations

import os
import time
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import skimage.data
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from napari_vdip.compression import rounding
from napari_vdip.estimate import LARGEST, SMALLEST, kernel_size, noise_std

DATA = Path(os.environ.get("NAPARI_VDIP_DATA", Path(__file__).parents[2] / "shared" / "data"))
needs_data = pytest.mark.skipif(
    not DATA.is_dir(), reason="the development data is not here ($NAPARI_VDIP_DATA)"
)


def blurred(sharp, kernel):
    """Convolve, 'valid'."""
    shape = [a + b - 1 for a, b in zip(sharp.shape, kernel.shape, strict=True)]
    whole = np.fft.irfft2(np.fft.rfft2(sharp, shape) * np.fft.rfft2(kernel, shape), shape)
    return whole[kernel.shape[0] - 1 : sharp.shape[0], kernel.shape[1] - 1 : sharp.shape[1]]


def gaussian(std):
    along = np.arange(-int(4 * std), int(4 * std) + 1)
    kernel = np.exp(-(along[:, None] ** 2 + along**2) / (2 * std**2))
    return kernel / kernel.sum()


def disc(diameter):
    along = (np.arange(8 * (diameter + 2)) + 0.5) / 8 - (diameter + 2) / 2
    inside = along[:, None] ** 2 + along**2 <= diameter**2 / 4
    kernel = inside.reshape(diameter + 2, 8, diameter + 2, 8).sum((1, 3)).astype(float)
    return kernel / kernel.sum()


def diagonal(length):
    return np.eye(length) / length


@pytest.fixture(scope="module")
def scene():
    return skimage.data.camera().astype(float)


@pytest.fixture(scope="module")
def out_of_focus(scene):
    image = blurred(scene, disc(9))
    return image + np.random.default_rng(0).normal(0, 2, image.shape)


def in_band(size, true):
    """Too small is fatal, too large is only slow."""
    return size[0] == size[1] and size[0] % 2 == 1 and true <= size[0] <= 1.6 * true + 4


# 95 % of a Gaussian's mass lie within 3.9 standard deviations along each axis.
@pytest.mark.parametrize(
    ("kernel", "true"),
    [
        (gaussian(1.5), 6),
        (gaussian(3), 12),
        (gaussian(6), 24),
        (disc(9), 9),
        (disc(17), 17),
        (diagonal(23), 23),
    ],
    ids=["gaussian 1.5", "gaussian 3", "gaussian 6", "disc 9", "disc 17", "motion 23"],
)
def test_size_of_known_blurs(scene, kernel, true):
    image = blurred(scene, kernel)
    image += np.random.default_rng(0).normal(0, 2, image.shape)
    assert in_band(kernel_size(image).size, true)


def shake(size, seed):
    """Make the path of a shaken camera in a window of `size` px."""
    path = np.cumsum(gaussian_filter1d(np.random.default_rng(seed).normal(size=(400, 2)), 12, axis=0), axis=0)
    path -= path.min(0)
    kernel = np.zeros((size, size))
    np.add.at(kernel, tuple((path / path.max() * (size - 3) + 1).astype(int).T), 1.0)
    kernel = gaussian_filter(kernel, 0.6)
    return kernel / kernel.sum()


@pytest.mark.parametrize("name", ["camera", "astronaut", "coffee"])
@pytest.mark.parametrize("size", [25, 35])
def test_a_compressed_photograph_has_the_size_that_it_had_before(name, size):
    sharp = np.asarray(getattr(skimage.data, name)(), dtype=float)
    image = blurred(sharp.mean(-1) if sharp.ndim == 3 else sharp, shake(size, 1))
    noisy = np.clip(image + np.random.default_rng(0).normal(0, 1, image.shape), 0, 255)
    file = iio.imwrite("<bytes>", noisy.astype(np.uint8), extension=".jpg", quality=75)
    compressed = np.asarray(iio.imread(file, extension=".jpg"))
    before = kernel_size(noisy).size[0]
    assert kernel_size(compressed, rounding=rounding(compressed)).size[0] == pytest.approx(before, rel=0.2)
    # Its errors alone pass for the kernel's stripes, and hide all but the near echoes.
    assert kernel_size(compressed).size[0] < 0.8 * before


def test_reason_tells_what_was_seen(scene):
    rng = np.random.default_rng(0)
    smooth = blurred(scene, gaussian(3)) + rng.normal(0, 2, (488, 488))
    assert "smooth" in kernel_size(smooth).reason
    moved = blurred(scene, diagonal(23)) + rng.normal(0, 2, (490, 490))
    assert "echoes" in kernel_size(moved).reason
    assert kernel_size(moved).reason.startswith("auto: ")


@pytest.mark.parametrize("seed", range(3))
def test_points_are_not_taken_for_echoes(seed):
    """Stars and puncta repeat each other at all distances; the blur is that of one of them."""
    rng = np.random.default_rng(seed)
    points = np.zeros((300, 300))
    np.add.at(points, tuple(rng.integers(0, 300, (2, 400))), rng.exponential(1000, 400))
    image = rng.poisson(blurred(points, gaussian(1.5)).clip(0) + 5).astype(float)
    assert 6 <= kernel_size(image).size[0] <= 13


@pytest.mark.parametrize(
    ("scale", "offset"), [(1 / 255, 0), (257.0, 0), (3.0, -1e4), (1e-6, 1e-3), (1e6, 1e9)]
)
def test_size_does_not_depend_on_units(out_of_focus, scale, offset):
    assert kernel_size(scale * out_of_focus + offset) == kernel_size(out_of_focus)


def test_size_does_not_depend_on_orientation(out_of_focus):
    assert kernel_size(out_of_focus.T).size == kernel_size(out_of_focus).size
    assert kernel_size(out_of_focus[::-1, ::-1]).size == kernel_size(out_of_focus).size


def test_dropped_pixels_take_no_part(out_of_focus):
    whole = kernel_size(out_of_focus).size[0]
    holes = np.zeros(out_of_focus.shape, bool)
    holes[100:160, 200:330] = True
    holes[300:304] = True
    holes[np.random.default_rng(1).random(holes.shape) < 0.01] = True
    nan = np.where(holes, np.nan, out_of_focus)
    assert abs(kernel_size(nan).size[0] - whole) <= 4
    # Whatever stands under the mask is the same as NaN there.
    assert kernel_size(np.where(holes, 1e9, out_of_focus), ~holes) == kernel_size(nan)
    assert kernel_size(np.where(holes, np.inf, out_of_focus)) == kernel_size(nan)


@pytest.mark.parametrize(
    ("image", "word"),
    [
        (np.full((64, 64), 7.0), "constant"),
        (np.full((64, 64), np.nan), "no pixel"),
        (np.random.default_rng(0).normal(5, 1, (128, 128)), "noise"),
    ],
    ids=["constant", "all NaN", "noise only"],
)
def test_nothing_to_see_gives_the_smallest_size(image, word):
    answer = kernel_size(image)
    assert answer.size == (SMALLEST, SMALLEST)
    assert word in answer.reason


@given(
    hnp.arrays(
        np.float64,
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40),
        elements=st.floats(-1e12, 1e12) | st.just(float("nan")),
    )
)
def test_never_fails(image):
    answer = kernel_size(image)
    height, width = answer.size
    assert height == width
    assert height % 2 == 1
    assert height <= max(min(LARGEST, min(image.shape) // 3), min(SMALLEST, min(image.shape)))
    assert np.isfinite(noise_std(image))


def test_tiny_image(scene):
    image = blurred(scene, gaussian(1))[100:132, 200:232]
    assert kernel_size(image).size[0] in (7, 9)


def test_wide_blur_is_held_at_a_third_of_the_image(scene):
    answer = kernel_size(blurred(scene, gaussian(12))[:60, :300])
    assert answer.size == (19, 19)
    assert "held at 19 px" in answer.reason


def test_fast_enough_to_be_unnoticed(scene):
    large = np.tile(scene, (2, 2))
    kernel_size(large)
    start = time.perf_counter()
    kernel_size(large)
    assert time.perf_counter() - start < 1.5  # 0.1 s on an idle core


@needs_data
@pytest.mark.parametrize("scene_number", [1, 2])
@pytest.mark.parametrize(("number", "used"), list(enumerate((17, 15, 13, 27, 11, 19, 21, 21), start=1)))
def test_levin(scene_number, number, used):
    """Measured: all 16 within the band of the sizes that the literature uses."""
    path = DATA / "levin_dev" / "blurred" / f"im{scene_number}_kernel{number}_img.png"
    assert in_band(kernel_size(iio.imread(path)).size, used)


@needs_data
@pytest.mark.parametrize("scene_name", ["manmade_03", "text_01"])
@pytest.mark.parametrize(("number", "used"), list(enumerate((31, 51, 55, 75), start=1)))
def test_lai(scene_name, number, used):
    """Measured: all 8 within the band of the sizes that the literature uses."""
    path = DATA / "lai_dev" / "blurred_y" / f"{scene_name}_kernel_0{number}.png"
    assert in_band(kernel_size(iio.imread(path)).size, used)


@pytest.mark.parametrize("std", [0.5, 4.0])
def test_noise_on_smooth_image(std):
    ramp = np.add.outer(np.arange(200.0), 3 * np.arange(180.0))
    noisy = ramp + np.random.default_rng(0).normal(0, std, ramp.shape)
    assert noise_std(noisy) == pytest.approx(std, rel=0.03)


def test_noise_on_textured_image():
    """A blurred texture is smooth over 3 x 3 pixels; a sharp one counts as noise in part."""
    rng = np.random.default_rng(0)
    grass = skimage.data.grass().astype(float)
    out = blurred(grass, gaussian(1.5))
    assert noise_std(out + rng.normal(0, 4, out.shape)) == pytest.approx(4, rel=0.05)
    assert 8 <= noise_std(grass + rng.normal(0, 8, grass.shape)) < 24


def test_noise_is_in_the_units_of_the_image():
    image = np.random.default_rng(0).normal(0, 1, (64, 64))
    assert noise_std(1000 * image - 5) == pytest.approx(1000 * noise_std(image))


def test_noise_ignores_dropped_pixels():
    rng = np.random.default_rng(0)
    image = rng.normal(0, 1, (128, 128))
    image[:100] += rng.normal(0, 50, (100, 128))
    keep = np.zeros(image.shape, bool)
    keep[100:] = True
    assert noise_std(image, keep) == pytest.approx(1, rel=0.05)
    assert noise_std(np.where(keep, image, np.nan)) == noise_std(image, keep)


def test_noise_of_few_counts_is_not_zero():
    """Most pixels of a photon-starved image are equal; the median alone would say: no noise."""
    counts = np.random.default_rng(0).poisson(0.01, (200, 200))
    assert 0.02 < noise_std(counts) < 0.2  # true: 0.1


@pytest.mark.parametrize("image", [np.full((50, 50), 3.0), np.full((50, 50), np.nan), np.ones((2, 9))])
def test_noise_of_nothing_is_zero(image):
    assert noise_std(image) == 0


@pytest.mark.parametrize("name", ["microscopy", "photograph"])
def test_the_bundled_samples_get_a_size_that_holds_their_kernel(name):
    from napari_vdip.samples import load

    sample = load(name)
    true = max(sample.kernel.shape)
    assert true <= kernel_size(sample.blurred).size[0] <= 2 * true
