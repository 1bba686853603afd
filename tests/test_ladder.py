"""A large kernel from nothing: sizes, beginnings, what tells of a kernel, and what the climbs find."""

from __future__ import annotations

import dataclasses
import itertools
import math

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.signal import fftconvolve
from skimage import data

from large import bow, discs, ended, hook, leaves, settings_of
from napari_vdip import Options, arrays, coarse, ladder, pace, smaller, solve
from napari_vdip.metrics import closeness, kernel_similarity

BRIDGE = ("blurred_y/manmade_03_kernel_02.png", "kernels/kernel_02.png")


@pytest.fixture
def short(monkeypatch):
    """Climbs of a few steps, and a fit of no more."""
    monkeypatch.setattr(pace, "_FIRST_RUNG_STEPS", 6)
    monkeypatch.setattr(pace, "_RUNG_STEPS", 4)
    monkeypatch.setattr(pace, "climbs_first", lambda options: True)


class TestSizes:
    @pytest.mark.parametrize("size", [(29, 29), (51, 31), (75, 75), (99, 5)])
    def test_each_is_a_little_larger_than_the_one_before(self, size):
        rungs = pace.rungs(size, (900, 1000))
        assert [rung.factor for rung in rungs[-3:]] == [0.5, 0.75, 1.0]
        assert 13 <= max(rungs[0].kernel_size) <= 19
        for rung in rungs:
            assert rung.shape == (round(900 * rung.factor), round(1000 * rung.factor))
            for small, whole in zip(rung.kernel_size, size, strict=True):
                assert small % 2 == 1
                assert small >= whole * rung.factor
        ratios = [after.factor / before.factor for before, after in itertools.pairwise(rungs)]
        assert all(1.2 < ratio < 1.51 for ratio in ratios)

    def test_a_small_image_is_not_made_smaller_than_half_of_the_least(self):
        for shape in ((96, 500), (150, 150), (300, 200)):
            assert all(min(rung.shape) >= 47 for rung in pace.rungs((75, 75), shape))

    def test_the_smaller_the_more_of_them(self):
        counts = [pace.rungs((size, size), (1000, 1000))[0].climbs[0] for size in (29, 41, 51, 75)]
        assert counts == sorted(counts)
        assert counts[0] == 23
        assert counts[-1] == 144

    def test_fewer_and_fewer_of_them_go_on(self):
        first, *others = pace.rungs((75, 75), (1000, 1000))
        assert (first.steps, first.climbs[0], first.climbs[-1]) == (50, 144, 48)
        assert list(first.climbs) == sorted(first.climbs, reverse=True)
        assert first.work_of(35) == pytest.approx(first.work * 35 * 144 / sum(first.climbs))
        assert [set(rung.climbs) for rung in others] == [{16}, {10}, {6}, {6}, {2}, {1}]

    def test_a_smaller_kernel_has_one_size_and_few_climbs(self):
        for size in (9, 19, 27):
            (rung,) = pace.rungs((size, size), (255, 200))
            assert rung.shape == (153, 120)
            assert 0.6 * size <= max(rung.kernel_size) <= 0.6 * size + 2
            assert rung.climbs[0] == 14
            assert rung.work < 60
        assert pace.has_ladder((9, 5), (96, 96))
        assert not pace.has_ladder((7, 7), (96, 96))
        assert not pace.has_ladder((9, 9), (95, 200))

    @pytest.mark.parametrize("size", [19, 29])
    def test_its_time_is_in_the_estimate(self, size):
        once = pace.estimate((256, 256), Options(kernel_size=7), "cpu", {})
        more = pace.estimate((256, 256), Options(kernel_size=size), "cpu", {})
        work = sum(rung.work for rung in pace.rungs((size, size), (256, 256)))
        steps = pace._weighed(Options(kernel_size=size)) + 5 * pace.draws_of(Options())
        assert more / once == pytest.approx(1 + work / steps)


class TestBeginnings:
    @pytest.mark.parametrize("size", [(15, 15), (9, 21)])
    def test_each_is_a_kernel_of_its_own(self, size):
        kernels = ladder.beginnings(size, 30, 0)
        assert len(kernels) == 30
        for number, kernel in enumerate(kernels):
            assert kernel.shape == size
            assert kernel.min() >= 0
            assert kernel.sum() == pytest.approx(1, abs=1e-5)
            assert all(kernel_similarity(kernel, other) < 0.99 for other in kernels[:number])

    def test_strokes_go_with_the_seed(self):
        one, again, other = (ladder.beginnings((15, 15), 16, seed) for seed in (0, 0, 1))
        assert all(np.array_equal(*pair) for pair in zip(one, again, strict=True))
        assert [np.array_equal(*pair) for pair in zip(one, other, strict=True)] == [True] * 14 + [False] * 2

    def test_a_blob_has_a_sixth_of_the_size_for_its_std(self):
        blob, rows = ladder.beginnings((15, 15), 14, 0)[0], np.arange(15) - 7
        assert math.sqrt(float(blob.sum(1) @ rows**2)) == pytest.approx(2.4, abs=0.15)

    def test_lines_reach_from_border_to_border(self):
        level, upright = (ladder.beginnings((9, 21), 14, 0)[number] > 1e-3 for number in (2, 6))
        assert np.ptp(np.nonzero(level)[1]) >= 18
        assert np.ptp(np.nonzero(upright)[0]) >= 6


class TestTelling:
    def test_bars_tell_less_than_discs(self):
        rng = np.random.default_rng(0)
        bars = np.broadcast_to(np.repeat(rng.random(50), 4), (120, 200))
        plane = np.concatenate([bars, leaves((120, 200), rng)])
        told = ladder.telling(arrays.frame(plane, None, False, False), (15, 15))
        assert told.shape == plane.shape
        assert np.median(told[10:100]) == pytest.approx(0.1, abs=0.01)
        assert np.median(told[140:230]) > 0.5
        assert told.max() <= 1.0

    def test_where_it_is_flat_nothing_is_told(self):
        plane = np.full((96, 96), 7.0)
        plane[0, 0] = 8.0
        told = ladder.telling(arrays.frame(plane, None, False, False), (15, 15))
        assert np.isfinite(told).all()
        assert told.min() >= 0.1 * (1 - 1e-6)


class TestSteepness:
    def test_goes_with_contrast_unless_that_is_one_of_large_even_parts(self):
        rng = np.random.default_rng(0)
        plane = gaussian_filter(rng.normal(0, 1, (150, 160)), 2.5)
        halves = np.where(np.arange(160) < 80, 0.0, 10.0) + plane  # much contrast, no more edges
        steep, even = (
            ladder.steepness(arrays.frame(image, None, False, False), ladder.LARGE)
            for image in (plane, gaussian_filter(halves, 2.0))
        )
        assert ladder.LARGE.scale < steep < 4.0  # dense edges
        assert 0.02 * steep < even < 0.3 * steep

    def test_is_the_same_in_other_units_and_with_a_part_masked(self):
        rng = np.random.default_rng(1)
        plane = np.where(np.arange(160) < 80, 0.0, 5.0) + gaussian_filter(leaves((150, 160), rng), 3.0)
        mask = np.zeros(plane.shape, dtype=bool)
        mask[:20, :30] = True
        one, other, masked = (
            ladder.steepness(arrays.frame(image, hidden, False, False), ladder.LARGE)
            for image, hidden in ((plane, None), (300.0 * plane - 7.0, None), (plane, mask))
        )
        assert other == pytest.approx(one, rel=1e-3)
        assert masked == pytest.approx(one, rel=0.1)


class TestGrey:
    def test_the_mean_of_colours_where_none_is_lost(self):
        rng = np.random.default_rng(1)
        rgb = rng.random((20, 30, 4))
        rgb[5, 6, 1] = np.nan
        frame = arrays.frame(rgb, None, True, False)
        grey = frame.grey()
        assert grey.y.shape == grey.weight.shape == (1, 20, 30)
        assert np.allclose(grey.y[0], frame.y.mean(0))
        assert np.argwhere(grey.weight == 0).tolist() == [[0, 5, 6]]
        assert grey.alpha is None

    def test_the_colour_of_most_pixels_where_another_has_lost_more_than_half(self):
        rgb = np.random.default_rng(1).random((20, 30, 3))
        rgb[:11, :, 0] = np.nan
        rgb[5, 6, 1] = np.nan
        frame = arrays.frame(rgb, None, True, False)
        grey = frame.grey()
        assert np.array_equal(grey.y[0], frame.y[2])
        assert grey.weight.all()

    def test_one_channel_is_grey(self):
        frame = arrays.frame(np.eye(20), None, False, False)
        assert frame.grey() is frame


class TestReducing:
    def test_place_noise_and_mask(self):
        rng = np.random.default_rng(1)
        ramp = np.add.outer(2.0 * np.arange(150), 3.0 * np.arange(200))
        mask = np.zeros((150, 200), dtype=bool)
        mask[30, 40] = True
        frame = arrays.frame(ramp + rng.normal(0, 1, ramp.shape), mask, False, False)
        small = coarse.reduced(frame, (60, 80))
        rows, columns = (2.5 * np.arange(size) + 0.75 for size in (60, 80))
        error = small.image(small.y) - np.add.outer(2 * rows, 3 * columns)
        assert abs(error.mean()) < 0.05
        assert small.noise_std == pytest.approx(0.4 * frame.noise_std)
        assert error[small.weight[0] > 0].std() == pytest.approx(0.45, abs=0.06)
        assert small.weight[0, 12, 16] == 0
        assert 1 <= np.count_nonzero(small.weight == 0) <= 4


class TestClimbs:
    @pytest.mark.usefixtures("small_fit", "short")
    def test_progress_runs_over_climbs_and_fit(self):
        _, image, _ = discs()
        rgb = np.stack([image, image, 0.5 * image, np.ones_like(image)], -1)
        setting = settings_of(29, iterations=6, rgb=True)
        seen = list(solve.solve(rgb, None, setting, 0))
        stages = [progress.stage for progress in seen]
        assert [stage for stage, _ in itertools.groupby(stages)][:4] == [
            "kernel, size 1 of 3",
            "kernel, size 2 of 3",
            "kernel, size 3 of 3",
            "pre-fit",
        ]
        done = [progress.step for progress in seen]
        assert done == sorted(done)
        assert {progress.steps for progress in seen} == {done[-1]}
        seconds = [progress.seconds for progress in seen]
        assert seconds == sorted(seconds)
        for progress in seen:
            result = progress.result
            red, green, blue = np.moveaxis(result.image[..., :3], -1, 0)
            if progress.stage.startswith("kernel, size"):  # in grey, shown in its colours
                assert np.allclose(red, green, atol=1e-3)
                assert np.corrcoef((red - blue).ravel(), image.ravel())[0, 1] > 0.99
            assert result.image.shape == rgb.shape
            assert np.isfinite(result.image).all()
            assert np.isfinite(result.history.objective).all()
            assert (result.uncertainty[..., :3] > 0).all()
            assert result.kernel.shape == (29, 29)
            assert result.kernel.sum() == pytest.approx(1, abs=1e-4)
        first = seen[0].result
        assert first.report["partial"]
        assert "is looked for" in first.report["uncertainty"]
        assert first.report["steps"] == seen[0].step == 1
        assert len(first.history.steps) == 0  # it is at work on it

    @pytest.mark.usefixtures("short")
    def test_colours_are_looked_at_in_grey(self):
        grey = arrays.frame(discs()[1], None, False, False)
        shares = np.array([1.25, 1.0, 0.75], dtype=np.float32)[:, None, None]
        colours = dataclasses.replace(grey, y=shares * grey.y, weight=np.repeat(grey.weight, 3, 0))
        seen, told = (
            list(itertools.islice(ladder.climb(frame, (29, 29), torch.device("cpu"), 0), 9))
            for frame in (colours, grey)
        )
        assert seen[-1].image.shape == told[-1].image.shape
        assert seen[-1].energy == pytest.approx(told[-1].energy, rel=1e-3)
        assert kernel_similarity(seen[-1].kernel, told[-1].kernel) > 0.999
        assert ladder.gentlest(colours) == pytest.approx(ladder.gentlest(grey), rel=1e-3)

    @pytest.mark.usefixtures("short")
    def test_the_search_goes_on_as_the_ladder_did(self):
        _, image, kernel = discs()
        frame, setting = arrays.frame(image, None, False, False), settings_of(29)
        fits = solve._started(frame, solve._gone_on_from(kernel, setting), 0)
        assert np.allclose(fits.program.kernel, kernel, atol=1e-3)
        told = fits.program.search
        assert np.array_equal(told.telling, ladder.telling(frame, (29, 29)))
        assert np.array_equal(told.beginning, kernel)
        assert float(told.doubt) == pytest.approx(ladder.LARGE.further[-1][0])
        assert float(told.gentlest) == pytest.approx(0.7 * ladder.steepness(frame, ladder.LARGE))
        assert float(told.steepest) == ladder.STEEPEST
        apart = solve._started(frame, setting, 0).program.search
        assert apart.glass.max() < told.glass.max()
        assert float(apart.telling.min()) == 1.0
        assert float(apart.beginning.sum()) == 0.0
        assert math.isinf(float(apart.doubt))
        assert float(apart.gentlest) == 0.0

    @pytest.mark.usefixtures("small_fit", "short")
    def test_its_image_is_shown_while_the_networks_begin(self):
        _, image, _ = discs()
        seen = list(solve.solve(image, None, settings_of(29, iterations=12), 0))
        climbed = [at for at in seen if at.stage.startswith("kernel, size")][-1].result
        begun = [at for at in seen if at.stage == "pre-fit"]
        assert begun
        for at in begun:
            assert np.array_equal(at.result.image, climbed.image)
            assert np.array_equal(at.result.uncertainty, climbed.uncertainty)
            assert at.result.report["uncertainty"] == climbed.report["uncertainty"]
            assert at.result.report["steps"] == len(at.result.history.steps) < at.step
        ended_at = seen[-1].result
        assert not np.array_equal(ended_at.image, climbed.image)
        assert "is looked for" not in ended_at.report["uncertainty"]

    def test_after_a_small_kernel_only_a_beginning_is_told(self):
        _, image, kernel = discs()
        small = coarse.enlarged_kernel(kernel, (19, 19), 0.6)
        frame, setting = arrays.frame(image, None, False, False), settings_of(19)
        program = solve._started(frame, solve._gone_on_from(small, setting), 0).program
        usual = solve._started(frame, setting, 0).program
        assert np.array_equal(program.search.beginning, small)
        assert torch.equal(program.kernel, usual.kernel)
        for name in ("telling", "gentlest", "steepest", "glass", "doubt"):
            assert torch.equal(getattr(program.search, name), getattr(usual.search, name))

    @pytest.mark.usefixtures("small_fit", "short")
    def test_it_may_be_left_within_a_step(self, monkeypatch):
        monkeypatch.setattr(smaller, "SHOWN_EVERY", 0.0)
        _, image, _ = discs()
        steps = solve.solve(image, None, settings_of(29, iterations=6), 0)
        begun = list(itertools.takewhile(lambda progress: progress.step < 3, steps))
        told = [progress.step for progress in begun]
        assert told[0] == 1
        # Groups of climbs; in the first step those whose images begin too, and the last one ends the step.
        assert told.count(1) + 1 == 2 * told.count(2) > 2
        for progress in begun:
            assert progress.stage == "kernel, size 1 of 3"
            assert progress.result.report["partial"]
            assert len(progress.result.history.steps) == progress.step - 1  # those that are done
        left = [progress.seconds_left for progress in begun]
        assert np.isnan(left[0])  # what is done for the first time tells nothing
        assert min(left[1:]) > 0

    @pytest.mark.usefixtures("small_fit", "short")
    def test_left_and_gone_on_with_it_is_the_same(self):
        _, image, _ = discs()
        ends = []
        for stops in (0, 1):
            steps = ladder.climb(arrays.frame(image, None, False, False), (29, 29), torch.device("cpu"), 0)
            for _ in range(stops):
                next(steps)
            ends.append(ended(steps))
        assert np.array_equal(*ends)

    def test_only_the_likeliest_go_on(self):
        _, image, _ = discs()
        kernels = ladder.beginnings((11, 11), 14, 0)
        small = coarse.reduced(arrays.frame(image, None, False, False), (48, 48))
        rung = ladder._Rung(small, kernels, ladder.SMALL, 0.1, torch.device("cpu"))
        list(rung.step(0.1))
        before = [(rung.energy(climb), rung.kernel(climb)) for climb in range(14)]
        before.sort(key=lambda one: one[0])
        assert list(rung.keep(4)) == []
        after = [(rung.energy(climb), rung.kernel(climb)) for climb in range(4)]
        assert [energy for energy, _ in after] == [energy for energy, _ in before[:4]]
        assert all(np.array_equal(one[1], other[1]) for one, other in zip(before, after, strict=False))
        list(rung.step(0.1))
        assert all(rung.energy(climb) <= after[climb][0] for climb in range(4))

    @pytest.mark.parametrize(("judged", "width"), [(1.0, 0.5), (3.0, 1.0)])
    def test_they_are_compared_with_a_scale_of_their_own(self, judged, width):
        """What is left of the blur seems sharp with a small scale, and no blur the likelier."""
        widths = (0.5, 0.7, 0.85, 1.0)
        kernels = [bow(size) for size in widths]
        sharp = data.chelsea().mean(-1)[60:240, 120:320]
        image = fftconvolve(sharp, kernels[-1], "valid")
        frame = arrays.frame(image + np.random.default_rng(0).normal(0, 1, image.shape), None, False, False)
        terms = dataclasses.replace(ladder.LARGE, scale=0.5, within=(0.0, math.inf), judged=judged)
        rung = ladder._Rung(frame, kernels, terms, 0.035, torch.device("cpu"))
        (end,) = rung.ends(1)
        assert kernel_similarity(end, bow(width)) > 0.97
        if judged > 1.0:
            assert list(rung.keep(1)) == [0.0]
            list(rung.step(0.035))
            assert kernel_similarity(rung.kernel(0), bow(width)) > 0.95

    def test_those_of_one_group_climb_as_on_their_own(self, monkeypatch):
        _, image, _ = discs()
        small = coarse.reduced(arrays.frame(image, None, False, False), (48, 48))
        ends = []
        for group in (2, 5):
            monkeypatch.setattr(ladder, "_GROUP", group)
            rung = ladder._Rung(
                small, ladder.beginnings((11, 11), 14, 0)[:5], ladder.LARGE, 0.1, torch.device("cpu")
            )
            shares = [list(rung.step(0.1)) for _ in range(2)]
            ends.append(np.stack([rung.kernel(climb) for climb in range(5)]))
            groups = math.ceil(5 / group)
            for parts, share in zip((2 * groups, groups), shares, strict=True):  # the images first
                assert share == pytest.approx(np.arange(1, parts + 1) / parts)
        assert np.abs(ends[0] - ends[1]).max() < 1e-4

    @pytest.mark.usefixtures("short")
    def test_masked_pixels_are_not_looked_at(self):
        _, image, _ = discs()
        mask = np.zeros(image.shape, dtype=bool)
        mask[40:46, 50:60] = True
        spoilt = image.copy()
        spoilt[mask] = np.nan
        frame = arrays.frame(spoilt, mask, False, False)
        seen = [at.kernel for at in ladder.climb(frame, (29, 29), torch.device("cpu"), 0)]
        assert all(np.isfinite(kernel).all() for kernel in seen)

    @pytest.mark.slow
    def test_a_large_kernel_is_found_without_any_network(self):
        _, image, kernel = discs()
        frame = arrays.frame(image, None, False, False)
        found = ended(ladder.climb(frame, (29, 29), torch.device("cpu"), 0))
        assert found.shape == (29, 29)
        assert found.sum() == pytest.approx(1, abs=1e-4)
        assert kernel_similarity(found, kernel) > 0.85

    @pytest.mark.slow
    def test_from_there_a_fit_finds_image_and_kernel(self):
        sharp, image, kernel = discs()
        found = ended(solve.solve(image, None, settings_of(29), 0))
        assert kernel_similarity(found.kernel, kernel) > 0.85
        assert closeness(found.image, sharp, 1.0).psnr > closeness(image, sharp, 1.0).psnr + 1

    @pytest.mark.slow
    def test_a_photograph_of_large_even_parts_is_not_taken_for_too_much_blurred(self):
        """A dark coat before a bright sky: contrast without edges had made the prior ask for steeper ones."""
        kernel, rng = hook(31), np.random.default_rng(0)
        sharp = data.camera()[:330, 120:450].astype(float)
        blurred = fftconvolve(sharp, kernel, mode="valid") + rng.normal(0, 1.5, (300, 300))
        frame = arrays.frame(blurred, None, False, False)
        found = ended(ladder.climb(frame, kernel.shape, torch.device("cpu"), 0))
        assert kernel_similarity(found, kernel) > 0.85

    @pytest.mark.slow
    def test_a_wall_of_bars_does_not_mislead_it(self, data_folder, monkeypatch):
        """The bridge of Lai et al.: every climb had ended in an upright line, no blur across the bars."""
        monkeypatch.setattr(pace, "_MOST_CLIMBS", 14)
        read = (iio.imread(data_folder / "lai_dev" / name).astype(np.float32) for name in BRIDGE)
        image, colours = read
        kernel = colours.mean(-1)
        frame = arrays.frame(image, None, False, False)
        found = ended(ladder.climb(frame, kernel.shape, torch.device("cpu"), 0))
        true = kernel[::-1, ::-1] / kernel.sum()
        assert kernel_similarity(found, true) > 0.7
        upright = np.zeros_like(found)
        upright[:, 25] = 1 / 51
        assert kernel_similarity(found, true) > kernel_similarity(found, upright) + 0.1
