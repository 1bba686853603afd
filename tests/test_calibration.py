"""Figures of an uncertainty, on cases whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from napari_vdip.calibration import ause, coverage, ence, rank_correlation, sparsification


def gaussian(size: int = 200_000) -> tuple[np.ndarray, np.ndarray]:
    """Errors of a known standard deviation that differs from pixel to pixel."""
    random = np.random.default_rng(0)
    std = random.uniform(0.5, 5.0, size)
    return random.normal(0.0, std), std


@pytest.mark.parametrize("level", [0.5, 0.68, 0.9, 0.95])
def test_coverage_of_gaussian_errors_is_the_level(level):
    error, std = gaussian()
    assert coverage(error, std, level) == pytest.approx(level, abs=0.005)


def test_coverage_counts_pixels():
    error = np.array([[0.5, -0.9], [1.1, -3.0]])
    assert coverage(error, np.ones((2, 2)), 0.6827) == 0.5  # within 1
    assert coverage(error, np.ones((2, 2)), 0.95) == 0.75  # within 1.96
    assert coverage(error, np.full((2, 2), 2.0), 0.95) == 1.0
    assert coverage(np.zeros(3), np.zeros(3), 0.5) == 1.0


def test_sparsification_of_four_pixels():
    error = np.array([3.0, 4.0, 0.0, 0.0])
    curve = sparsification(error, np.abs(error))
    assert curve.shape == (100,)
    assert curve[0] == 1.0
    # A quarter gone: the 4 is out, 9 / 3 is left of 25 / 4.
    assert curve[25] == pytest.approx(np.sqrt(3.0 / 6.25))
    assert curve[50] == curve[99] == 0.0
    # In the wrong order the large ones are left until the end.
    worst = sparsification(error, -np.abs(error))
    assert worst[50] == pytest.approx(np.sqrt(12.5 / 6.25))
    assert worst[99] == pytest.approx(4.0 / 2.5)


def test_ause_is_0_for_the_best_order_whatever_its_scale():
    error, _ = gaussian(5000)
    assert ause(error, np.abs(error)) == pytest.approx(0.0, abs=1e-12)
    assert ause(error, 7.0 + 100.0 * np.abs(error) ** 2) == pytest.approx(0.0, abs=1e-12)


def test_ause_of_a_step_is_its_area():
    # Half the errors are 1, half 0; the wrong order keeps the ones.
    error = np.repeat([1.0, 0.0], 500)
    # best: the ones go first, until one half is gone; worst: the noughts do, and the ones are left
    gone = np.linspace(0.0, 0.99, 20_001)
    best = np.sqrt(np.clip(0.5 - gone, 0.0, None) / (1.0 - gone) / 0.5)
    worst = np.where(gone < 0.5, np.sqrt(1.0 / (1.0 - gone)), np.sqrt(2.0))
    area = float(np.mean(worst - best)) * 0.99
    assert ause(error, -error) == pytest.approx(area, abs=0.005)


def test_ause_tells_a_useful_order_from_a_useless_one():
    error, std = gaussian(50_000)
    useless = np.random.default_rng(1).random(error.size)
    assert 0.0 < ause(error, std) < 0.8 * ause(error, useless)


@given(st.integers(0, 2**31), st.booleans())
def test_rank_correlation_is_spearmans(seed, ties):
    random = np.random.default_rng(seed)
    error, std = random.normal(size=(6, 7)), random.random((6, 7))
    if ties:
        std = np.round(std, 1)
    assert rank_correlation(error, std) == pytest.approx(spearmanr(np.abs(error), std, axis=None).statistic)


def test_rank_correlation_of_equal_values_is_not_a_number():
    assert np.isnan(rank_correlation(np.array([1.0, -1.0, 1.0]), np.array([1.0, 2.0, 3.0])))
    assert rank_correlation(np.array([1.0, -2.0, 3.0]), np.array([10.0, 20.0, 40.0])) == pytest.approx(1.0)


def test_ence_of_calibrated_errors_is_0_and_of_doubled_ones_1():
    error, std = gaussian()
    assert ence(error, std) == pytest.approx(0.0, abs=0.01)
    assert ence(2.0 * error, std) == pytest.approx(1.0, abs=0.02)
    assert ence(0.0 * error, std) == 1.0


def test_ence_of_two_bins():
    std = np.array([1.0, 1.0, 2.0, 2.0])
    error = np.array([1.0, -1.0, 3.0, 1.0])  # the second bin: sqrt(5) where it tells 2
    assert ence(error, std, bins=2) == pytest.approx((0.0 + (np.sqrt(5.0) - 2.0) / 2.0) / 2.0)
