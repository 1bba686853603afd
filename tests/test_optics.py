"""Instruments whose numbers are known: their kernels, what is left to be found, and what is refused."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from napari_vdip import arrays, deblur, family, optics, psf
from napari_vdip.cli import main
from napari_vdip.errors import InvalidOption
from napari_vdip.options import Options
from napari_vdip.psf import PixelSize
from napari_vdip.samples import convolve_valid, load

MICROSCOPE = {"numerical_aperture": 0.8, "wavelength": 520.0, "pixel_size": 0.1}
TELESCOPE = {"aperture_diameter": 3.58, "wavelength": 550.0, "pixel_size": 0.27}
SIZE = (21, 21)
IN_FOCUS = (0.0, 0.0, 0.0)


def transfer(kernel):
    """Transfer function along the first axis over frequency, without that of the pixel."""
    frequency = np.fft.rfftfreq(len(kernel))
    return frequency, np.abs(np.fft.rfft(kernel.sum(1))) / np.sinc(frequency)


def test_a_lens_in_focus_passes_what_theory_says():
    frequency, found = transfer(optics.draw((301, 301), 0.4, IN_FOCUS))
    part = np.clip(frequency / 0.4, 0, 1)
    assert found == pytest.approx(2 / np.pi * (np.arccos(part) - part * np.sqrt(1 - part**2)), abs=0.012)


def test_an_obstruction_passes_more_of_the_fine_and_less_of_the_middle():
    frequency, clear = transfer(optics.draw((201, 201), 0.4, IN_FOCUS))
    shaded = transfer(optics.draw((201, 201), 0.4, IN_FOCUS, obstruction=0.5))[1]
    assert shaded[np.searchsorted(frequency, 0.15)] < 0.85 * clear[np.searchsorted(frequency, 0.15)]
    assert shaded[np.searchsorted(frequency, 0.32)] > 1.1 * clear[np.searchsorted(frequency, 0.32)]


@pytest.mark.parametrize("cutoff", [2.0, 9.0, 80.0])
def test_air_blurs_to_the_width_of_its_fried_parameter(cutoff):
    kernel = optics.draw((41, 41), cutoff, IN_FOCUS, obstruction=0.3, seeing=0.2)
    wanted = math.hypot(0.976 / 0.2, 1.03 / cutoff, 0.6)  # air, diffraction, pixel
    assert psf.half_maximum(kernel).diameter == pytest.approx(wanted, rel=0.05)


def test_pixels_coarser_than_the_resolution_collect_the_whole_point():
    kernel = optics.draw((9, 9), 9.0, IN_FOCUS)
    assert kernel[4, 4] > 0.9


@pytest.mark.parametrize("waves", [(0.3, 0.0, 0.0), (-0.1, 0.2, 0.0), (0.2, 0.1, -0.2)])
def test_a_kernel_is_its_own_mirror_image_and_sums_to_one(waves):
    kernel = optics.draw((21, 31), 0.35, waves, obstruction=0.2, seeing=0.5)
    assert kernel.shape == (21, 31)
    assert kernel.sum() == pytest.approx(1)
    assert kernel.min() >= 0
    np.testing.assert_allclose(kernel, kernel[::-1, ::-1], atol=1e-9)


def test_the_numbers_of_a_microscope_become_its_cutoff():
    found = optics.of_options(Options(**MICROSCOPE), SIZE)
    assert found.cutoff == pytest.approx(2 * 0.8 / 0.52 * 0.1)


def test_the_numbers_of_a_telescope_become_cutoff_and_seeing():
    options = Options(**TELESCOPE, central_obstruction=0.3, fried_parameter=12)
    found = optics.of_options(options, SIZE)
    pixel = math.radians(0.27 / 3600)
    assert found.cutoff == pytest.approx(3.58 / 550e-9 * pixel)
    assert found.seeing_width(found.seeing) == pytest.approx(0.976 * 550e-9 / 0.12 / pixel * 0.27, rel=1e-6)
    assert found.fried_parameter(found.seeing) == pytest.approx(12)


def test_an_instrument_asks_for_a_pupil_unless_another_family_is_given():
    assert Options(**MICROSCOPE, kind="fluorescence").family_used == "pupil"
    assert Options(**TELESCOPE, kind="astronomy").family_used == "pupil"
    assert optics.of_options(Options(), SIZE) is None


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (MICROSCOPE | {"aperture_diameter": 3.5}, "microscope.*telescope; give those of one"),
        ({"numerical_aperture": 0.8}, "need wavelength and pixel_size as well"),
        ({"numerical_aperture": 0.8, "wavelength": 520}, "does not tell the size of its pixels"),
        ({"wavelength": 520.0}, "says too little of an instrument; give numerical_aperture"),
        ({"fried_parameter": 10.0, "wavelength": 520.0}, "give .*aperture_diameter for a telescope"),
        (MICROSCOPE | {"kernel_family": "gaussian"}, "describe a pupil, but kernel_family='gaussian'"),
        (MICROSCOPE | {"kernel": np.ones((3, 3))}, "a known kernel and numerical_aperture"),
        (MICROSCOPE | {"pixel_size": 6.5}, "40.0 times too coarse.*divided by the magnification"),
        (MICROSCOPE | {"pixel_size": 0.001}, "diffraction alone blurs by 335 px, more than kernel_size=21"),
        (TELESCOPE | {"fried_parameter": 0.5}, "seeing alone blurs by 82 px.*fried_parameter"),
    ],
)
def test_what_contradicts_itself_is_refused_with_what_to_do(given, words):
    with pytest.raises(InvalidOption, match=words):
        optics.of_options(Options(kernel_family=given.pop("kernel_family", "pupil"), **given), SIZE)


def test_a_refusal_comes_before_the_first_step():
    with pytest.raises(
        InvalidOption, match=r"numerical_aperture=2 is out of bounds; expected from 0.01 to 1.7"
    ):
        deblur(np.eye(32), numerical_aperture=2)
    with pytest.raises(
        InvalidOption, match="wavelength='green' is not allowed; expected a number or nothing"
    ):
        deblur(np.eye(32), wavelength="green")
    with pytest.raises(InvalidOption, match="need wavelength"):
        deblur(np.eye(32), numerical_aperture=0.8, pixel_size=0.1)


@pytest.mark.parametrize(
    ("given", "size", "wanted"),
    [
        ({"numerical_aperture": 0.8}, PixelSize(100, 100, "nm"), 0.1),
        ({"numerical_aperture": 0.8}, PixelSize(0.1, 0.1, "µm"), 0.1),
        ({"aperture_diameter": 2.0}, PixelSize(-1e-4, 1e-4, "deg"), 0.36),
        ({"numerical_aperture": 0.8, "pixel_size": 0.2}, PixelSize(100, 100, "nm"), 0.2),
        ({"numerical_aperture": 0.8}, PixelSize(), None),
        ({}, PixelSize(0.1, 0.1, "um"), None),
    ],
)
def test_the_pixel_size_comes_from_the_image(given, size, wanted):
    found = optics.with_pixel_size(Options(**given), size).pixel_size
    assert found == (wanted if wanted is None else pytest.approx(wanted))


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (PixelSize(0.1, 0.2, "um"), "0.1 x 0.2 um; an instrument .* needs square ones"),
        (PixelSize(0.3, 0.3, "arcsec"), "measured in 'arcsec', those of a microscope in um; give pixel_size"),
    ],
)
def test_pixels_that_do_not_fit_the_instrument_are_refused(size, words):
    with pytest.raises(InvalidOption, match=words):
        optics.with_pixel_size(Options(numerical_aperture=0.8), size)


def scene(kernel, photons=5000):
    """Frame of the microscopy sample's cells under a kernel, with the noise of so many photons."""
    rng = np.random.default_rng(3)
    sharp = load("microscopy").sharp[60:150, 80:170].astype(float) - 100
    light = convolve_valid(sharp * photons / sharp.max(), kernel)
    return (rng.poisson(light) + rng.normal(100, 2, light.shape)).clip(0).round().astype(np.uint16)


def test_with_the_cutoff_held_defocus_and_astigmatism_are_found():
    known = optics.of_options(Options(**MICROSCOPE), SIZE)
    image = scene(optics.draw(SIZE, known.cutoff, (0.2, 0.1, 0.0)))
    found = family.fit(arrays.frame(image, None, False, True), "pupil", SIZE, known).numbers
    assert found["cutoff_frequency"] == family.Number(known.cutoff, 0.0, "cycles/px")
    assert abs(found["defocus"].value) == pytest.approx(0.2, abs=0.05)
    assert abs(found["astigmatism_oblique"].value) == pytest.approx(0.1, abs=0.05)
    assert abs(found["astigmatism_vertical"].value) < 0.03
    assert found["defocus"].unit == "waves"
    assert 0 < found["defocus"].std < 0.1


def test_the_fried_parameter_is_found():
    known = optics.of_options(Options(**TELESCOPE, central_obstruction=0.3), SIZE)
    truth = 12.0
    seeing = truth / known.fried_parameter(1.0)
    image = scene(optics.draw(SIZE, known.cutoff, IN_FOCUS, 0.3, seeing))
    found = family.fit(arrays.frame(image, None, False, True), "pupil", SIZE, known).numbers
    assert found["fried_parameter"].value == pytest.approx(truth, rel=0.12)
    assert found["fried_parameter"].unit == "cm"
    assert 0 < found["fried_parameter"].std < 3
    assert found["seeing_fwhm"].value == pytest.approx(0.976 * 550e-9 / 0.12 * 206265, rel=0.12)
    assert found["seeing_fwhm"].unit == "arcsec"


@pytest.mark.usefixtures("small_fit")
def test_the_shell_takes_the_pixel_size_from_the_file(tmp_path):
    from napari_vdip import files
    from napari_vdip.imagefile import ImageFile

    image = scene(optics.draw((9, 9), 0.3, IN_FOCUS))[:40, :48]
    path = tmp_path / "cells.tif"
    like = ImageFile(path, "imagej", image, "YX", resolution=(10.0, 10.0), metadata={"unit": "um"})
    files.write(path, image, like)
    words = [
        "--preset",
        "fast",
        "--iterations",
        "4",
        "--kernel-size",
        "9",
        "--quiet",
        "--output",
        str(tmp_path),
    ]
    flags = ["--numerical-aperture", "0.8", "--wavelength", "520"]
    assert main(["deblur", str(path), *flags, *words]) == 0
    report = json.loads((tmp_path / "cells_report.json").read_text())
    assert report["options"]["pixel_size"] == pytest.approx(0.1, rel=1e-3)
    assert report["kernel_family"] == "pupil"
    assert report["kernel_numbers"]["cutoff_frequency"]["value"] == pytest.approx(0.3077, rel=1e-3)
    assert report["kernel_numbers"]["cutoff_frequency"]["std"] == 0


def test_the_shell_says_which_flag_is_wrong(capsys, tmp_path):
    assert main(["deblur", "x.tif", "--wavelength", "green", "--output", str(tmp_path)]) == 2
    assert "'green' is not a number" in capsys.readouterr().err
