"""How long a fit will take: the estimate follows what was measured."""

from __future__ import annotations

import numpy as np
import pytest

from napari_vdip import Options, deblur, pace
from napari_vdip.options import PRESETS
from napari_vdip.result import History, Result


def result_of(shape, **changed):
    """Make the result of a fit of 200 steps, none of them of a search, in 10 s."""
    options = Options(**{"preset": "fast", "threads": 2, "iterations": 110} | changed.pop("options", {}))
    report = {"steps": 200, "seconds": 10.0, "kernel_size": [17, 17], **changed}
    report = {"device": "cpu (some name, 2 threads)"} | report
    image = np.zeros(shape, np.float32)
    nothing = History(*(np.zeros(0),) * 5)
    return Result(image, image, np.ones((3, 3)), nothing, report | {"options": options.as_dict()})


def test_the_steps_are_those_of_a_fit():
    image = np.random.default_rng(0).random((24, 24))
    for options in (
        Options(preset="fast", iterations=3),
        Options(preset="fast", iterations=2, method="dip"),
        Options(preset="best", iterations=4),
    ):
        made = deblur(image, options, kernel_size=3, threads=1)
        assert made.report["steps"] == pace.steps_of(options)
    assert pace.steps_of(Options(preset="paper")) == 5500
    assert pace.steps_of(Options(preset="paper", method="extreme")) == 5005


def test_what_took_ten_seconds_takes_ten_seconds_again():
    options = Options(preset="fast", threads=2, iterations=110, kernel_draws=0)
    speeds = pace.measured(result_of((100, 100), steps=140))
    assert list(speeds) == ["fast cpu 2"]
    assert pace.estimate((100, 100), options, "cpu", speeds) == pytest.approx(10)
    assert pace.estimate((200, 100), options, "cpu", speeds) == pytest.approx(20)
    assert pace.estimate((6, 100, 100), options, "cpu", speeds) == pytest.approx(60)


def test_the_search_for_the_likeliest_kernel_takes_its_time():
    options = Options(preset="fast", threads=2, kernel_draws=0)
    told = {"steps": pace.steps_of(options), "options": {"iterations": None}}
    speeds = pace.measured(result_of((100, 100), **told))
    assert pace.estimate((100, 100), options, "cpu", speeds) == pytest.approx(10)
    climbs, climb = pace.climbs_of(options)
    assert pace.steps_of(options) == 30 + PRESETS["fast"].iterations + climbs + climb
    assert climbs == PRESETS["fast"].climb_steps > 0
    assert climb == PRESETS["fast"].last_climb_steps > 0
    # The same fit of a kernel that is held has no search.
    held = Options(preset="fast", threads=2, kernel=np.ones((5, 5)), kernel_draws=0)
    ladder = sum(rung.work for rung in pace.rungs((17, 17), (100, 100)))
    search = climbs * pace.CLIMBS_COST + climb * pace.CLIMB_COST + ladder
    share = search / (pace.steps_of(held) + search)
    assert pace.estimate((100, 100), held, "cpu", speeds) == pytest.approx(10 * (1 - share))


@pytest.mark.parametrize(
    "options",
    [
        {"iterations": 149},
        {"preset": "paper"},
        {"method": "dip"},
        {"kind": "astronomy"},
        {"kind": "fluorescence", "kernel_family": "free"},
        {"kernel": np.ones((5, 5))},
    ],
    ids=str,
)
def test_others_are_not_searched(options):
    assert pace.climbs_of(Options(**{"preset": "fast"} | options)) == (0, 0)
    assert pace.climbs_of(Options(preset="fast", kernel=np.ones((5, 5)), kernel_fixed=False)) == (40, 30)


def test_the_other_kernels_at_the_end_take_their_time():
    without, three = (seconds((100, 100), kernel_draws=draws, iterations=110) for draws in (0, 3))
    assert three - without == pytest.approx(without * 3 * pace.DRAW_COST / 140)
    assert (
        seconds((100, 100), kernel=np.ones((5, 5)), iterations=110) == without
    )  # a known kernel has no other
    told = {"steps": 140, "kernel_draws": 3, "options": {"kernel_draws": 3}}
    again = pace.estimate(
        (100, 100),
        Options(preset="fast", threads=2, iterations=110, kernel_draws=3),
        "cpu",
        pace.measured(result_of((100, 100), **told)),
    )
    assert again == pytest.approx(10)


def test_a_fit_that_began_at_half_the_size_tells_the_same_speed():
    options = Options(preset="fast", threads=2, kernel_size=31, iterations=110, kernel_draws=0)
    speeds = pace.measured(result_of((100, 100), steps=pace.steps_of(options), kernel_size=[31, 31]))
    assert pace.estimate((100, 100), options, "cpu", speeds) == pytest.approx(10)
    plain = pace.measured(result_of((100, 100), steps=pace.steps_of(options), kernel_size=[27, 27]))
    assert plain["fast cpu 2"] == pytest.approx(1.75 * speeds["fast cpu 2"])


def test_the_steps_of_all_slices_count_and_colours_do_not():
    stack = pace.measured(result_of((4, 100, 100), steps=800, seconds=40.0))
    assert stack["fast cpu 2"] == pytest.approx(10 / 200 / 10_000)
    colours = pace.measured(result_of((100, 100, 3), options={"rgb": True}))
    assert colours == pytest.approx(stack)


def test_before_any_run_the_guess_grows_with_pixels_and_with_fewer_threads():
    def guess(shape, **options):
        return pace.estimate(shape, Options(**options), "cpu", {})

    # docs/benchmarks/levin.md: 64 s of 868 steps; each costs a third less now, and 400 are left of 750
    assert guess((255, 255), threads=4) == pytest.approx(32, rel=0.1)
    assert guess((255, 255), threads=4, preset="paper") == pytest.approx(2692, rel=0.1)
    assert guess((510, 255), threads=4) == pytest.approx(2 * guess((255, 255), threads=4))
    assert guess((255, 255), threads=1) == pytest.approx(4 * guess((255, 255), threads=4))


def test_nothing_is_claimed_about_a_device_that_was_never_measured():
    assert pace.estimate((255, 255), Options(), "cuda", {}) is None
    assert pace.estimate((255, 255), Options(), "cuda", {"balanced cuda": 1e-9}) < 1


def test_a_run_of_a_few_steps_tells_nothing():
    assert pace.measured(result_of((100, 100), steps=99)) == {}
    assert pace.measured(result_of((100, 100), steps=0, seconds=0.0)) == {}


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "5 s"),
        (42, "40 s"),
        (54, "55 s"),
        (59, "1 min"),
        (430, "7 min"),
        (9000, "2.5 h"),
        (1e6, "278 h"),
    ],
)
def test_an_estimate_is_told_no_more_precisely_than_it_is(seconds, words):
    assert pace.in_words(seconds) == words


def seconds(shape, **options):
    return pace.estimate(shape, Options(**{"preset": "fast", "threads": 1, **options}), "cpu", {})


def test_a_large_frame_costs_its_crop_and_its_tiles():
    whole, large = seconds((512, 512)), seconds((4096, 4096))
    assert whole < large < 64 * whole / 4  # 64 times the pixels, of which most are only polished
    assert seconds((4096, 4096), tile=10_000) == pytest.approx(64 * whole, rel=0.01)
    assert seconds((4096, 4096), kernel_grid=2) > large + 2.9 * whole
    assert seconds((4096, 4096), preset="paper") > 60 * seconds((512, 512), preset="paper")  # has no polish


def test_a_crop_whose_kernel_is_of_a_family_costs_no_networks():
    free, held = seconds((4096, 4096)), seconds((4096, 4096), kernel=np.ones((3, 3)), kernel_fixed=True)
    found = seconds((4096, 4096), kernel_family="gaussian")
    assert held < found < held + 0.5 * (free - held)
    assert seconds((512, 512), kernel_family="gaussian") > 2 * (found - held)  # has networks


def test_the_search_for_a_kernel_of_a_family_takes_its_time_but_on_few_pixels():
    def more(shape):
        return seconds(shape, kernel_family="gaussian", iterations=110) - seconds(shape, iterations=110)

    assert 0.1 * seconds((96, 96)) < more((96, 96)) < 0.3 * seconds((96, 96))
    assert more((192, 192)) == pytest.approx(4 * more((96, 96)))
    assert more((900, 900)) == pytest.approx(more((192, 192)))
    assert seconds((40, 96, 96), kernel_family="gaussian", kernel_mode="warm") < 0.25 * seconds(
        (40, 96, 96), kernel_family="gaussian"
    )


def test_an_instrument_whose_cutoff_is_known_is_looked_for_on_a_grid():
    def more(**options):
        found = seconds((96, 96), kernel_family="pupil", iterations=110, **options)
        return found - seconds((96, 96), iterations=110)

    lens = {"wavelength": 520.0, "pixel_size": 0.08}
    assert more(**lens, numerical_aperture=1.2) == pytest.approx(1.9 * more())
    assert more(**lens, aperture_diameter=2.0) == pytest.approx(more())
    assert more(**lens, aperture_diameter=2.0, fried_parameter=20.0) == pytest.approx(1.9 * more())


def test_what_is_learnt_is_the_speed_without_the_search():
    free = pace.measured(result_of((100, 100)))
    found = pace.measured(result_of((100, 100), kernel_family="gaussian"))
    assert found["fast cpu 2"] < free["fast cpu 2"]
    options = Options(preset="fast", threads=2, iterations=170, kernel_family="gaussian", kernel_draws=0)
    assert pace.estimate((100, 100), options, "cpu", found) == pytest.approx(10)
