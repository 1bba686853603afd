"""One image: kernel centring, warnings, torch's errors, the plan of the presets."""

from __future__ import annotations

import dataclasses
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from napari_vdip import pace, placement, solve
from napari_vdip.errors import InvalidInput, InvalidOption, OutOfMemory, VdipError
from napari_vdip.options import KINDS, PRESETS, Options
from napari_vdip.placement import way_of
from napari_vdip.plan import Setting, plan_of
from napari_vdip.psf import centred


def setting(**keywords) -> Setting:
    return Setting(Options.from_keywords(**keywords), torch.device("cpu"), "off", (17, 17), "given", None)


def spot(row: int, column: int) -> np.ndarray:
    kernel = np.zeros((9, 11), dtype=np.float32)
    kernel[row - 1 : row + 2, column - 1 : column + 2] = 1 / 9
    return kernel


@pytest.mark.parametrize(("row", "column"), [(4, 5), (2, 5), (6, 8), (3, 2)])
def test_a_kernel_is_centred_and_its_shift_told(row, column):
    found = centred(spot(row, column))
    np.testing.assert_allclose(found.kernel, spot(4, 5), atol=1e-6)
    assert (found.down, found.right, found.lost) == (row - 4, column - 5, 0.0)


def test_the_image_moves_against_the_kernel(monkeypatch):
    """A held kernel that is off centre by (2, 1) px must not move the scene."""
    from napari_vdip import deblur
    from napari_vdip.samples import load

    scene = load("photograph").sharp[40:100, 90:150]
    kernel = np.zeros((7, 7))
    kernel[5, 4] = 1.0

    moved = deblur(scene, kernel=kernel, preset="fast", iterations=150, threads=1)
    assert moved.kernel[3, 3] == pytest.approx(1.0)
    inner = (slice(5, -5), slice(5, -5))
    here = np.corrcoef(moved.image[inner].ravel(), scene[inner].ravel())[0, 1]
    assert here > 0.98


@pytest.mark.parametrize(
    ("units", "short"),
    [
        ({"avx512_bf16": True, "avx512_fp16": True, "amx_bf16": True}, True),
        ({"avx512_bf16": True, "avx512_fp16": False, "amx_bf16": False}, True),
        ({"avx512_bf16": True, "avx512_fp16": True, "amx_bf16": False}, False),
        ({"avx512_bf16": False}, False),
        ({"architecture": "arm"}, False),
    ],
    ids=["Intel", "AMD", "Intel without tiles", "older", "ARM"],
)
def test_numbers_are_short_where_the_processor_is_faster_with_them(monkeypatch, units, short):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: units, raising=False)
    assert plan_of(setting(), 1, 64, 64).bfloat16 == short
    assert plan_of(setting(precision="bfloat16"), 1, 64, 64).bfloat16
    assert not plan_of(setting(precision="float32"), 1, 64, 64).bfloat16
    assert not plan_of(setting(preset="paper"), 1, 64, 64).bfloat16


def test_the_report_tells_the_precision():
    from napari_vdip import deblur

    image = np.random.default_rng(0).random((40, 44), dtype=np.float32)
    short = {"kernel_size": 5, "preset": "fast", "iterations": 4, "threads": 1, "compile": "off"}
    found = {p: deblur(image, precision=p, **short) for p in ("float32", "bfloat16")}
    assert {p: one.report["precision"] for p, one in found.items()} == {p: p for p in found}
    assert not np.array_equal(found["float32"].image, found["bfloat16"].image)


def test_paper_has_the_published_constants():
    plan = plan_of(setting(preset="paper"), 3, 255, 255)
    assert (plan.prefit, plan.bound, plan.ssim, plan.profile) == (500, 2000, 3000, 0)
    assert (plan.channels, plan.skip_channels, plan.levels, plan.nonlocal_from) == (128, 16, 5, 3)
    assert (plan.image_rate, plan.kernel_rate, plan.cosine) == (1e-2, 1e-4, False)
    assert (plan.prior, plan.bound_weight, plan.centre_weight) == ("sparse", 0.1, 0.0)
    extreme = plan_of(setting(preset="paper", method="extreme"), 1, 255, 255)
    assert (extreme.prefit, extreme.bound_weight) == (5, 1e-4)


def test_iterations_scale_the_schedule():
    plan = plan_of(setting(preset="paper", iterations=50), 1, 64, 64)
    assert (plan.prefit, plan.bound, plan.ssim) == (50, 20, 30)
    short = plan_of(setting(preset="fast", iterations=8), 1, 64, 64)
    assert (short.prefit, short.profile, short.polish) == (8, 6, 2)


def test_only_a_prior_can_polish():
    assert plan_of(setting(preset="fast"), 1, 64, 64).polish == PRESETS["fast"].polish_steps > 0
    for method in ("std", "dip"):
        plan = plan_of(setting(preset="fast", method=method), 1, 64, 64)
        assert (plan.profile, plan.polish) == (PRESETS["fast"].iterations, 0)


def test_a_colour_without_a_usable_pixel_is_refused():
    rgb = np.random.default_rng(0).random((30, 40, 3))
    rgb[..., 1] = np.nan
    with pytest.raises(InvalidInput, match=r"colour 2 of 3 has no usable pixel.*channel_axis"):
        next(solve.solve(rgb, None, setting(preset="fast", iterations=2, rgb=True), 0))


def drained(steps):
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def test_a_fit_that_is_left_goes_on_in_another_thread_as_if_it_never_was():
    scene, threads = np.random.default_rng(0).random((40, 44)), torch.get_num_threads()
    # Other kernels are tried in one go at the end, which may well take seconds.
    options = setting(preset="fast", iterations=20, threads=1, kernel_draws=0)
    whole = drained(solve.solve(scene, None, options, 3))
    steps = solve.solve(scene, None, options, 3)
    next(steps)
    assert next(steps).result.report["partial"]
    assert torch.get_num_threads() == threads  # the number belongs to all of the process
    time.sleep(2.0)
    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(drained, steps).result()
    for name in ("image", "uncertainty", "kernel"):
        np.testing.assert_array_equal(getattr(result, name), getattr(whole, name))
    np.testing.assert_array_equal(result.history.objective, whole.history.objective)
    assert not result.report["partial"]
    assert np.diff(result.history.seconds).max() < 2.0  # the time in which nothing was done is left out


def test_the_kernel_of_the_search_is_the_one_that_is_polished_with(monkeypatch):
    small = {"channels": 8, "skip_channels": 4, "levels": 3, "climb_steps": 5, "last_climb_steps": 4}
    monkeypatch.setitem(PRESETS, "fast", dataclasses.replace(PRESETS["fast"], **small))
    monkeypatch.setattr(solve, "SHOWN_EVERY", 0.0)  # each step is told
    scene = gaussian_filter(np.random.default_rng(0).random((40, 44)), 1.2)
    options = Setting(
        Options(preset="fast", iterations=20, threads=1, kernel_draws=0),
        torch.device("cpu"),
        "off",
        (7, 7),
        "",
        None,
    )
    stages, kernels = [], []
    for progress in solve.solve(scene, None, options, 0):
        stages.append(progress.stage)
        kernels.append(progress.result.kernel)
    names = list(dict.fromkeys(stages))
    assert [name for name in names if name in ("kernel", "polish")] == ["kernel", "polish"]
    assert progress.step == progress.steps == 20 + 20 + 9
    polished = [kernel for kernel, stage in zip(kernels, stages, strict=True) if stage == "polish"]
    assert len(polished) > 1
    assert all(np.array_equal(kernel, polished[0]) for kernel in polished)
    assert progress.result.kernel.sum() == pytest.approx(1.0, abs=1e-5)
    assert np.isfinite(progress.result.uncertainty).all()
    assert len(progress.result.history.misfit) == 49


def test_what_is_left_is_told_by_the_work_of_each_step_and_not_by_the_first_ones():
    small = SimpleNamespace(seconds_left=200.0)
    assert np.isnan(solve._seconds_left([(1.0, 8.0)], 101.0, None))  # a first step tells nothing
    assert solve._seconds_left([(1.0, 8.0)], 101.0, small) == pytest.approx(200.0 * 100 / 101)
    clock = [(1.0, 8.0), (3.0, 9.0), (21.0, 18.0)]
    assert solve._seconds_left(clock, 101.0, None) == 40.0
    assert solve._seconds_left(clock, 101.0, small) == pytest.approx(80.0 * (0.5 + 200.0 / 101) / 2)


def test_work_is_that_of_all_stages_and_starts(monkeypatch):
    monkeypatch.setattr(pace, "CLIMBS_COST", 3.0)
    monkeypatch.setattr(pace, "CLIMB_COST", 2.0)
    monkeypatch.setattr(pace, "POLISH_COST", 0.5)
    small = {"channels": 8, "skip_channels": 4, "levels": 3, "climb_steps": 5, "last_climb_steps": 4}
    monkeypatch.setitem(PRESETS, "best", dataclasses.replace(PRESETS["best"], **small, starts=2))
    scene = gaussian_filter(np.random.default_rng(0).random((40, 44)), 1.2)
    chosen = setting(preset="best", iterations=30, threads=1)
    fits = solve._started(solve.frame_of(scene, None, chosen.options), chosen, 0)
    program, polish = fits.program, fits.program.polish
    start = program.fitted + 3 * 5 + 2 * 4 + 0.5 * polish
    assert fits.work() == (0, 2 * start)
    for done, work in (
        (program.fitted, program.fitted),
        (program.fitted + 2, program.fitted + 3 * 2),
        (program.fitted + 6, program.fitted + 3 * 5 + 2),
        (program.steps - 2, start - 1),
    ):
        program.done = done
        assert fits.work() == (work, 2 * start)


def test_where_it_was_stopped_is_told_as_progress_told_it():
    image = gaussian_filter(np.random.default_rng(0).random((100, 104)), 1.2)
    chosen = dataclasses.replace(setting(preset="fast", threads=1), kernel_size=(9, 9))
    seen = []
    for progress in solve.solve(image, None, chosen, 0):
        seen.append(progress)
        if [at.stage for at in seen].count("pre-fit") == 3:
            break
    assert seen[0].stage == "kernel in a smaller image"
    for progress in seen:
        told = progress.result.report["stop_reason"]
        assert told == f"stopped at step {progress.step} of {progress.steps}"
    assert all(np.isfinite(progress.seconds_left) for progress in seen[1:])


def test_an_image_whose_kernel_is_the_likeliest_is_surer_of_itself_and_less_of_its_kernel():
    own, found = KINDS["photograph"].shares, KINDS["photograph"].shares_likeliest
    assert own[0] > found[0]
    assert own[1] > found[1]
    assert own[2] < found[2]
    free = setting(preset="fast")
    assert plan_of(free, 1, 64, 64).shares == found
    assert plan_of(setting(preset="fast", iterations=20), 1, 64, 64).shares == own  # no search
    psf = np.ones((3, 3), np.float32) / 9
    held = setting(preset="fast", kernel=psf, kernel_fixed=True)
    assert plan_of(dataclasses.replace(held, kernel=psf), 1, 64, 64).shares == own
    assert plan_of(dataclasses.replace(free, near=psf), 1, 64, 64).shares == own
    assert plan_of(setting(preset="fast", kind="astronomy"), 1, 64, 64).shares == KINDS["astronomy"].shares


def test_with_a_large_kernel_it_trusts_the_networks_more():
    """Where they differ from the polished image, both err: more of a large kernel stays in the image."""
    kind = KINDS["photograph"]
    assert kind.shares_large[1] > kind.shares_likeliest[1]
    large = dataclasses.replace(setting(preset="fast"), kernel_size=(31, 17))
    assert plan_of(large, 1, 128, 128).shares == kind.shares_large
    assert plan_of(large, 1, 64, 128).shares == kind.shares_likeliest  # no ladder
    assert plan_of(setting(preset="fast"), 1, 128, 128).shares == kind.shares_likeliest


@pytest.mark.parametrize(
    ("options", "steps"),
    [({}, 2), ({"kind": "fluorescence"}, 2), ({"kind": "astronomy"}, 0), ({"iterations": 20}, 0)],
    ids=["photograph", "micrograph", "stars", "a short polish"],
)
def test_the_polish_looks_at_patches_where_there_are_any(options, steps):
    assert plan_of(setting(**options), 1, 64, 64).patches == steps


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")]
)
def test_running_out_of_memory_is_told_as_such(error, monkeypatch):
    def fail(*_):
        raise error

    monkeypatch.setattr(solve, "runner", fail)
    with pytest.raises(OutOfMemory, match="64 x 64 px") as caught:
        list(solve.solve(np.eye(64), None, setting(), 0))
    assert caught.value.exit_status == 3


def test_another_error_of_torch_is_no_runtime_error(monkeypatch):
    def fail(*_):
        raise RuntimeError("first line\nwhat went wrong")

    monkeypatch.setattr(solve, "runner", fail)
    with pytest.raises(VdipError, match="what went wrong") as caught:
        list(solve.solve(np.eye(64), None, setting(), 0))
    assert not isinstance(caught.value, RuntimeError)


def test_findings_are_told_at_the_end_and_not_before():
    image = np.random.default_rng(0).random((40, 48))
    short = setting(preset="fast", iterations=3, threads=1, compile="off")
    *before, last = (progress.result.report for progress in solve.solve(image, None, short, 0))
    assert all(report["findings"] == report["warnings"] == [] for report in before)
    (found, *_) = last["findings"]
    assert found["code"] == "flat"  # three steps move nothing
    assert found["remedy"] == {"iterations": None}
    assert last["warnings"] == [finding["sentence"] for finding in last["findings"]]


def test_script_is_refused_where_there_is_none(monkeypatch):
    monkeypatch.setattr(placement, "scripting_available", lambda: False)
    assert way_of("auto") == "off"
    with pytest.raises(InvalidOption, match="TorchScript"):
        way_of("script")
