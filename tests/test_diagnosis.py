"""Each sign is seen on a kernel or a course that has it, and on no good one."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from napari_vdip import deblur, family, samples
from napari_vdip.diagnosis import examine, rest_step, smoothed
from napari_vdip.options import Options
from napari_vdip.psf import centred
from napari_vdip.result import History

SHAPE = (255, 255)


def course(misfit, change=None):
    misfit = np.asarray(misfit, dtype=np.float32)
    change = np.zeros_like(misfit) if change is None else np.asarray(change, dtype=np.float32)
    steps = np.arange(misfit.size)
    return History(steps, misfit, misfit, change, steps.astype(float))


NOTHING = course([])
CONVERGED = course(np.geomspace(100, 1.2, 200), np.geomspace(0.1, 1e-4, 200))


def codes(kernel, history=NOTHING, options=None, shape=SHAPE):
    kernel = kernel / kernel.sum()
    return [found.code for found in examine(kernel, history, 1.0, options or Options(), shape)]


def gaussian(std, side):
    y, x = np.mgrid[:side, :side] - side // 2
    return np.exp(-(y**2 + x**2) / (2 * std**2))


def disc(radius, side):
    y, x = np.mgrid[:side, :side] - side // 2
    return (np.hypot(y, x) <= radius).astype(float)


def snow(side, share=0.05):
    random = np.random.default_rng(0)
    return np.where(random.random((side, side)) < share, random.random((side, side)), 0.0)


def spot(side):
    kernel = np.full((side, side), 1e-5)
    kernel[side // 2, side // 2] = 1
    return kernel


class TestGoodKernels:
    @pytest.mark.parametrize("path", ["levin_dev/kernels", "lai_dev/kernels"])
    def test_of_real_camera_shake(self, path, data_folder):
        files = sorted((data_folder / path).glob("*.png"))
        assert files
        for file in files:
            kernel = np.asarray(Image.open(file).convert("F"), dtype=float)
            assert codes(kernel, CONVERGED) == [], file.name

    def test_of_the_photograph(self):
        assert codes(samples.load("photograph").kernel.astype(float), CONVERGED) == []

    def test_the_tails_of_a_widefield_kernel_do_reach_its_border(self):
        assert codes(samples.load("microscopy").kernel.astype(float), CONVERGED) == ["border"]

    @pytest.mark.parametrize(
        "kernel",
        [
            gaussian(1, 11),
            gaussian(3, 21),
            gaussian(3, 31),
            disc(5, 13),
            disc(10, 21),
            np.eye(15),
            np.eye(15) + np.eye(15)[::-1],
        ],
        ids=["narrow", "wide", "roomy enough", "disc", "disc that just fits", "streak", "cross"],
    )
    def test_of_other_sorts(self, kernel):
        kernel = np.pad(kernel, 1)
        assert codes(kernel, CONVERGED) == []


class TestEachSign:
    @pytest.mark.parametrize(
        ("kernel", "code"),
        [
            (gaussian(6, 21), "border"),
            (np.eye(15), "border"),
            (gaussian(1, 41), "roomy"),
            (np.pad(np.eye(9), 24), "roomy"),
            (np.ones((21, 21)), "flat"),
            (snow(31), "scattered"),
            (np.random.default_rng(0).exponential(size=(21, 21)), "scattered"),
            (np.pad(np.ones((15, 15)), 1, constant_values=6), "scattered"),  # as of nothing but noise
            (spot(15), "point"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_of_a_kernel(self, kernel, code):
        assert codes(kernel, CONVERGED) == [code]

    def test_of_a_pixel_that_stands_out_of_a_free_kernel(self):
        kernel = gaussian(3, 21)
        kernel[10, 10] *= 8
        (found,) = examine(kernel, CONVERGED, 1.0, Options(), SHAPE)
        assert found.code == "point"
        assert "one pixel of the kernel is 8 times as strong as any other" in found.sentence
        assert examine(kernel, CONVERGED, 1.0, Options(kernel_family="moffat"), SHAPE) == []

    def test_of_light_that_centring_has_moved_out(self):
        stroke = np.zeros((31, 31), np.float32)
        stroke[1:29, 4], stroke[28, 4:26] = 1 / 40, 1 / 73
        found = centred(stroke)
        (told,) = examine(found.kernel, CONVERGED, 1.0, Options(), SHAPE, lost=(found.lost, found.holding))
        assert told.code == "cut"
        held = centred(np.pad(stroke, (told.remedy["kernel_size"] - 31) // 2))
        assert held.lost == 0.0
        assert np.count_nonzero(held.kernel) == np.count_nonzero(stroke) > np.count_nonzero(found.kernel)

    def test_a_little_light_moved_out_is_not_told(self):
        assert examine(gaussian(3, 21), CONVERGED, 1.0, Options(), SHAPE, lost=(0.015, 25)) == []

    def test_a_small_window_may_hold_a_point(self):
        assert codes(spot(11)) == []

    def test_of_the_axes_of_a_family(self):
        (found,) = examine(gaussian(2, 15), CONVERGED, 1.0, Options(), SHAPE, (9.2, 3.3))
        assert found.code == "long"
        assert "2.8 times as long as it is wide (9.2 x 3.3 px)" in found.sentence
        assert examine(gaussian(2, 15), CONVERGED, 1.0, Options(), SHAPE, (3.1, 2.3)) == []

    @pytest.mark.usefixtures("small_fit")
    @pytest.mark.parametrize(
        ("apart", "source", "told"),
        [(1.2, family.EVIDENCE, ["long"]), (0.2, family.EVIDENCE, []), (1.2, "6 stars", [])],
    )
    def test_the_axes_that_the_evidence_tells_are_looked_at(self, apart, source, told, monkeypatch):
        values = np.array([2 * np.log(1.2), apart, 0.0])
        found = family._found(family.FAMILIES["gaussian"], (13, 13), values, np.zeros((3, 3)), source)
        monkeypatch.setattr(family, "fit", lambda *_: found)
        image = samples.load("microscopy").blurred[:48, :56]
        options = {
            "kernel_family": "gaussian",
            "kernel_size": 13,
            "preset": "fast",
            "iterations": 12,
            "threads": 1,
        }
        findings = deblur(image, kernel_draws=0, **options).report["findings"]
        assert [finding["code"] for finding in findings if finding["code"] == "long"] == told

    @pytest.mark.parametrize(
        ("misfit", "code"),
        [
            (np.full(100, 50.0), "misfit"),
            (np.geomspace(100, 20, 100), "misfit"),
            ([*np.geomspace(100, 1.2, 100), *np.geomspace(1.2, 4, 100)], "risen"),
        ],
        ids=["never falls", "falls too little", "rises again"],
    )
    def test_of_a_course(self, misfit, code):
        assert codes(gaussian(2, 15), course(misfit)) == [code]

    def test_one_wild_step_is_none(self):
        misfit = np.geomspace(100, 1.2, 200)
        misfit[[50, 120, 199]] = 400.0
        assert codes(gaussian(2, 15), course(misfit)) == []

    def test_an_image_without_noise_is_no_failure(self):
        history = course(np.geomspace(100, 1.0, 200))
        assert examine(gaussian(2, 15), history, 0.01, Options(), SHAPE) == []

    def test_of_a_kernel_that_is_held_only_the_misfit_counts(self):
        options = Options(kernel=spot(15))
        assert codes(spot(15), CONVERGED, options) == []
        (found,) = examine(spot(15), course(np.full(100, 50.0)), 1.0, options, SHAPE)
        assert "held may be wrong" in found.sentence
        assert found.remedy == {}

    def test_a_kernel_that_is_not_finite_is_told_elsewhere(self):
        assert examine(np.full((5, 5), np.nan), NOTHING, 1.0, Options(), SHAPE) == []


class TestTheRemedy:
    @pytest.mark.parametrize(
        ("kernel", "options", "shape", "remedy"),
        [
            (gaussian(6, 21), Options(), SHAPE, {"kernel_size": 29}),
            (gaussian(6, 21), Options(), (27, 200), {}),
            (np.pad(np.eye(9), 24), Options(), SHAPE, {"kernel_size": 19}),
            (np.ones((21, 21)), Options(preset="fast"), SHAPE, {"preset": "balanced"}),
            (np.ones((21, 21)), Options(iterations=5), SHAPE, {"iterations": None}),
            (spot(15), Options(seed=4), SHAPE, {"seed": 5}),
        ],
        ids=["larger", "no room for larger", "smaller", "longer", "preset's length", "another seed"],
    )
    def test_of_a_kernel(self, kernel, options, shape, remedy):
        (found,) = examine(kernel / kernel.sum(), NOTHING, 1.0, options, shape)
        assert found.remedy == remedy
        for name, value in remedy.items():
            if value is not None:
                assert f"{name}={value!r}" in found.sentence

    def test_can_be_options_and_json(self):
        for kernel in (gaussian(6, 21), snow(31), spot(15), np.ones((21, 21)), np.pad(np.eye(9), 24)):
            for found in examine(kernel / kernel.sum(), NOTHING, 1.0, Options(), SHAPE):
                Options.from_keywords(**found.remedy)
                assert json.loads(json.dumps(found.as_dict()))["remedy"] == found.remedy


class TestRest:
    def test_is_where_the_misfit_is_near_the_noise_and_the_kernel_calm(self):
        misfit = np.geomspace(100, 1.2, 200)
        change = [0.0] * 30 + [0.1] * 100 + [1e-4] * 70  # a pre-fit, the kernel's way, its rest
        near = [int(np.flatnonzero(smoothed(misfit) <= 2 * noise)[0]) for noise in (1.0, 10.0)]
        assert near[1] < 130 < near[0]
        assert rest_step(course(misfit, change), 1.0) == near[0]
        assert 130 <= rest_step(course(misfit, change), 10.0) <= 140  # when the kernel has come to rest

    @pytest.mark.parametrize(
        ("misfit", "change"),
        [
            (np.full(100, 5.0), np.geomspace(0.1, 1e-5, 100)),
            (np.full(100, 1.0), np.full(100, 0.05)),
            ([], []),
        ],
        ids=["far from the noise", "kernel on its way", "no steps"],
    )
    def test_is_not_there_otherwise(self, misfit, change):
        assert rest_step(course(misfit, change), 1.0) is None
