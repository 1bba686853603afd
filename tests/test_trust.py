"""Relative uncertainty, doubtful pixels, and numbers written with the digits that mean something."""

from __future__ import annotations

import numpy as np
import pytest

from napari_vdip import trust


def test_relative_is_the_share_of_the_pixels_value():
    image = np.array([[100.0, -50.0, 0.0, 10.0]])
    std = np.array([[10.0, 10.0, 1.0, np.nan]])
    np.testing.assert_array_equal(trust.relative(image, std), [[10, 20, np.inf, np.nan]])


def test_of_colours_the_mean_counts():
    image = np.array([[[0.0, 50.0, 100.0], [100.0, 100.0, 100.0]]])
    std = trust.grey(np.array([[[3.0, 4.0, 5.0], [2.0, 2.0, 2.0]]]))
    np.testing.assert_allclose(std, [[np.sqrt(50 / 3), 2.0]])
    np.testing.assert_allclose(trust.relative(image, std), [[2 * np.sqrt(50 / 3), 2.0]], rtol=1e-6)


def test_an_alpha_has_no_part():
    np.testing.assert_allclose(trust.grey(np.array([[[2.0, 2.0, 2.0, 0.0]]])), [[2.0]])


def test_doubtful_is_what_is_above_the_limit_or_unknown():
    image = np.array([[100.0, 100.0, 0.0, 100.0]])
    std = np.array([[19.0, 21.0, 1.0, np.nan]])
    np.testing.assert_array_equal(trust.doubtful(image, std), [[False, True, True, True]])
    np.testing.assert_array_equal(trust.doubtful(image, std, 50.0), [[False, False, True, True]])


def test_of_the_range_dark_pixels_are_no_less_certain():
    image = np.linspace(0, 200, 400).reshape(20, 20)
    std = np.full_like(image, 2.0)
    std[0, 0] = 12.0  # 6 % of the range
    marked = trust.doubtful(image, std, trust.DOUBTFUL[trust.OF_RANGE], trust.OF_RANGE)
    assert marked[0, 0]
    assert marked.sum() == 1
    assert trust.doubtful(image, std).sum() > 10


@pytest.mark.parametrize(
    ("value", "std", "text"),
    [
        (412.3, 18.2, "412 ± 18"),
        (0.012345, 0.00123, "0.0123 ± 0.0012"),
        (212, 0.96, "212.00 ± 0.96"),
        (1_000_234, 1234, "1000200 ± 1200"),
        (-3.14159, 0.5, "-3.14 ± 0.50"),
        (5, 0, "5 ± 0"),
        (3e-9, 1e-10, "3.000e-09 ± 1.0e-10"),
        (3, float("nan"), "3 ± ?"),
    ],
)
def test_written(value, std, text):
    assert trust.written(value, std) == text
