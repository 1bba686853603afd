"""The samples obey the model they claim: blurred = kernel * sharp + noise of a known size."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from napari_vdip import samples
from napari_vdip.errors import InvalidInput


@pytest.mark.parametrize("name", samples.NAMES)
def test_truth_explains_the_blurred_image_to_within_its_noise(name: str) -> None:
    sample = samples.load(name)
    half = sample.kernel.shape[0] // 2
    predicted = samples.convolve_valid(sample.sharp.astype(float), sample.kernel.astype(float))
    residual = sample.blurred[half:-half, half:-half] - predicted
    expected = np.sqrt(predicted - 100 + 4) if name == "microscopy" else np.full_like(predicted, 1.53)
    seen = (predicted > 4) & (predicted < 250)  # 8 bits clip the noise beyond
    assert (residual / expected)[seen].std() == pytest.approx(1, abs=0.03)
    assert abs((residual / expected)[seen].mean()) < 0.02


@pytest.mark.parametrize(
    ("name", "dtype", "size"), [("microscopy", "uint16", 11), ("photograph", "uint8", 17)]
)
def test_shapes_types_and_kernel(name: str, dtype: str, size: int) -> None:
    sample = samples.load(name)
    assert sample.blurred.dtype == np.dtype(dtype)
    assert sample.blurred.shape == sample.sharp.shape == (256, 256)
    assert sample.kernel.shape == (size, size)
    assert sample.kernel.min() >= 0
    assert sample.kernel.sum() == pytest.approx(1)
    for axis in (0, 1):
        centre = sample.kernel.sum(axis=1 - axis) @ np.arange(size)
        assert centre == pytest.approx(size // 2, abs=1e-3)
    assert sample.sharp.std() > sample.blurred.std()


def test_convolution_is_one_and_no_correlation() -> None:
    canvas = np.zeros((5, 5))
    canvas[2, 2] = 1
    kernel = np.arange(9.0).reshape(3, 3)
    np.testing.assert_array_equal(samples.convolve_valid(canvas, kernel), kernel)


def test_the_same_at_each_call() -> None:
    for name in samples.NAMES:
        np.testing.assert_array_equal(samples.load(name).blurred, samples.load(name).blurred)


def test_micrograph_has_an_offset_and_a_pixel_size() -> None:
    sample = samples.load("microscopy")
    assert np.percentile(sample.blurred, 5) == pytest.approx(104, abs=8)
    assert (sample.pixel_size, sample.unit) == (0.1, "um")


def test_unknown_name() -> None:
    with pytest.raises(InvalidInput, match=r"'moon'.*microscopy, photograph"):
        samples.load("moon")


def test_loads_without_torch_and_opencv() -> None:
    code = (
        "import sys; from napari_vdip import samples; [samples.load(n) for n in samples.NAMES];"
        "assert not {'torch', 'cv2', 'napari', 'qtpy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
