"""JPEG compression, read off the pixels."""

from __future__ import annotations

import io
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
from PIL import Image
from scipy.fft import dctn

from napari_vdip import arrays, deblur
from napari_vdip.compression import jpeg, rounding
from napari_vdip.estimate import kernel_size, noise_std
from napari_vdip.layout import layout_of
from napari_vdip.options import Options
from napari_vdip.stack import setting_of

DATA = Path(os.environ.get("NAPARI_VDIP_DATA", Path(__file__).parents[2] / "shared" / "data"))


def compressed(image, quality):
    """Compress, and return what JPEG leaves of the image, and the table of the file."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "jpeg", quality=quality)
    file = Image.open(buffer)
    return np.asarray(file), np.array(file.quantization[0]).reshape(8, 8)


def blurred(image, seed=0):
    """Shake a photograph, in 8 bits with a little noise."""
    kernel = np.zeros((11, 11), dtype=np.float32)
    cv2.line(kernel, (2, 9), (8, 1), 1.0)
    soft = cv2.filter2D(image.astype(np.float64), -1, kernel / kernel.sum())
    noisy = soft + np.random.default_rng(seed).normal(0, 0.8, image.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def camera():
    return blurred(skimage.data.camera()[100:400, 100:420])


@pytest.mark.parametrize("quality", [50, 75, 90, 93])
def test_the_steps_are_those_of_the_file(camera, quality):
    image, table = compressed(camera, quality)
    found = jpeg(image)
    read = found.steps > 0
    assert np.count_nonzero(read) >= 10
    # A step of the file is known where its comb can be told from all others.
    assert np.mean(np.abs(found.steps[read] - table[read]) <= 0.05 * table[read] + 0.5) >= 0.9
    assert np.array_equal(found.steps[:2, :2], np.where([[False, True], [True, True]], table[:2, :2], 0))
    assert found.grid == (0, 0)


@pytest.mark.parametrize("quality", [60, 75, 90])
def test_the_noise_is_the_error_of_the_coefficients_that_are_left(camera, quality):
    image, table = compressed(camera, quality)

    def coefficients(plane):
        blocks = plane[:296].astype(float).reshape(37, 8, 40, 8).swapaxes(1, 2)
        return dctn(blocks, axes=(2, 3), norm="ortho")

    left = np.abs(coefficients(image)) > table / 2
    left[..., 0, 0] = False
    error = (coefficients(image) - coefficients(camera))[left]
    assert jpeg(image).noise_std == pytest.approx(np.sqrt(np.mean(error**2)), rel=0.2)
    # What is read off the pixels, as of any other image, knows nothing of that.
    assert noise_std(image) < 0.7 * jpeg(image).noise_std


def test_a_crop_has_a_grid_of_its_own_and_the_same_steps(camera):
    image, _ = compressed(camera, 75)
    whole, part = jpeg(image), jpeg(image[3:, 6:])
    assert part.grid == (5, 2)
    assert part.noise_std == pytest.approx(whole.noise_std, rel=0.05)


def test_scaled_to_one_it_is_told_in_those_units(camera):
    image, _ = compressed(camera, 75)
    whole = jpeg(image)
    assert jpeg(image / 255.0).noise_std == pytest.approx(whole.noise_std / 255.0, rel=1e-6)
    assert jpeg((image / np.float32(255)).astype(np.float32)).grid == (0, 0)
    assert jpeg(image.astype(np.uint16)).noise_std == whole.noise_std


def test_colours_are_read_by_their_brightness():
    image, table = compressed(blurred(skimage.data.astronaut()[:256, :256]), 75)
    found = jpeg(image, rgb=True)
    assert found.steps[0, 1] == table[0, 1]
    with_opacity = np.dstack([image, np.full(image.shape[:2], 255, np.uint8)])
    assert jpeg(with_opacity, rgb=True).noise_std == found.noise_std


@pytest.mark.parametrize(
    "name",
    ["camera", "moon", "clock", "cell", "brick", "grass", "gravel", "text", "coffee", "chelsea", "astronaut"],
)
def test_no_traces_are_found_where_there_are_none(name):
    image = getattr(skimage.data, name)()[:400, :400]
    assert jpeg(image, rgb=image.ndim == 3) is None
    assert jpeg(blurred(image), rgb=image.ndim == 3) is None


def test_a_photograph_of_coins_that_was_once_a_jpeg_is_recognised():
    assert jpeg(skimage.data.coins()).noise_std > 3.0


@pytest.mark.skipif(not DATA.is_dir(), reason="the development data is not here ($NAPARI_VDIP_DATA)")
@pytest.mark.parametrize("folder", ["levin_dev/blurred", "lai_dev/blurred_y"])
def test_no_traces_are_found_in_published_images(folder):
    paths = sorted((DATA / folder).glob("*.png"))
    assert len(paths) >= 8
    assert [path.name for path in paths if jpeg(cv2.imread(str(path), 0)) is not None] == []


def test_a_photograph_scaled_afterwards_has_no_traces_left(camera):
    image, _ = compressed(camera, 75)
    assert jpeg(cv2.resize(image, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA)) is None


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(np.zeros((64, 64), np.uint8), id="black"),
        pytest.param(np.zeros((64, 64)), id="black floats"),
        pytest.param(np.full((64, 64), 200, np.uint8), id="even"),
        pytest.param(np.indices((96, 96)).sum(0) // 8 % 2 * np.uint8(255), id="checkerboard"),
        pytest.param(np.tile(np.arange(128, dtype=np.uint8), (128, 1)), id="ramp"),
        pytest.param(np.eye(90, dtype=np.uint8) * 240, id="line"),
        pytest.param(np.random.default_rng(0).integers(0, 2, (200, 200)).astype(bool), id="boolean"),
        pytest.param(
            np.random.default_rng(0).integers(0, 8, (200, 200)) * np.uint8(32), id="few grey levels"
        ),
        pytest.param(np.random.default_rng(0).poisson(0.1, (300, 300)).astype(np.uint8), id="few photons"),
        pytest.param(np.random.default_rng(0).normal(0, 1, (200, 200)), id="negative"),
        pytest.param(np.random.default_rng(0).integers(0, 4000, (200, 200)).astype(np.uint16), id="16 bits"),
        pytest.param(np.full((64, 64), np.nan), id="nothing"),
        pytest.param(np.random.default_rng(0).integers(0, 255, (20, 20)).astype(np.uint8), id="small"),
    ],
)
def test_other_images_have_no_traces(image):
    assert jpeg(image) is None


def test_its_errors_count_as_noise(camera):
    image, _ = compressed(camera, 75)
    plain = arrays.frame(camera, None, rgb=False, poisson=False)
    frame = arrays.frame(image, None, rgb=False, poisson=False)
    assert plain.compressed is None
    assert plain.sentences == []
    assert frame.noise_std * frame.scale == pytest.approx(
        np.hypot(noise_std(image), jpeg(image).noise_std), 1e-3
    )


def test_its_errors_are_added_to_those_of_photons(camera):
    image, _ = compressed(camera, 75)
    frame = arrays.frame(image, None, rgb=False, poisson=True)
    variance = (frame.noise_std * frame.scale / frame.weight) ** 2
    assert variance.min() >= 0.99 * jpeg(image).noise_std ** 2


def test_the_kernel_size_of_a_run_knows_of_it(camera):
    image, _ = compressed(camera, 75)
    told = setting_of(image, layout_of(image.shape, False, None), None, Options()).kernel_size_reason
    assert told == kernel_size(image, rounding=rounding(image)).reason


@pytest.mark.slow
def test_a_compressed_photograph_gets_sharper_and_its_user_is_told(camera):
    sharp = skimage.data.camera()[100:400, 100:420].astype(float)
    image, _ = compressed(camera, 75)
    result = deblur(image, kernel_size=11, preset="fast", seed=0)
    assert result.report["compression"] == {"kind": "jpeg", "noise_std": jpeg(image).noise_std}
    assert any("JPEG" in text for text in result.report["warnings"])
    inner = (slice(20, -20),) * 2

    def error(estimate):
        return np.sqrt(np.mean((estimate.astype(float) - sharp)[inner] ** 2))

    assert error(result.image) < 0.75 * error(image)
