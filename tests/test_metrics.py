"""Metrics find a known shift and know a kernel from another."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, shift

from napari_vdip.metrics import allowance, closeness, held_size, kernel_similarity


def test_a_shifted_copy_is_found():
    truth = 255 * gaussian_filter(np.random.default_rng(0).random((90, 80)), 2)
    image = shift(truth, (3.25, -5.5), order=3, mode="nearest")
    found = closeness(image, truth, 255.0)
    assert found.shift == (-3.25, 5.5)
    assert found.psnr > 50
    assert found.ssim > 0.99


def test_a_large_shift_is_found_where_it_is_allowed():
    truth = 50 + 100 * gaussian_filter(np.random.default_rng(0).random((90, 110)), 2)
    image = shift(truth, (-18.5, 21.75), order=3, mode="nearest")
    found = closeness(image, truth, 255.0, border=24, reach=24)
    assert found.shift == (18.5, -21.75)
    assert found.psnr > closeness(image, truth, 255.0).psnr + 20


def test_large_kernels_may_move_an_image_farther_than_published_tables_allow():
    kernel = np.zeros((75, 75))
    kernel[10, 4:40] = 1
    assert held_size(kernel) == 37
    assert allowance(kernel, (400, 300)) == (18, 18)
    assert allowance(kernel, (44, 300)) == (16, 16)
    assert allowance(kernel, (40, 300)) == (15, 10)
    assert allowance(kernel[:, :30], (400, 300)) == (15, 10)
    assert allowance(None, (400, 300)) == (15, 10)


def test_psnr_of_known_noise():
    truth = np.full((64, 64), 100.0)
    truth[20:40, 20:40] = 200.0
    noisy = truth + np.where(np.indices(truth.shape).sum(0) % 2, 2.55, -2.55)
    assert closeness(noisy, truth, 255.0).psnr == pytest.approx(40.0, abs=0.01)


def test_kernels_are_alike_whatever_their_shift():
    line, spot = np.zeros((11, 11)), np.zeros((15, 15))
    line[5, 2:9] = 1
    spot[3, 4] = 1
    moved = np.roll(np.pad(line, 2), (2, -1), (0, 1))
    assert kernel_similarity(line, moved) == pytest.approx(1.0)
    assert kernel_similarity(line, spot) == pytest.approx(1 / np.sqrt(7))
