"""Several fits of one image: their common shift is taken out, and a failed one has no vote."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, shift

from napari_vdip import deblur
from napari_vdip.options import PRESETS
from napari_vdip.starts import Course, Starts, combined, seed_of


def course(image, kernel, objective=-5.0):
    log = np.array([[0.0, 0, 0], [objective, 0, 0]], dtype=np.float32)
    std = np.full_like(image, 0.05, dtype=np.float32)
    return Course(image.astype(np.float32), std, kernel.astype(np.float32), log, objective)


@pytest.fixture
def truth():
    rng = np.random.default_rng(0)
    kernel = np.zeros((11, 11))
    kernel[5, 4:7] = 1 / 3
    return gaussian_filter(rng.random((1, 60, 64)), (0, 2, 2)), gaussian_filter(kernel, 1.0)


def moved(truth, down, right):
    image, kernel = truth
    return shift(image, (0, down, right), order=3, mode="nearest"), shift(kernel, (-down, -right), order=3)


def test_fits_are_moved_onto_the_best_one(truth):
    found = [
        course(*moved(truth, 1.5, -0.75), -4.9),
        course(*truth, -5.0),
        course(*moved(truth, -1, 2), -4.8),
    ]
    mean, _, kernel = combined(found)
    inner = (slice(None), slice(5, -5), slice(5, -5))
    # The registration has steps of 0.05 px.
    assert (mean - truth[0])[inner].std() < 0.05 * truth[0].std()
    assert np.abs(kernel - truth[1]).sum() < 0.05
    assert kernel.min() >= 0
    assert kernel.sum() == pytest.approx(1, abs=1e-5)


def test_the_mean_has_less_error_than_each_fit(truth):
    rng = np.random.default_rng(1)
    image, kernel = truth
    noisy = [course(image + 0.02 * rng.standard_normal(image.shape), kernel) for _ in range(4)]
    mean, std, _ = combined(noisy)
    assert (mean - image).std() < 0.6 * min((fit.mean - image).std() for fit in noisy)
    # 0.05 of each, of which three quarters of the 0.02 that they do not share are averaged away.
    assert np.sqrt((std**2).mean()) == pytest.approx(np.sqrt(0.05**2 - 0.75 * 0.02**2), rel=0.03)


def test_uncertainty_is_large_where_fits_differ_and_some_is_left_however_much():
    image, kernel = gaussian_filter(np.random.default_rng(0).random((1, 200, 200)), (0, 2, 2)), np.eye(3) / 3
    differ = np.zeros(image.shape, dtype=bool)
    differ[:, 20:40, 20:40] = True
    for change in (0.02, 0.5):
        others = [course(image + sign * np.where(differ, change, 0.0), kernel) for sign in (1, -1, 0)]
        _, std, _ = combined(others)
        assert std[differ].min() > std[~differ].max()
        assert np.median(std) == pytest.approx(0.05, rel=0.02)  # most pixels are the same in all fits
    _, std, _ = combined([course(image + sign * 0.5, kernel) for sign in (1, -1, 0)])
    assert np.sqrt((std**2).mean()) == pytest.approx(0.025, rel=0.05)


def test_a_fit_in_a_wrong_minimum_takes_no_part(truth):
    image, kernel = truth
    mean, std, together = combined([course(image, kernel, -5.0), course(1 - image, kernel.T, -4.0)])
    np.testing.assert_allclose(std, 0.05, rtol=1e-5)
    np.testing.assert_allclose(mean, image, atol=1e-4)
    np.testing.assert_allclose(together, kernel / kernel.sum(), atol=1e-4)


def test_a_fit_whose_kernel_leaves_its_window_takes_no_part(truth):
    """Of fits of few steps on noise the kernel was moved out whole, and divided by nothing."""
    image, kernel = truth
    far = np.roll(image, 40, axis=2)  # where a window of this size cannot follow
    mean, _, together = combined([course(image, kernel, -5.0), course(far, kernel, -4.9)])
    np.testing.assert_allclose(together, kernel / kernel.sum(), atol=1e-4)
    np.testing.assert_allclose(mean, image, atol=1e-4)


def test_seeds_differ_and_the_first_is_the_images_own():
    seeds = [seed_of(7, number) for number in range(50)]
    assert seeds[0] == 7
    assert len(set(seeds)) == 50
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_best_goes_through_all_starts():
    image = gaussian_filter(np.random.default_rng(0).random((48, 56)), 1.5)
    result = deblur(image, kernel_size=5, preset="best", iterations=8, threads=1)
    starts, fit, polish = PRESETS["best"].starts, 8 + 6, 2
    assert result.report["steps"] == starts * (fit + polish) == len(result.history.objective)
    ends = result.history.objective[fit - 1 :: fit + polish]
    assert len(set(ends.tolist())) == starts  # each from random numbers of its own
    assert result.report["stop_reason"] == "finished"
    assert np.isfinite(result.image).all()


class Loop:
    """A program that only counts."""

    def __init__(self):
        image = torch.rand(1, 12, 12, generator=torch.Generator().manual_seed(0))
        self.program = SimpleNamespace(
            steps=12, fitted=10, done=0, mean=image, std=image, log=torch.zeros(12, 3)
        )
        self.program.kernel = torch.full((3, 3), 1 / 9)

    def run(self, n):
        self.program.done = min(self.program.done + n, self.program.steps)


def test_what_is_wrong_with_a_fit_is_read_off_the_last_fit_without_its_polish():
    """The polish trades misfit for fewer artefacts: that is no fit gone astray."""
    loop, seeds = Loop(), []

    def begin(program, seed):
        seeds.append(seed)
        program.done = 0

    fits = Starts([loop], begin, 0, 3)
    found = []
    while fits.done < fits.steps:
        fits.run(7)
        found.append((fits.done, fits.last_fit))
    assert found == [
        (7, slice(0, 7)),
        (12, slice(12, 12)),
        (19, slice(12, 19)),
        (24, slice(24, 24)),
        (31, slice(24, 31)),
        (36, slice(24, 34)),
    ]
    assert len(set(seeds)) == 3


def test_it_says_which_start_is_at_work_and_whether_it_is_shown():
    loop = Loop()

    def begin(program, seed):
        program.done = 0

    fits = Starts([loop], begin, 0, 2)
    told = []
    while fits.done < fits.steps:
        told.append((fits.words(), fits.held))
        fits.run(5)
    told.append((fits.words(), fits.held))
    first, second = (", start 1 of 2", False), (", start 2 of 2", True)
    assert told == [first, first, first, second, second, second, (", start 2 of 2", False)]
    alone = Starts([loop], begin, 0, 1)
    assert (alone.words(), alone.held) == ("", False)


def test_starts_made_at_once_count_as_those_in_turn():
    loops, seeds = [Loop(), Loop()], []

    def begin(program, seed):
        seeds.append(seed)
        program.done = 0

    fits = Starts(loops, begin, 7, 3)
    told = []
    while fits.done < fits.steps:
        told.append((fits.done, fits.words(), len(fits.log())))
        assert len(fits.turns()) == fits.done
        fits.run(10)
    two, third = ", 2 starts at once", ", start 3 of 3"
    assert told == [(0, two, 0), (10, two, 10), (20, two, 20), (24, third, 24), (34, third, 34)]
    assert seeds == [seed_of(7, number) for number in range(3)]
    # Two programs went side by side through 12 steps, the third followed.
    both = np.arange(2, 25, 2)
    np.testing.assert_array_equal(fits.turns(), np.concatenate([both, both, np.arange(25, 37)]))
