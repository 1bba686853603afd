"""Photometry and astrometry of stars survive deblurring: the benchmark's field, with its measures."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def photometry():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import photometry
    finally:
        sys.path.remove(str(BENCHMARKS))
    return photometry


def test_the_limit_of_a_place_is_that_of_theory(photometry):
    """Without a sky an axis has alpha sqrt((beta + 1) / (2 beta (beta - 1))) over the root of the photons."""
    flux, least = photometry.limits(1e8, (0.2, -0.1))
    alpha = photometry.FWHM / 2 / np.sqrt(2 ** (1 / 3) - 1)
    assert flux == pytest.approx(1e4, rel=0.01)
    assert least * 1e4 == pytest.approx(np.sqrt(2) * alpha / np.sqrt(3), rel=0.03)


def test_flux_and_place_of_a_drawn_star_are_measured(photometry):
    image = np.full((40, 40), photometry.SKY)
    image[9:30, 8:29] += 1e5 * photometry.profile((0.3, -0.2))
    assert photometry.flux_of(image, 19.3, 17.8) == pytest.approx(1e5, rel=0.02)
    for window in photometry.WINDOWS:
        assert photometry.place_of(image, 19.0, 18.0, window) == pytest.approx((19.3, 17.8), abs=0.01)


@pytest.mark.slow  # a whole fit
def test_flux_and_place_survive_deblurring(photometry):
    stars = photometry.measured(34, "fast")
    bright = [star for star in stars if star.ratio > 40]
    flux, place = (np.array([getattr(star, name) for star in bright]) for name in ("flux", "place"))
    assert abs(np.median(flux[:, 1] - flux[:, 0])) < 0.01
    assert np.sqrt((place[:, 1] ** 2).mean()) < 0.05
    # Fainter stars have less light than 0.05 px takes.
    faint = [star for star in stars if 15 < star.ratio <= 40]
    limit = np.sqrt(np.mean([star.least**2 for star in faint]))
    assert limit > 0.05
    assert np.sqrt(np.mean([star.place[1] ** 2 for star in faint])) < 1.2 * limit
