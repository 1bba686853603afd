"""Options: what is allowed, what is refused, and what the refusal says."""

from __future__ import annotations

import dataclasses
import json
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_vdip.errors import InvalidOption, VdipError
from napari_vdip.options import PRESETS, Group, Method, Options, Preset, PresetName, choices_of, type_of

FIELDS = dataclasses.fields(Options)
BOUNDED = [(f.name, f.metadata["low"], f.metadata["high"]) for f in FIELDS if f.metadata["low"] is not None]


def test_defaults_are_the_contract():
    assert vars(Options()) == {
        "kernel_size": "auto",
        "preset": "balanced",
        "kind": "photograph",
        "method": None,
        "noise": "gaussian",
        "kernel_family": None,
        "numerical_aperture": None,
        "aperture_diameter": None,
        "central_obstruction": None,
        "fried_parameter": None,
        "wavelength": None,
        "pixel_size": None,
        "kernel": None,
        "kernel_fixed": True,
        "kernel_draws": 4,
        "kernel_mode": "each",
        "kernel_grid": None,
        "tile": None,
        "device": "auto",
        "compile": "auto",
        "precision": "auto",
        "seed": 0,
        "iterations": None,
        "threads": None,
        "mask": None,
        "defects": True,
        "rgb": False,
        "channel_axis": None,
    }


@pytest.mark.parametrize(
    ("kind", "noise"), [("photograph", "gaussian"), ("fluorescence", "poisson"), ("astronomy", "poisson")]
)
def test_the_kind_chooses_the_noise_that_is_not_given(kind, noise):
    assert Options(kind=kind).noise == noise
    assert Options.from_keywords(Options(), kind=kind).noise == noise
    other = {"gaussian": "poisson", "poisson": "gaussian"}[noise]
    given = Options(kind=kind, noise=other)
    assert given.noise == other
    assert Options.from_keywords(given, seed=3).noise == other
    assert given.chosen() == {"noise": other} | ({} if kind == "photograph" else {"kind": kind})


@pytest.mark.parametrize("item", FIELDS, ids=lambda item: item.name)
def test_every_option_says_what_it_is(item):
    assert item.metadata["help"].endswith(".")
    assert set(item.metadata) == {"help", "unit", "low", "high", "odd", "advanced", "group"}
    assert item.metadata["group"] in get_args(Group)


@pytest.mark.parametrize(("name", "low", "high"), BOUNDED)
def test_bounds_are_inside_and_one_further_is_out(name, low, high):
    assert getattr(Options(**{name: low}), name) == low
    with pytest.raises(InvalidOption, match=f"{name}={low - 1} is out of bounds; expected .*{low}"):
        Options(**{name: low - 1})
    if high is not None:
        assert getattr(Options(**{name: high}), name) == high
        with pytest.raises(
            InvalidOption, match=f"{name}={high + 1} is out of bounds; expected from {low} to {high}"
        ):
            Options(**{name: high + 1})


def test_the_bounded_options_are_these():
    assert {name for name, _, _ in BOUNDED} == {
        "kernel_size",
        "seed",
        "iterations",
        "threads",
        "kernel_grid",
        "tile",
        "channel_axis",
        "numerical_aperture",
        "aperture_diameter",
        "central_obstruction",
        "fried_parameter",
        "wavelength",
        "pixel_size",
        "kernel_draws",
    }


@pytest.mark.parametrize("size", [4, (5, 6), (30, 7)])
def test_an_even_kernel_size_is_refused_with_the_next_odd_one(size):
    even = next(number for number in (size if isinstance(size, tuple) else (size,)) if number % 2 == 0)
    with pytest.raises(InvalidOption, match=f"even; expected an odd number, such as {even + 1}"):
        Options(kernel_size=size)


@given(st.integers(1, 500), st.integers(1, 500))
def test_odd_kernel_sizes_are_allowed(half_height, half_width):
    size = (2 * half_height + 1, 2 * half_width + 1)
    assert Options(kernel_size=size).kernel_size == size
    assert Options(kernel_size=size[0]).kernel_size == size[0]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kernel_size", "large"),
        ("kernel_size", 5.0),
        ("kernel_size", True),
        ("kernel_size", None),
        ("kernel_size", (5, 5, 5)),
        ("kernel_size", (5, "auto")),
        ("preset", "slow"),
        ("preset", None),
        ("method", "vdip"),
        ("kind", "x-ray"),
        ("noise", "salt"),
        ("kernel_fixed", 1),
        ("kernel_mode", "all"),
        ("device", 0),
        ("compile", True),
        ("seed", None),
        ("seed", 1.5),
        ("iterations", "many"),
        ("iterations", False),
        ("threads", 2.0),
        ("wavelength", "green"),
        ("numerical_aperture", True),
        ("pixel_size", float("nan")),
        ("rgb", "yes"),
        ("channel_axis", "c"),
    ],
)
def test_a_wrong_value_is_refused_by_name(name, value):
    with pytest.raises(InvalidOption, match=f"^{name}=") as raised:
        Options(**{name: value})
    assert repr(value) in str(raised.value)
    assert "expected" in str(raised.value)


@pytest.mark.parametrize("name", ["preset", "kind", "method", "noise", "kernel_mode", "compile"])
def test_every_choice_is_allowed_and_a_refusal_lists_them(name):
    choices = choices_of(type_of(name))
    assert choices
    for choice in choices:
        assert getattr(Options(**{name: choice}), name) == choice
    with pytest.raises(InvalidOption) as raised:
        Options(**{name: "no such choice"})
    assert all(repr(choice) in str(raised.value) for choice in choices)


def test_rgb_and_channel_axis_exclude_each_other():
    assert Options(channel_axis=-1).channel_axis == -1
    with pytest.raises(InvalidOption, match="use rgb for colours that share one kernel"):
        Options(rgb=True, channel_axis=0)


def test_options_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Options().seed = 1


@pytest.mark.parametrize(
    ("wrong", "near"),
    [
        ("kernelsize", "kernel_size"),
        ("iteration", "iterations"),
        ("chanel_axis", "channel_axis"),
        ("Seed", "seed"),
    ],
)
def test_an_unknown_keyword_is_answered_with_the_nearest(wrong, near):
    with pytest.raises(InvalidOption, match=f"unknown option '{wrong}'; did you mean '{near}'"):
        Options.from_keywords(**{wrong: 1})


def test_keywords_go_on_top_of_the_base():
    base = Options(kernel_size=7, seed=3)
    assert Options.from_keywords(base, seed=4).seed == 4
    assert Options.from_keywords(base, seed=4).kernel_size == 7
    assert base.seed == 3
    assert Options.from_keywords().kernel_size == "auto"
    with pytest.raises(InvalidOption, match="even"):
        Options.from_keywords(base, kernel_size=8)


def test_a_refusal_is_a_value_error_and_no_runtime_error():
    with pytest.raises(VdipError) as raised:
        Options(seed=-1)
    assert isinstance(raised.value, ValueError)
    assert not isinstance(raised.value, RuntimeError)
    assert raised.value.exit_status == 2


def test_each_preset_has_its_constants():
    assert set(PRESETS) == set(get_args(PresetName))
    for preset in PRESETS.values():
        assert set(preset.prefit_steps) == set(get_args(Method))
        fitted = preset.bound_steps + preset.ssim_steps + preset.profile_steps
        assert preset.iterations == fitted + preset.polish_steps > 0
        json.dumps(dataclasses.asdict(preset))  # a report holds them


def test_paper_is_the_published_schedule():
    assert PRESETS["paper"] == Preset(
        channels=128,
        skip_channels=16,
        outer_channels=0,
        levels=5,
        nonlocal_from=3,
        prefit_steps={"sparse": 500, "extreme": 5, "std": 500, "dip": 500},
        bound_steps=2000,
        ssim_steps=3000,
        profile_steps=0,
        climb_steps=0,
        last_climb_steps=0,
        polish_steps=0,
        image_rate=1e-2,
        kernel_rate=1e-4,
        decay="halving",
        centre_weight=0.0,
        bfloat16=False,
    )
    assert PRESETS["paper"].prefit_steps["sparse"] + PRESETS["paper"].iterations == 5500


def test_lists_and_numpy_integers_become_plain():
    import numpy as np

    assert Options(kernel_size=[5, 7]).kernel_size == (5, 7)
    size = Options(kernel_size=np.int64(9), seed=np.uint8(3))
    assert (type(size.kernel_size), type(size.seed)) == (int, int)
