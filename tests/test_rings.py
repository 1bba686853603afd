"""Masked hits leave no rings: cosmic rays, hot pixels and a saturated star in a simulated star field."""

from __future__ import annotations

import numpy as np
import pytest

from napari_vdip import deblur, family

SKY, READ = 200.0, 5.0
NOISE = np.sqrt(SKY + READ**2)
MOFFAT = family.FAMILIES["moffat"]
KERNEL = MOFFAT.draw(np.array([2 * np.log(2.0), 0.0, 0.0, 0.7]), (11, 11))
RAYS = [(14, 40), (14, 41), (40, 12), (52, 66), (53, 67)]
HOT = (30, 62)
BRIGHT = (34, 34)


def photons():
    """Field of four faint stars and one bright one."""
    light = np.full((64, 80), SKY)
    for (row, column), flux in {(12, 14): 6e3, (50, 20): 9e3, (48, 50): 5e3, (14, 64): 8e3}.items():
        light[row - 5 : row + 6, column - 5 : column + 6] += flux * KERNEL
    row, column = BRIGHT
    light[row - 5 : row + 6, column - 5 : column + 6] += 8e5 * KERNEL
    rng = np.random.default_rng(4)
    return rng.poisson(light) + rng.normal(0, READ, light.shape)


def hit(image):
    """Add cosmic rays and a hot pixel, by a detector of 14 bits."""
    image = image.copy()
    for place in RAYS:
        image[place] += 4000
    image[HOT] += 9000
    return image.clip(0, 2**14 - 1).round().astype(np.uint16)


def around(image, place, inner=2.0, outer=6.0):
    """Pixels of a ring."""
    rows, columns = np.indices(image.shape)
    away = np.hypot(rows - place[0], columns - place[1])
    return image[(away >= inner) & (away < outer)]


def excess(image):
    """Mean of a ring around each hit less the sky, in its noise."""
    return np.array([abs(around(image, place).mean() - SKY) / NOISE for place in (*RAYS, HOT)])


@pytest.fixture(scope="module")
def results():
    options = {"kind": "astronomy", "kernel": KERNEL, "preset": "fast", "iterations": 40}
    frame = hit(photons())
    return {on: deblur(frame, defects=on, threads=1, compile="off", **options) for on in (True, False)}


def test_all_of_them_are_found(results):
    report = results[True].report["left_out"]
    assert report["outliers"] == len(RAYS) + 1
    assert report["saturated"] >= 9


def test_hits_leave_the_sky_as_it_is(results):
    masked, blind = results[True].image, results[False].image
    assert excess(masked).max() < 0.5
    assert excess(blind).min() > 1.0  # the rings that they leave if they take part
    for place in (*RAYS, HOT):
        assert abs(masked[place] - SKY) < 15 * NOISE < 300 * NOISE < blind[place]
        assert around(masked, place).min() > SKY - 12 * NOISE


def test_a_saturated_star_has_no_dark_ring(results):
    masked, blind = (around(results[on].image, BRIGHT, 3.0, 9.0).min() for on in (True, False))
    assert masked > SKY - 7 * NOISE > blind
