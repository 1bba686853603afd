"""Kernels of few numbers: their shapes, and that an image gives them back."""

from __future__ import annotations

import math

import numpy as np
import pytest

from napari_vdip import arrays, family, psf
from napari_vdip.metrics import kernel_similarity
from napari_vdip.samples import convolve_valid, load

SIZE = (21, 21)


def drawn(name, width=2.0, **changes):
    values = family.FAMILIES[name].start(width)
    for index, value in changes.items():
        values[int(index[1:])] = value
    return family.FAMILIES[name].draw(values, SIZE)


@pytest.mark.parametrize("name", family.FAMILIES)
def test_a_kernel_sums_to_one_is_centred_and_nowhere_negative(name):
    kernel = drawn(name, p1=0.2, p2=-0.1)
    rows, columns = np.indices(SIZE) - 10
    assert kernel.shape == SIZE
    assert kernel.min() >= 0
    assert kernel.sum() == pytest.approx(1)
    assert (kernel * rows).sum() == pytest.approx(0, abs=1e-6)
    assert (kernel * columns).sum() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("name", ["gaussian", "moffat"])
@pytest.mark.parametrize(("b", "c"), [(0.5, 0.0), (-0.5, 0.0), (0.0, 0.5), (0.3, -0.4)])
def test_the_numbers_told_are_those_of_the_drawn_kernel(name, b, c):
    values = family.FAMILIES[name].start(2.5)
    values[1:3] = b, c
    long, short, angle = family.FAMILIES[name].tell(values)[:3]
    seen = psf.half_maximum(family.FAMILIES[name].draw(values, (41, 41)))
    assert seen.length == pytest.approx(long, rel=0.03)
    assert seen.width == pytest.approx(short, rel=0.03)
    assert (seen.angle - angle + 90) % 180 - 90 == pytest.approx(0, abs=2)


def test_the_kernel_of_a_pupil_ends_at_its_cutoff_frequency():
    values = np.array([math.log(0.3 / 0.7), 0.0, 0.0, 0.0])
    spectrum = np.abs(np.fft.fft2(family.FAMILIES["pupil"].draw(values, (127, 127))))
    fy, fx = np.meshgrid(np.fft.fftfreq(127), np.fft.fftfreq(127), indexing="ij")
    frequency = np.hypot(fy, fx)
    assert spectrum[frequency > 0.32].max() < 5e-3 < 0.1 < spectrum[frequency < 0.2].min()


def frame_of(kernel, photons, side=130):
    """Microscope scene under a kernel, with the noise of so many photons at its peak."""
    rng = np.random.default_rng(0)
    sharp = load("microscopy").sharp[40 : 40 + side, 60 : 60 + side].astype(float) - 100
    light = convolve_valid(sharp * photons / sharp.max(), kernel)
    counts = rng.poisson(light) + rng.normal(100, 2, light.shape)
    return arrays.frame(np.rint(counts).clip(0).astype(np.uint16), None, False, True)


ELLIPSE = np.array([2 * math.log(1.8), 0.25, 0.25])


def counted(*given, **keywords):
    """Fit, and count how often a kernel's evidence is asked for."""
    asked, true = [], family.Evidence.__call__
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(family.Evidence, "__call__", lambda *question: asked.append(1) or true(*question))
        return family.fit(*given, **keywords), len(asked)


@pytest.fixture(scope="module")
def many_photons():
    """Fit an image of many photons under an ellipse; the image, what is found, and how often it was asked."""
    frame = frame_of(family.FAMILIES["gaussian"].draw(ELLIPSE, SIZE), 3000)
    return frame, *counted(frame, "gaussian", SIZE)


@pytest.mark.parametrize(("photons", "near", "sure"), [(300, 0.2, 0.2), (3000, 0.06, 0.1)])
def test_a_gaussian_blur_is_found_with_its_size_and_direction(photons, near, sure, many_photons):
    truth = family.FAMILIES["gaussian"].draw(ELLIPSE, SIZE)
    if photons == 3000:
        _, found, _ = many_photons
    else:
        found = family.fit(frame_of(truth, photons), "gaussian", SIZE)
    assert kernel_similarity(found.kernel, truth) > 0.98
    long, short, angle = family.FAMILIES["gaussian"].tell(ELLIPSE)
    assert found.numbers["fwhm_long"].value == pytest.approx(long, rel=near)
    assert found.numbers["fwhm_short"].value == pytest.approx(short, rel=near)
    assert found.numbers["angle"].value == pytest.approx(angle, abs=20)
    assert found.numbers["fwhm_long"].unit == "px"
    for name, size in (("fwhm_long", long), ("fwhm_short", short)):
        number = found.numbers[name]
        assert abs(number.value - size) < 2.5 * number.std
        assert number.std < sure * number.value


def test_a_kernel_that_has_drifted_is_found_from_its_neighbour_with_less_asking(many_photons):
    frame, alone, alone_asked = many_photons
    neighbour = family.FAMILIES["gaussian"].draw(ELLIPSE - np.array([0.1, 0.0, 0.0]), SIZE)
    found, asked = counted(frame, "gaussian", SIZE, near=neighbour)
    assert asked < 0.6 * alone_asked  # and each takes half as long
    assert kernel_similarity(found.kernel, alone.kernel) > 0.995
    assert found.numbers["fwhm_long"].value == pytest.approx(alone.numbers["fwhm_long"].value, rel=0.06)
    assert found.numbers["fwhm_long"].std > 0


def test_the_cutoff_of_a_lens_is_found():
    truth = load("microscopy").kernel  # NA 0.8, 520 nm, 0.1 um pixels
    found = family.fit(frame_of(truth, 3000, 100), "pupil", (15, 15))
    assert found.numbers["cutoff_frequency"].value == pytest.approx(2 * 0.8 / 0.52 * 0.1, rel=0.12)


def test_a_moffat_star_keeps_its_wings():
    truth = drawn("moffat", 1.2)
    found = family.fit(frame_of(truth, 10_000, 100), "moffat", SIZE)
    assert kernel_similarity(found.kernel, truth) > 0.97


def test_the_richest_part_of_a_large_image_is_looked_at():
    image = np.full((300, 500), 10.0)
    image[200:260, 330:400] = np.random.default_rng(0).random((60, 70)) * 100
    part = family.richest(arrays.frame(image, None, False, False), 192)
    assert part[1].start <= 200 < 260 <= part[1].stop
    assert part[2].start <= 330 < 400 <= part[2].stop
    assert part[1].stop - part[1].start == part[2].stop - part[2].start == 192


@pytest.mark.parametrize("name", family.FAMILIES)
def test_a_drawn_kernel_tells_its_numbers(name):
    known = family.FAMILIES[name]
    values = known.start(1.8) + 0.5 * np.asarray(known.steps)
    found = family._parameters(known, known.draw(values, SIZE))
    np.testing.assert_allclose(known.draw(found, SIZE), known.draw(values, SIZE), atol=2e-4)


@pytest.mark.parametrize("name", family.FAMILIES)
def test_a_kernel_that_is_a_point_or_a_line_has_numbers_too(name):
    point, line = np.zeros((2, 11, 11))
    point[5, 5] = 1
    line[5] = 1 / 11
    for kernel in (point, line):
        found = family._parameters(family.FAMILIES[name], kernel)
        assert np.isfinite(found).all()
        assert np.isfinite(family.FAMILIES[name].draw(found, (11, 11))).all()
