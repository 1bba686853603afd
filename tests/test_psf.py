"""The width of a kernel, and a kernel on other pixels, against what is known of made-up ones."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_vdip.errors import InvalidInput
from napari_vdip.psf import PixelSize, half_maximum, matched, resampled

FWHM = 2 * math.sqrt(2 * math.log(2))  # of a Gaussian, in standard deviations: 2.3548


def gaussian(std, across=None, turn=0.0, side=61, at=(0.0, 0.0)):
    """Gaussian with its long axis turned by some degrees up from the rows."""
    y, x = np.mgrid[:side, :side] - side // 2 - np.array(at)[:, None, None]
    angle = math.radians(turn)
    along, aside = x * math.cos(angle) - y * math.sin(angle), x * math.sin(angle) + y * math.cos(angle)
    kernel = np.exp(-(along**2) / (2 * std**2) - aside**2 / (2 * (across or std) ** 2))
    return kernel / kernel.sum()


def disc(radius, side=41):
    y, x = np.mgrid[:side, :side] - side // 2
    return (np.hypot(y, x) <= radius).astype(float)


class TestTheWidthAtHalfMaximum:
    @pytest.mark.parametrize("at", [(0, 0), (0.5, 0.3)], ids=["centred", "between pixels"])
    @pytest.mark.parametrize("std", [1, 1.5, 2, 4, 8])
    def test_of_a_gaussian(self, std, at):
        found = half_maximum(gaussian(std, at=at))
        for width in (found.length, found.width, found.diameter):
            assert width == pytest.approx(FWHM * std, rel=0.02)

    @pytest.mark.parametrize("turn", [0, 30, 45, 80, -60])
    def test_of_a_turned_oval(self, turn):
        found = half_maximum(gaussian(5, 2, turn))
        assert found.length == pytest.approx(FWHM * 5, rel=0.02)
        assert found.width == pytest.approx(FWHM * 2, rel=0.02)
        assert found.diameter == pytest.approx(FWHM * math.sqrt(10), rel=0.02)
        assert found.angle == pytest.approx(turn, abs=0.5)

    @pytest.mark.parametrize("turn", [0, 30, 70, -45])
    def test_of_a_streak(self, turn):
        # A line of 20 px that is blurred by a Gaussian of std 1: flat along, Gaussian across.
        kernel = np.mean([gaussian(1, side=41, at=at) for at in line(20, turn)], axis=0)
        found = half_maximum(kernel)
        assert found.length == pytest.approx(20, rel=0.02)
        assert found.width == pytest.approx(FWHM, rel=0.03)
        assert found.angle == pytest.approx(turn, abs=0.5)

    def test_of_a_sharp_streak_and_a_point(self):
        streak = np.zeros((31, 31))
        streak[15, 5:26] = 1
        assert half_maximum(streak).length == pytest.approx(21, abs=0.3)
        assert half_maximum(streak).width == pytest.approx(1, abs=0.3)
        point = np.zeros((7, 7))
        point[3, 3] = 1
        assert half_maximum(point).diameter == pytest.approx(1, abs=0.3)

    def test_of_a_disc(self):
        assert half_maximum(disc(8)).diameter == pytest.approx(
            2 * math.sqrt(disc(8).sum() / math.pi), rel=0.02
        )

    def test_two_spots_count_as_one_region(self):
        kernel = gaussian(1, side=41, at=(0, -10)) + gaussian(1, side=41, at=(0, 10))
        found = half_maximum(kernel)
        assert found.length == pytest.approx(20 + FWHM, rel=0.02)
        assert found.diameter == pytest.approx(math.sqrt(2) * FWHM, rel=0.02)
        assert len(found.outline) == 2

    def test_the_outline_lies_around_the_blob_wherever_it_is(self):
        (outline,) = half_maximum(gaussian(1.5, side=31, at=(-9, 6))).outline
        np.testing.assert_allclose(outline.mean(0), (-9, 6), atol=0.05)

    def test_a_ring_has_the_area_of_a_ring(self):
        ring = disc(12) - disc(6)
        assert half_maximum(ring).diameter == pytest.approx(2 * math.sqrt(ring.sum() / math.pi), rel=0.03)

    def test_in_a_unit_and_on_pixels_that_are_not_square(self):
        kernel = gaussian(8, 4)  # 8 px along the rows, 4 px across
        found = half_maximum(kernel, (0.2, 0.1))  # pixels twice as high as wide: round in um
        assert found.length == pytest.approx(FWHM * 0.8, rel=0.02)
        assert found.width == pytest.approx(FWHM * 0.8, rel=0.02)

    def test_scale_and_window_do_not_matter(self):
        kernel = gaussian(2, side=21)
        one, other = half_maximum(kernel), half_maximum(np.pad(7 * kernel, 13))
        assert (one.length, one.diameter) == pytest.approx((other.length, other.diameter), rel=1e-3)

    @pytest.mark.parametrize("kernel", [np.zeros((5, 5)), np.full((5, 5), np.nan)])
    def test_there_is_none_of_nothing(self, kernel):
        assert half_maximum(kernel) is None


def line(length, turn):
    """Places (row, column) along a line through the middle."""
    t = np.linspace(-length / 2, length / 2, 81)
    return [(-r * math.sin(math.radians(turn)), r * math.cos(math.radians(turn))) for r in t]


class TestResampling:
    @pytest.mark.parametrize("factor", [0.25, 0.5, 0.7, 1.5, 2, 3.3])
    def test_the_width_in_length_stays(self, factor):
        kernel = gaussian(6, side=61)
        made = resampled(kernel, (factor, factor), (1, 1))
        assert made.sum() == pytest.approx(1, abs=1e-5)
        assert all(side % 2 for side in made.shape)
        # A pixel that is wide against the blur adds its own width: a box has the variance 1/12.
        wide = FWHM * math.hypot(6 * factor, math.sqrt(1 / 12))
        assert half_maximum(made).length == pytest.approx(wide, rel=0.02)

    @given(
        st.integers(3, 21),
        st.integers(3, 21),
        st.floats(0.2, 4),
        st.floats(0.2, 4),
        st.integers(0, 2**32 - 1),
    )
    def test_no_light_is_lost_made_or_moved(self, height, width, down, across, seed):
        kernel = np.random.default_rng(seed).random((height, width)) + 1e-3
        made = resampled(kernel, (down, across), (1, 1))
        if made is not kernel:
            assert made.min() >= 0
            assert made.sum() == pytest.approx(1, abs=1e-4)
            assert [side % 2 for side in made.shape] == [1, 1]
            assert made.shape[0] >= height * down - 1e-3
            assert made.shape[1] >= width * across - 1e-3

    def test_the_middle_stays_the_middle(self):
        made = resampled(gaussian(3, side=31), (0.5, 0.5), (0.2, 0.3))
        np.testing.assert_allclose(made, made[::-1, ::-1], atol=1e-7)
        assert np.unravel_index(made.argmax(), made.shape) == (made.shape[0] // 2, made.shape[1] // 2)

    def test_pixels_that_are_twice_as_large_take_four_in(self):
        # Even light: each new pixel in the middle holds 4 old ones.
        made = resampled(np.ones((9, 9)), (1, 1), (2, 2))
        assert made.shape == (5, 5)
        np.testing.assert_allclose(made[1:4, 1:4], 4 / 81, rtol=1e-5)

    def test_the_same_pixels_change_nothing(self):
        kernel = gaussian(2, side=11)
        assert resampled(kernel, (0.1, 0.1), (0.1005, 0.0995)) is kernel

    @pytest.mark.parametrize(
        ("kernel", "own", "text"),
        [
            (np.ones((3, 3, 3)), (1, 1), "two axes"),
            (-np.ones((3, 3)), (1, 1), "none negative"),
            (np.ones((3, 3)), (0, 1), "sizes above 0"),
            (np.ones((31, 31)), (50, 50), "check the pixel sizes"),
        ],
    )
    def test_what_cannot_be_resampled_is_told(self, kernel, own, text):
        with pytest.raises(InvalidInput, match=text):
            resampled(kernel, own, (1.0, 1.1))


class TestMatching:
    def test_units_are_converted(self):
        kernel = gaussian(4, side=41)
        made, note = matched(kernel, PixelSize(50, 50, "nm"), PixelSize(0.1, 0.1, "um"))
        assert made.shape == (21, 21)
        assert "from 41 x 41 px of 50 nm to 21 x 21 px of 0.1 um" in note

    def test_a_size_that_is_not_known_is_taken_for_granted_and_told(self):
        kernel = gaussian(2, side=11)
        made, note = matched(kernel, PixelSize(), PixelSize(0.1, 0.1, "um"))
        assert made is kernel
        assert "pixel size of the kernel is not known" in note

    @pytest.mark.parametrize("size", [PixelSize(), PixelSize(0.1, 0.1, "um")])
    def test_equal_sizes_need_no_word(self, size):
        kernel = gaussian(2, side=11)
        assert matched(kernel, size, size) == (kernel, "")

    def test_the_sign_of_a_flipped_axis_does_not_matter(self):
        kernel = gaussian(2, side=11)
        assert matched(kernel, PixelSize(-0.1, 0.1, "um"), PixelSize(0.1, 0.1, "micrometer"))[0] is kernel

    @pytest.mark.parametrize("unit", ["second", "pixel", "furlongs per bee"])
    def test_units_that_cannot_be_converted_are_told(self, unit):
        with pytest.raises(InvalidInput, match="cannot be converted into the other"):
            matched(gaussian(2, side=11), PixelSize(2, 2, unit), PixelSize(0.1, 0.1, "um"))
