"""Figures of a result whose errors are made by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from folders import KERNELS
from scipy.ndimage import gaussian_filter, shift

from napari_vdip.benchmark.cases import Truth
from napari_vdip.benchmark.figures import error_ratio, measure


def truth_of(shape: tuple[int, int] = (120, 110)) -> Truth:
    sharp = 255.0 * gaussian_filter(np.random.default_rng(0).random(shape), 0.7)
    kernel = KERNELS["kernel1"] / KERNELS["kernel1"].sum()
    return Truth(np.rint(gaussian_filter(sharp, 2)).astype(np.uint8), sharp, kernel, 255.0)


def test_errors_that_have_the_standard_deviation_that_is_told():
    truth, random = truth_of(), np.random.default_rng(1)
    std = np.where(np.indices(truth.sharp.shape)[1] < 55, 1.0, 4.0)
    kernel = np.pad(KERNELS["kernel1"], 3)[::-1, ::-1]
    found = measure(truth, truth.sharp + random.normal(0.0, std), std, kernel)
    assert found.psnr == pytest.approx(20 * np.log10(255 / np.sqrt(8.5)), abs=0.2)
    assert found.gain == pytest.approx(found.psnr - found.psnr_blurred)
    assert found.psnr_blurred < found.psnr
    assert found.kernel_similarity == pytest.approx(1.0)
    assert [found.coverage_50, found.coverage_68, found.coverage_90, found.coverage_95] == pytest.approx(
        [0.5, 0.68, 0.9, 0.95], abs=0.03
    )
    assert found.ause < 0.5 * found.ause_gradient  # the gradient knows nothing of these errors
    assert found.rank_correlation > 0.4
    assert found.ence < 0.1


def test_the_uncertainty_moves_with_the_image():
    truth, random = truth_of(), np.random.default_rng(1)
    std = np.where(np.indices(truth.sharp.shape)[1] < 55, 0.5, 8.0)
    noisy = truth.sharp + random.normal(0.0, std)
    moved = measure(truth, shift(noisy, (3, -4), order=0), shift(std, (3, -4), order=0, mode="nearest"), std)
    still = measure(truth, noisy, std, std)
    assert moved.coverage_68 == pytest.approx(still.coverage_68, abs=1e-9)
    assert moved.psnr == pytest.approx(still.psnr, abs=1e-6)


def test_no_uncertainty_and_no_kernel_leave_their_figures_out():
    truth = dataclasses.replace(truth_of(), kernel=None)
    found = measure(truth, truth.sharp, np.full(truth.sharp.shape, np.nan), np.ones((5, 5)))
    assert found.kernel_similarity is None
    assert {getattr(found, f"coverage_{level}") for level in (50, 68, 90, 95)} == {None}
    assert {found.ause, found.ause_gradient, found.rank_correlation, found.ence} == {None}


def test_error_ratio():
    assert error_ratio(30.0, 30.0) == 1.0
    assert error_ratio(30.0, 33.0) == pytest.approx(2.0, abs=0.01)
