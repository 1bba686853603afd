"""Large frames: the plan of the tiles, their seams, and what happens when memory runs out."""

from __future__ import annotations

import json

import numpy as np
import pytest

from napari_vdip import Options, deblur, tiles
from napari_vdip.errors import InvalidOption, OutOfMemory
from napari_vdip.placement import device_of
from napari_vdip.plan import Setting
from napari_vdip.samples import load
from napari_vdip.stack import fit

QUICK = {"preset": "fast", "iterations": 4, "threads": 1, "kernel_draws": 0, "compile": "off"}

# What is tested here does not depend on how good a fit is.
pytestmark = pytest.mark.usefixtures("small_fits")


@pytest.fixture(scope="module")
def sample():
    return load("photograph")


@pytest.fixture(scope="module")
def frame(sample):
    return sample.blurred[:200, :230].astype(np.float64)


@pytest.fixture(scope="module")
def kernel():
    """Make a kernel that is known, so that nothing but the tiles is under test."""
    return np.outer([1, 4, 6, 4, 1], [1, 2, 4, 2, 1]).astype(float)


@pytest.mark.parametrize("shape", [(200, 230), (130, 1000), (64, 64), (513, 511)])
@pytest.mark.parametrize("side", [64, 100, 333])
@pytest.mark.parametrize("kernel_size", [(5, 5), (31, 11)])
def test_tiles_cover_the_frame_and_their_weights_sum_to_one(shape, side, kernel_size):
    plan = tiles.cut(shape, kernel_size, side, "test", None)
    total = np.zeros(shape)
    for window, weight in zip(plan.windows, plan.weights(), strict=True):
        assert total[window].shape == weight.shape
        total[window] += weight
    np.testing.assert_allclose(total, 1.0, atol=1e-5)


def test_what_lies_near_an_inner_border_of_a_tile_has_no_weight():
    plan = tiles.cut((200, 300), (7, 7), 100, "test", None)
    first = plan.weights()[0]
    assert (first[-7:] == 0).all()
    assert (first[:, -7:] == 0).all()
    assert first[0, 0] == 1.0


@pytest.fixture(scope="module")
def tiled(frame, kernel):
    return deblur(frame, kernel=kernel, tile=64, **QUICK | {"iterations": 20})


def cut_into(frame, kernel, side):
    """Deblur in tiles of a side; one of a million px is a single tile."""
    scaled = (kernel / kernel.sum()).astype(np.float32)
    options = Options.from_keywords(kernel=scaled, **QUICK | {"iterations": 20})
    setting = Setting(options, device_of("cpu"), "off", (5, 5), "", scaled)
    plan = tiles.cut(frame.shape, (5, 5), side, "test", None)
    steps = tiles.solve_tiled(frame, None, setting, 0, plan)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value.image


@pytest.fixture(scope="module")
def cut_and_whole(frame, kernel):
    return [cut_into(frame, kernel, side) for side in (64, 10**6)]


@pytest.mark.parametrize("axis", [0, 1])
def test_there_is_no_seam(cut_and_whole, tiled, axis):
    """What tiles change is the same on either side of every line; cut hard, it jumps by 0.4 at the seams."""
    many, one = cut_and_whole
    assert min(len(tiled.report["tiles"][name]) for name in ("rows", "columns")) > 1
    jumps = np.abs(np.diff(many - one, axis=axis)).mean(1 - axis)
    own = np.abs(np.diff(one, axis=axis)).mean(1 - axis)
    assert (jumps / own).max() < 0.02


def test_the_uncertainty_covers_the_frame(tiled):
    assert np.isfinite(tiled.image).all()
    assert (tiled.uncertainty > 0).all()


def test_kernel_comes_from_a_crop_and_the_report_says_where(frame):
    noise = np.random.default_rng(0).normal(0, 1, frame.shape)
    flat = np.full((200, 460), 100.0) + np.tile(noise, (1, 2))
    flat[:, 230:] += frame
    result = deblur(flat, kernel_size=5, tile=64, **QUICK)
    _, left, height, width = result.report["tiles"]["crop"]
    assert left >= 200  # the picture is on the right
    assert (height, width) == (64, 64)
    assert "kernel from 64 x 64 px" in result.report["tiles"]["plan"]
    assert result.report["stop_reason"] == "finished"
    assert not result.report["partial"]
    json.dumps(result.report)


def test_a_kernel_of_a_family_comes_from_its_crop_without_networks(frame):
    chosen = QUICK | {"kernel_size": 7, "kernel_family": "gaussian"}
    stages = []
    for progress in fit(frame, Options.from_keywords(tile=100, **chosen)):
        stages.append(progress.stage)
    assert set(stages) == {"polish"}
    result = progress.result
    assert result.report["steps"] == progress.steps
    assert result.report["kernel_numbers"]["fwhm_long"]["value"] > 0.5
    top, left, height, width = result.report["tiles"]["crop"]
    alone = deblur(frame[top : top + height, left : left + width], **chosen)
    np.testing.assert_array_equal(result.kernel, alone.kernel)


def test_progress_goes_up_to_the_end_and_shows_what_is_there(frame, kernel):
    options = Options.from_keywords(kernel=kernel, tile=64, **QUICK)
    steps = []
    for progress in fit(frame, options):
        steps.append(progress.step)
        assert progress.result.image.shape == frame.shape
        assert np.isfinite(progress.result.image).all()
        assert progress.result.report["partial"] == (progress.step < progress.steps)
    assert steps == sorted(set(steps))
    assert steps[-1] == progress.steps


def test_masked_parts_and_nan_are_left_alone(frame, kernel):
    holed = frame.copy()
    holed[:120, :120] = np.nan  # more than a tile
    result = deblur(holed, kernel=kernel, tile=64, **QUICK)
    assert np.isfinite(result.image).all()
    assert (result.uncertainty[130:, 130:] > 0).all()


def test_colour_frames_are_tiled(frame, kernel):
    colour = np.stack([frame, frame[::-1], 0.5 * frame, np.full_like(frame, 9.0)], axis=-1)
    result = deblur(colour, rgb=True, kernel=kernel, tile=64, **QUICK)
    assert result.image.shape == colour.shape
    assert (result.image[..., 3] == 9.0).all()


def test_out_of_memory_halves_the_tile_and_goes_on(frame, kernel, monkeypatch):
    true = tiles.solve_frame

    def small(part, setting, seed):
        if max(part.y.shape) > 110:
            raise OutOfMemory("the tile does not fit")
        return true(part, setting, seed)

    monkeypatch.setattr(tiles, "solve_frame", small)
    result = deblur(frame, kernel=kernel, tile=190, **QUICK)
    assert result.report["stop_reason"] == "finished"
    assert max(result.report["tiles"]["size"]) <= 110
    assert any("190 x 190 px were halved" in text for text in result.report["warnings"])
    assert np.isfinite(result.image).all()


def test_a_tile_too_small_to_halve_is_an_error(frame, kernel, monkeypatch):
    def never(part, setting, seed):
        raise OutOfMemory("the tile does not fit")

    monkeypatch.setattr(tiles, "solve_frame", never)
    with pytest.raises(OutOfMemory, match="does not fit"):
        deblur(frame, kernel=kernel, tile=190, **QUICK)


def test_the_plan_follows_the_memory():
    big = np.zeros((3000, 2000), dtype=np.uint8)
    big[100:200, 300:400] = np.arange(100) % 7
    setting = Setting(Options(), device_of("cpu"), "off", (9, 9), "", None)
    roomy = tiles.plan_for(big, None, setting, free_bytes=64 * 2**30)
    tight = tiles.plan_for(big, None, setting, free_bytes=2**29)
    assert max(roomy.size) > max(tight.size)
    assert roomy.crop[2:] > tight.crop[2:]
    assert "0.5 GiB of memory free" in str(tight)
    assert tiles.plan_for(big[:512, :512], None, setting, free_bytes=64 * 2**30) is None


def test_tiles_need_a_polish(frame):
    with pytest.raises(InvalidOption, match="tile=64 needs"):
        deblur(frame, kernel_size=5, preset="paper", tile=64)
