"""Kernel modes of stacks: which slices are fitted, and where the others have their kernel from."""

from __future__ import annotations

import numpy as np
import pytest

from napari_vdip import Options, deblur, modes, pace
from napari_vdip.errors import InvalidOption
from napari_vdip.layout import describe, layout_of, with_mode
from napari_vdip.stack import fit

QUICK = {
    "kernel_size": 5,
    "preset": "fast",
    "iterations": 8,
    "threads": 1,
    "kernel_draws": 1,
    "compile": "off",
}

# What is tested here does not depend on how good a fit is.
pytestmark = pytest.mark.usefixtures("small_fits")


@pytest.fixture(scope="module")
def stack() -> np.ndarray:
    """Make four slices of 40 x 48 px, of which the third has most contrast over the same noise."""
    y, x = np.mgrid[:40, :48]
    picture = 60 * np.sin(y / 3) * np.cos(x / 4) + 40 * ((x // 9 + y // 7) % 2)
    noise = np.random.default_rng(0).normal(0, 1, (4, 40, 48))
    return 100 + np.array([0.5, 0.7, 1.0, 0.6])[:, None, None] * picture + noise


def test_edges_above_the_noise_tell():
    rng = np.random.default_rng(0)
    keep = np.ones((64, 64), dtype=bool)
    noise = rng.normal(0, 1, (64, 64))
    step = 10.0 * (np.arange(64) > 32)
    told = modes.telling(noise + step, keep)
    assert told > modes.telling(noise + 0.3 * step, keep) > modes.telling(noise, keep)
    assert told == pytest.approx(modes.telling(7 * (noise + step) + 1000, keep), rel=1e-3)
    assert modes.telling(np.ones((64, 64)), keep) == 0.0
    assert modes.telling(noise, ~keep) == 0.0


def test_one_kernel_for_all_slices(stack):
    result = deblur(stack, kernel_mode="shared", **QUICK)
    assert result.report["kernel_from"] == [2]
    for kernel in result.kernel:
        np.testing.assert_allclose(kernel, result.kernel[2], atol=1e-6)
    alone = deblur(stack, **QUICK)
    np.testing.assert_array_equal(result.image[2], alone.image[2])
    steps = [part["steps"] for part in result.report["slices"]]
    assert steps == [8, 8, 10, 8]  # the others have no fit of the networks
    assert np.isfinite(result.image).all()
    assert (result.uncertainty > 0).all()


def test_a_kernel_that_drifts(stack):
    result = deblur(stack, kernel_mode="warm", **QUICK | {"iterations": 20})
    assert result.report["kernel_from"] == [2]
    moved = np.abs(np.diff(result.kernel, axis=0)).sum((1, 2))
    assert (moved > 0).all()
    np.testing.assert_allclose(result.kernel.sum((1, 2)), 1.0, rtol=1e-5)


def test_a_kernel_of_a_family_stays_one_while_it_drifts(stack):
    result = deblur(stack[:3], kernel_mode="warm", kernel_family="gaussian", **QUICK)
    assert result.report["kernel_from"] == [2]
    for kernel in result.kernel:
        np.testing.assert_allclose(kernel, kernel[::-1, ::-1], atol=1e-6)


@pytest.mark.parametrize("mode", ["shared", "warm"])
def test_same_seed_same_stack(stack, mode):
    one, two = (deblur(stack, kernel_mode=mode, **QUICK) for _ in range(2))
    np.testing.assert_array_equal(one.image, two.image)


def test_progress_of_a_shared_kernel(stack):
    steps, seen = [], []
    for progress in fit(stack, Options.from_keywords(kernel_mode="shared", **QUICK)):
        steps.append(progress.step)
        seen.append(progress.slice_index)
        assert progress.seconds_left >= 0
        assert progress.result.report["partial"] == (progress.step < progress.steps)
    assert steps == sorted(steps)
    assert steps[-1] == progress.steps == 10 + 1 + 3 * 8
    assert list(dict.fromkeys(seen)) == [2, 0, 1, 3]


def test_channels_do_not_share_a_kernel(stack):
    result = deblur(stack.reshape(2, 2, 40, 48), kernel_mode="shared", channel_axis=0, **QUICK)
    assert result.report["kernel_from"] == [1, 2]
    np.testing.assert_allclose(result.kernel[0, 0], result.kernel[0, 1], atol=1e-6)
    assert np.abs(result.kernel[0, 0] - result.kernel[1, 0]).sum() > 1e-3


@pytest.mark.parametrize("mode", ["shared", "warm"])
def test_a_constant_slice_stops_nobody(stack, mode):
    spoiled = stack.copy()
    spoiled[1] = 7.0
    result = deblur(spoiled, kernel_mode=mode, **QUICK)
    assert (result.image[1] == 7.0).all()
    assert (result.uncertainty[[0, 2, 3]] > 0).all()
    assert any(text.startswith("slice 1: left as it was") for text in result.report["warnings"])


def test_a_measured_kernel_needs_no_fit(stack):
    kernel = np.outer([1, 2, 1], [1, 2, 1])
    result = deblur(stack, kernel=kernel, kernel_mode="shared", preset="fast", iterations=8, threads=1)
    assert result.report["steps"] == 4 * 8
    np.testing.assert_allclose(result.kernel, np.broadcast_to(kernel / 16, (4, 3, 3)), atol=1e-6)


def test_modes_need_a_polish(stack):
    with pytest.raises(InvalidOption, match="kernel_mode='warm' needs"):
        deblur(stack, kernel_mode="warm", method="dip", preset="fast")


def test_order_of_a_shared_kernel():
    scores = [0.1 * (n % 7) for n in range(40)]
    visits = modes.shared(range(40), scores)
    fits = [visit.number for visit in visits if not visit.sources]
    assert fits == [6, 13, 20]
    assert [visit.number for visit in visits[3:]] == list(range(40))
    assert {visit.sources for visit in visits[3:]} == {(6, 13, 20)}


def test_order_of_a_drifting_kernel():
    scores = [0.0] * 12
    scores[5] = 1.0
    visits = modes.warm(range(12), scores, (3, 4))
    before = set()
    for visit in visits:
        assert set(visit.sources) <= before
        before.add(visit.number)
    assert visits[0].number == 5
    assert before == set(range(12))
    assert {visit.number: visit.sources for visit in visits}[7] == (6,)


def test_groups_are_channels():
    assert modes.groups(layout_of((2, 3, 40, 48), False, 0), 0) == [[0, 1, 2], [3, 4, 5]]
    assert modes.groups(layout_of((2, 3, 40, 48), False, None), None) == [[0, 1, 2, 3, 4, 5]]


def test_kernels_are_laid_over_one_another_and_a_stranger_is_left_out():
    y, x = np.mgrid[-7:8, -7:8]

    def spot(down, right, wide=4.0):
        kernel = np.exp(-((y - down) ** 2 / 4 + (x - right) ** 2 / wide))
        return kernel / kernel.sum()

    stranger = np.zeros((15, 15))
    stranger[0, 0] = stranger[14, 14] = 0.5
    mean = modes.mean_kernel([spot(0, 0), spot(0.4, -0.3), spot(-0.5, 0.2), stranger])
    assert mean.sum() == pytest.approx(1.0, abs=1e-5)
    assert mean[0, 0] < 0.01
    width = (mean * (y - (mean * y).sum()) ** 2).sum()
    assert width == pytest.approx(2.0, rel=0.1)  # not widened by the shifts


def test_the_estimate_before_run_knows_the_modes():
    def seconds(mode):
        options = Options(kernel_mode=mode, preset="fast", threads=1)
        return pace.estimate((40, 96, 96), options, "cpu", {})

    assert seconds("shared") < seconds("each") / 5
    assert seconds("warm") < seconds("each") / 5


def test_the_words_before_run_tell_the_mode():
    words = describe((12, 96, 96))
    assert with_mode(words, "each") == "12 slices of 96 x 96 px, each on its own."
    assert with_mode(words, "shared") == "12 slices of 96 x 96 px, with one kernel for all slices."
    assert "drift" in with_mode(words, "warm")
    assert with_mode("One image of 96 x 96 px.", "shared") == "One image of 96 x 96 px."
