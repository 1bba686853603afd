"""Stars that stand alone tell the kernel; galaxies, hits and saturated stars do not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import fftconvolve

from napari_vdip import arrays, deblur, family, stars

SIDE, SKY, SIZE = 128, 200.0, (15, 15)
MOFFAT = family.FAMILIES["moffat"]


def field(shape, seed=0, count=16, galaxies=0, ceiling=np.inf):
    """Stars, and galaxies that are three times as wide, of one Moffat profile; photons (float32)."""
    rng = np.random.default_rng(seed)
    light = np.full((SIDE, SIDE), SKY)
    places = [(16 + 24 * i, 16 + 24 * j) for i in range(5) for j in range(5)]
    for number, at in enumerate(rng.permutation(places)[: count + galaxies]):
        values = np.array(shape)
        if number >= count:
            values[0] += 2 * np.log(3.0)
        drawn = MOFFAT.draw(values, (21, 21), tuple(rng.uniform(-0.5, 0.5, 2)))
        light[at[0] - 10 : at[0] + 11, at[1] - 10 : at[1] + 11] += 10 ** rng.uniform(3.6, 5) * drawn
    counts = rng.poisson(light) + rng.normal(0, 5, light.shape)
    return np.minimum(counts, ceiling).astype(np.float32)


def found(image, name="moffat"):
    return family.fit(arrays.frame(image, None, False, True, True), name, SIZE, None, True)


ROUND = (2 * np.log(2.2), 0.0, 0.0, 0.7)
WIDTH = MOFFAT.tell(np.array(ROUND))[0]


@pytest.mark.parametrize("seed", [0, 1])
def test_the_width_is_that_of_the_stars(seed):
    kernel = found(field(ROUND, seed))
    assert kernel.source.endswith("stars")
    for name in ("fwhm_long", "fwhm_short"):
        assert kernel.numbers[name].value == pytest.approx(WIDTH, rel=0.03)
        assert abs(kernel.numbers[name].value - WIDTH) < 4 * kernel.numbers[name].std
    assert kernel.numbers["beta"].value == pytest.approx(MOFFAT.tell(np.array(ROUND))[3], rel=0.1)


def test_trails_are_found_with_their_direction():
    shape = np.array([2 * np.log(2.2), 0.25, -0.25, 0.7])
    kernel = found(field(shape))
    long, short, angle, _ = MOFFAT.tell(shape)
    assert kernel.numbers["fwhm_long"].value == pytest.approx(long, rel=0.03)
    assert kernel.numbers["fwhm_short"].value == pytest.approx(short, rel=0.03)
    assert kernel.numbers["angle"].value == pytest.approx(angle, abs=3)


@pytest.mark.parametrize("changes", [{"count": 9, "galaxies": 9}, {"ceiling": 2500.0}])
def test_galaxies_and_saturated_stars_do_not_make_it_wider(changes):
    assert found(field(ROUND, **changes)).numbers["fwhm_long"].value == pytest.approx(WIDTH, rel=0.08)


def test_narrow_stars_between_pixels_are_not_taken_for_a_point():
    """At 2 px width at half maximum the evidence took a star for its kernel's trail."""
    shape = (2 * np.log(1.1), 0.0, 0.0, 0.7)
    kernel = found(field(shape))
    assert kernel.numbers["fwhm_short"].value == pytest.approx(MOFFAT.tell(np.array(shape))[1], rel=0.05)


def test_few_stars_are_left_to_the_evidence():
    image = field(ROUND, count=2)
    frame = arrays.frame(image, None, False, True, True)
    assert stars.fit(frame, MOFFAT.draw, MOFFAT.start, SIZE) is None


def test_knots_of_a_nebula_are_no_stars(monkeypatch):
    """Five alike told a width of 10 px where it was 3.2."""
    rng = np.random.default_rng(36)
    places = np.hypot(*np.meshgrid(np.fft.fftfreq(148), np.fft.fftfreq(148)))
    places[0, 0] = 1.0
    clouds = np.fft.ifft2(np.fft.fft2(rng.normal(size=(148, 148))) * places**-1.6).real
    light = np.exp(1.2 * (clouds - clouds.mean()) / clouds.std())
    light = fftconvolve(3000 / light.mean() * light, MOFFAT.draw(np.array(ROUND), (21, 21)), mode="valid")
    frame = arrays.frame(rng.poisson(light + SKY).astype(np.float32), None, False, True, True)
    assert stars.fit(frame, MOFFAT.draw, MOFFAT.start, (21, 21)) is None
    monkeypatch.setattr(stars, "_WORST", np.inf)
    assert MOFFAT.tell(stars.fit(frame, MOFFAT.draw, MOFFAT.start, (21, 21)).values)[0] > 2 * WIDTH


def test_the_report_says_who_told_the_kernel():
    image = field(ROUND, count=25)[:64, :80]
    quick = {"kernel_size": 11, "preset": "fast", "iterations": 4, "threads": 1}
    report = deblur(image, kind="astronomy", **quick).report
    assert report["kernel_source"] == "6 stars"
    assert report["kernel_numbers"]["fwhm_long"]["unit"] == "px"
