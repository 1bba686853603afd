"""Slices, axes and bad input: what `stack.fit` and `deblur` do with images of every kind."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from napari_vdip import Options, VdipError, deblur
from napari_vdip.errors import DeviceUnavailable, InvalidInput, InvalidOption
from napari_vdip.stack import fit, known_kernel, layout_of, slice_seed

QUICK = {
    "kernel_size": 5,
    "preset": "fast",
    "iterations": 4,
    "threads": 1,
    "kernel_draws": 0,
    "compile": "off",
}

# What is tested here does not depend on how good a fit is.
pytestmark = pytest.mark.usefixtures("small_fits")


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """Make a smooth scene of 40 x 48 px in 0 to 200, as float64."""
    y, x = np.mgrid[:40, :48]
    return 100 + 60 * np.sin(y / 3) * np.cos(x / 4) + 40 * ((x // 9 + y // 7) % 2)


@pytest.mark.parametrize(
    ("shape", "rgb", "channel_axis", "leading", "spatial"),
    [
        ((40, 48), False, None, (), (0, 1)),
        ((40, 48, 3), True, None, (), (0, 1)),
        ((5, 40, 48), False, None, (0,), (1, 2)),
        ((2, 5, 40, 48, 4), True, None, (0, 1), (2, 3)),
        ((3, 40, 48), False, 0, (0,), (1, 2)),
        ((40, 48, 7), False, -1, (2,), (0, 1)),
        ((40, 2, 48), False, 1, (1,), (0, 2)),
    ],
)
def test_axes_are_told_apart(shape, rgb, channel_axis, leading, spatial):
    layout = layout_of(shape, rgb, channel_axis)
    assert (layout.leading, layout.spatial) == (leading, spatial)
    assert len(layout.slices) == int(np.prod([shape[axis] for axis in leading]))


@pytest.mark.parametrize("dtype", ["u1", ">u2", "<i4", "f2", ">f4", "f8", "?"])
def test_every_dtype_gives_float32_of_the_same_shape(picture, dtype):
    image = (picture > 100) if dtype == "?" else picture.astype(dtype)
    result = deblur(image, **QUICK)
    assert result.image.dtype == result.uncertainty.dtype == result.kernel.dtype == np.float32
    assert result.image.shape == result.uncertainty.shape == (40, 48)
    assert np.isfinite(result.image).all()
    assert (result.uncertainty > 0).all()


def test_strides_order_and_read_only_arrays_do_not_matter(picture):
    expected = deblur(picture, **QUICK).image
    wide = np.zeros((80, 96))
    wide[::2, ::-2] = picture
    frozen = picture.copy()
    frozen.flags.writeable = False
    swapped = picture.astype(">f8")
    for view in (wide[::2, ::-2], np.asfortranarray(picture), frozen, swapped, picture.tolist()):
        assert np.array_equal(deblur(view, **QUICK).image, expected)
    assert np.array_equal(frozen, picture)


@pytest.mark.parametrize(("gain", "offset"), [(3.0, 0.0), (0.01, 0.0), (1.0, 1000.0), (250.0, -777.0)])
def test_output_follows_the_scale_and_offset_of_the_input(picture, gain, offset):
    plain = deblur(picture, **QUICK)
    scaled = deblur(gain * picture + offset, **QUICK)
    np.testing.assert_allclose(scaled.image, gain * plain.image + offset, rtol=1e-5, atol=1e-4 * gain)
    np.testing.assert_allclose(scaled.uncertainty, gain * plain.uncertainty, rtol=1e-4)
    np.testing.assert_array_equal(scaled.kernel, plain.kernel)


def test_colours_share_one_kernel_and_alpha_comes_through(picture):
    alpha = np.linspace(0, 255, picture.size).reshape(picture.shape)
    colour = np.stack([picture, picture[::-1], 0.5 * picture, alpha], axis=-1).astype(np.uint8)
    result = deblur(colour, rgb=True, **QUICK)
    assert result.image.shape == (40, 48, 4)
    assert result.kernel.shape == (5, 5)
    np.testing.assert_array_equal(result.image[..., 3], colour[..., 3])
    assert (result.uncertainty[..., 3] == 0).all()


def test_slices_are_independent_of_their_order(picture):
    stack = np.stack([picture, picture[::-1], picture[:, ::-1]])
    whole = deblur(stack, **QUICK)
    assert whole.kernel.shape == (3, 5, 5)
    first = deblur(stack[:1], **QUICK)
    np.testing.assert_array_equal(whole.image[0], first.image[0])
    np.testing.assert_array_equal(whole.image[0], deblur(picture, **QUICK).image)
    assert len({slice_seed(0, index) for index in range(1000)}) == 1000


def test_channels_on_any_axis_give_the_same_as_leading_slices(picture):
    channels = np.stack([picture, picture[::-1]])
    leading = deblur(channels, channel_axis=0, **QUICK)
    last = deblur(np.moveaxis(channels, 0, -1), channel_axis=-1, **QUICK)
    np.testing.assert_array_equal(np.moveaxis(last.image, -1, 0), leading.image)
    np.testing.assert_array_equal(last.kernel, leading.kernel)


def test_a_lazy_stack_is_read_one_slice_at_a_time(picture):
    class Lazy:
        shape, dtype = (3, 40, 48), np.dtype("f8")
        asked: tuple[object, ...] = ()

        def __getitem__(self, index):
            self.asked += (index[0],)
            return picture * (1 + index[0])

    lazy = Lazy()
    result = deblur(lazy, **QUICK)
    assert lazy.asked == (0, 1, 2)
    assert result.image.shape == (3, 40, 48)


def test_a_dask_array_is_taken(picture):
    dask = pytest.importorskip("dask.array", reason="napari brings dask; without it there is nothing to test")
    stack = np.stack([picture, picture[::-1]])
    lazy = deblur(dask.from_array(stack, chunks=(1, 20, 20)), **QUICK)
    np.testing.assert_array_equal(lazy.image, deblur(stack, **QUICK).image)


def test_a_slice_that_cannot_be_deblurred_is_passed_through(picture):
    result = deblur(np.stack([np.full_like(picture, 7.0), picture]), **QUICK)
    assert (result.image[0] == 7.0).all()
    assert np.isnan(result.uncertainty[0]).all()
    assert (result.uncertainty[1] > 0).all()
    assert any("slice 0" in text and "constant" in text for text in result.report["warnings"])
    with pytest.raises(InvalidInput, match="no slice"):
        deblur(np.ones((2, 40, 48)), **QUICK)


def test_masked_and_nan_pixels_take_no_part(picture):
    mask = np.zeros(picture.shape, dtype=bool)
    mask[10:14, 20:25] = True
    spoiled, holed = picture.copy(), picture.copy()
    spoiled[mask] = 1e6
    holed[mask] = np.nan
    one, two = deblur(spoiled, mask=mask, **QUICK), deblur(holed, **QUICK)
    np.testing.assert_array_equal(one.image, two.image)
    assert np.isfinite(one.image).all()
    assert one.image.max() < 400
    stack = deblur(np.stack([spoiled, picture]), mask=np.stack([mask, ~mask & False]), **QUICK)
    np.testing.assert_array_equal(stack.image[0], one.image)


def test_a_known_kernel_is_held(picture):
    kernel = np.outer([1, 2, 4, 2, 1], [1, 3, 1])
    result = deblur(picture, kernel=kernel, preset="fast", iterations=4)
    np.testing.assert_allclose(result.kernel, kernel / kernel.sum(), atol=1e-7)
    assert (result.history.kernel_change < 1e-6).all()
    freed = deblur(picture, kernel=kernel, kernel_fixed=False, preset="fast", iterations=4)
    assert 0 < np.abs(freed.kernel - result.kernel).sum() < 0.5
    assert known_kernel(np.eye(3)).sum() == pytest.approx(1.0)


def test_dip_has_no_uncertainty_and_says_so(picture):
    result = deblur(picture, method="dip", **QUICK)
    assert np.isnan(result.uncertainty).all()
    assert np.isfinite(result.image).all()


@pytest.mark.parametrize("method", ["sparse", "extreme", "std", "dip"])
@pytest.mark.parametrize("noise", ["gaussian", "poisson"])
def test_every_method_runs_in_both_kinds_of_preset(picture, method, noise, monkeypatch):
    from napari_vdip import options, plan

    small = dict(options.PRESETS)
    small["paper"] = options.dataclasses.replace(
        small["paper"], channels=8, prefit_steps=dict.fromkeys(small["paper"].prefit_steps, 2)
    )
    monkeypatch.setattr(plan, "PRESETS", small)
    for preset in ("fast", "paper"):
        result = deblur(picture, method=method, noise=noise, **QUICK | {"preset": preset, "iterations": 5})
        assert np.isfinite(result.image).all()
        assert result.report["method"] == method


def test_the_report_tells_what_was_done(picture):
    report = deblur(picture, seed=3, **QUICK).report
    assert report["options"]["seed"] == 3
    assert report["kernel_size"] == [5, 5]
    assert report["stop_reason"] == "finished"
    assert report["steps"] == 6
    import json

    json.dumps(report)


def test_options_are_a_base_for_keywords(picture):
    base = Options.from_keywords(**QUICK | {"seed": 5})
    report = deblur(picture, options=base, iterations=2).report
    assert (report["options"]["seed"], report["options"]["iterations"]) == (5, 2)


def test_progress_comes_often_and_carries_what_was_reached(picture):
    options = Options.from_keywords(**QUICK | {"iterations": 80, "kernel_draws": 4})
    last = time.perf_counter()
    longest = 0.0
    steps = []
    for progress in fit(np.stack([picture, picture]), options):
        longest = max(longest, time.perf_counter() - last)
        last = time.perf_counter()
        steps.append(progress.step)
        assert progress.result.image.shape == (2, 40, 48)
        assert np.isnan(progress.result.image[1]).all() == (progress.slice_index == 0)
        assert progress.seconds_left >= 0
    assert steps == sorted(set(steps))
    assert steps[-1] == progress.steps == 2 * (82 + 4)  # other kernels count too
    assert longest < 2.0


def test_a_stopped_fit_leaves_a_result_that_says_so(picture):
    progress = next(fit(picture, Options.from_keywords(**QUICK | {"iterations": 1000})))
    assert progress.result.report["stop_reason"].startswith("stopped at step")
    assert np.isfinite(progress.result.image).all()


def test_other_threads_go_on_while_the_loop_runs(picture):
    ticks, stop = [], threading.Event()

    def tick():
        while not stop.wait(0.005):
            ticks.append(time.perf_counter())

    image = np.kron(picture, np.ones((4, 4)))
    thread = threading.Thread(target=tick)
    thread.start()
    deblur(image, **QUICK | {"iterations": 20})
    stop.set()
    thread.join()
    gaps = np.diff(ticks)
    assert len(ticks) > 20
    assert np.quantile(gaps, 0.95) < 0.05


def test_the_global_generators_are_not_touched(picture):
    import torch

    before, numpy_before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    deblur(picture, **QUICK)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)


def test_the_number_of_threads_is_put_back(picture):
    import torch

    before = torch.get_num_threads()
    deblur(picture, **QUICK | {"threads": before + 1})
    assert torch.get_num_threads() == before


def test_a_small_image_takes_fewer_threads(picture):
    for pixels, threads in ((picture, 1), (np.tile(picture, (2, 2)), 2)):
        report = deblur(pixels, **QUICK | {"threads": 4}).report
        assert report["device"].endswith(f", {threads} threads)")


@pytest.mark.parametrize(
    ("image", "options", "kind", "says"),
    [
        (np.zeros((0, 40)), {}, InvalidInput, "shape"),
        (np.zeros(40), {}, InvalidInput, "2 axes"),
        (np.eye(16), {"kernel_size": 31}, InvalidInput, "smaller than the kernel"),
        (np.ones((40, 40)), {}, InvalidInput, "constant"),
        (np.full((40, 40), np.nan), {}, InvalidInput, "no usable pixel"),
        (np.where(np.eye(40), np.inf, 0.0), {}, InvalidInput, "infinite"),
        (np.eye(40) * 1j, {}, InvalidInput, "complex"),
        (np.eye(40).astype(object), {}, InvalidInput, "object"),
        (np.eye(40).astype("M8[s]"), {}, InvalidInput, "datetime"),
        (None, {}, InvalidInput, "axes"),
        ("image.tif", {}, InvalidInput, "axes"),
        (np.eye(40), {"kernel_size": 4}, InvalidOption, "even"),
        (np.eye(40), {"kernel_size": -5}, InvalidOption, "bounds"),
        (np.eye(40), {"kernel_size": 0}, InvalidOption, "bounds"),
        (np.eye(40), {"kernel_size": "large"}, InvalidOption, "auto"),
        (np.eye(40), {"kernel_sise": 5}, InvalidOption, "kernel_size"),
        (np.eye(40), {"options": 31}, InvalidOption, "kernel_size=31"),
        (np.eye(40), {"preset": "quick"}, InvalidOption, "balanced"),
        (np.eye(40), {"device": "tpu"}, DeviceUnavailable, "auto"),
        (np.eye(40), {"device": "cuda:99"}, DeviceUnavailable, "cuda"),
        (np.eye(40), {"mask": np.zeros((3, 3), dtype=bool)}, InvalidInput, "mask"),
        (np.eye(40), {"mask": np.full((40, 40), 0.5)}, InvalidInput, "booleans"),
        (np.eye(40), {"mask": np.ones((40, 40), dtype=bool)}, InvalidInput, "no usable pixel"),
        (np.eye(40), {"kernel": np.ones((4, 4))}, InvalidInput, "odd"),
        (np.eye(40), {"kernel": -np.ones((3, 3))}, InvalidInput, "negative"),
        (np.eye(40), {"kernel": np.zeros((3, 3))}, InvalidInput, "positive"),
        (np.eye(40), {"kernel": np.ones((3, 3)), "kernel_size": 7}, InvalidOption, "known kernel"),
        (np.eye(40), {"rgb": True}, InvalidInput, "axes"),
        (np.zeros((4, 40, 40)), {"rgb": True}, InvalidInput, "3 or 4"),
        (np.zeros((4, 40, 40)), {"channel_axis": 3}, InvalidOption, "channel_axis"),
        (np.zeros((40, 40, 3)), {"channel_axis": 0, "rgb": True}, InvalidOption, "both"),
    ],
)
def test_bad_input_is_told_within_a_second(image, options, kind, says):
    deblur(np.eye(16) + np.arange(16), **QUICK)  # loads what is loaded late
    started = time.perf_counter()
    with pytest.raises(kind, match=says) as caught:
        deblur(image, **options)
    assert time.perf_counter() - started < 1.0
    assert isinstance(caught.value, VdipError)
    assert not isinstance(caught.value, RuntimeError)


def test_findings_tell_their_slice(picture):
    stack = np.stack([picture, np.full_like(picture, 7.0), picture])
    report = deblur(stack, **QUICK).report
    assert {found["slice"] for found in report["findings"]} == {0, 2}
    first = next(found for found in report["findings"] if found["slice"] == 2)
    assert f"slice 2: {first['sentence']}" in report["warnings"]
