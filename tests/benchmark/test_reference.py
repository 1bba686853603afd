"""Deconvolution with a known kernel: the yardstick must not be a weak one."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import fftconvolve

from napari_vdip import samples
from napari_vdip.benchmark.cases import Truth
from napari_vdip.benchmark.reference import deconvolve, oriented
from napari_vdip.estimate import noise_std
from napari_vdip.metrics import closeness


def test_a_known_kernel_gives_the_photograph_back():
    sample = samples.load("photograph")
    blurred = sample.blurred / 255.0
    found = deconvolve(blurred, sample.kernel.astype(float), noise_std(blurred))
    assert found.shape == blurred.shape
    before = closeness(blurred, sample.sharp / 255.0, 1.0).psnr
    after = closeness(found, sample.sharp / 255.0, 1.0)
    assert after.psnr > before + 5.0
    assert after.shift == (0.0, 0.0)
    wrong = deconvolve(blurred, sample.kernel[::-1, ::-1].astype(float), noise_std(blurred))
    assert closeness(wrong, sample.sharp / 255.0, 1.0).psnr < after.psnr - 3.0


def test_the_orientation_is_read_off_the_images():
    sample = samples.load("photograph")
    kernel = sample.kernel.astype(float)
    for given in (kernel, kernel[::-1, ::-1]):
        truth = Truth(sample.blurred, sample.sharp.astype(float), given, 255.0)
        assert np.array_equal(oriented(truth), kernel)


def test_a_delta_without_noise_changes_nothing():
    image = np.random.default_rng(0).random((30, 33))
    kernel = np.zeros((3, 5))
    kernel[1, 2] = 1.0
    assert deconvolve(image, kernel, 0.0) == pytest.approx(image, abs=1e-6)


def test_borders_do_not_ring():
    """A canvas beyond the image: a blurred ramp stays a ramp, where a periodic one would be off by 0.7."""
    ramp = np.add.outer(np.linspace(0.2, 0.5, 70), np.linspace(0.0, 0.4, 60))
    kernel = np.ones((7, 1)) / 7
    blurred = fftconvolve(np.pad(ramp, ((3, 3), (0, 0)), mode="edge"), kernel, mode="valid")
    error = np.abs(deconvolve(blurred, kernel, 1e-3) - ramp)
    assert error.max() < 0.05
    assert error[3:-3, 3:-3].max() < 0.01


def test_two_images_of_levin(data_folder):
    """Two of the 16 whose mean, 34.56 dB, meets the published one for the known kernel, 34.53 dB."""
    from napari_vdip.benchmark import cases, worker

    found = [
        worker.reference({name: value and str(value) for name, value in vars(case).items()})
        for case in cases.find(data_folder / "levin_dev", ["im1_kernel5", "im2_kernel4"])
    ]
    assert found[0]["psnr"] == pytest.approx(37.17, abs=0.05)
    assert found[1]["psnr"] == pytest.approx(31.98, abs=0.05)
    assert found[0]["ssim"] > 0.96
