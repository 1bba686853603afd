"""What is a slice and what a channel, in words."""

from __future__ import annotations

import pytest

from napari_vdip.errors import InvalidInput
from napari_vdip.layout import describe


@pytest.mark.parametrize(
    ("shape", "keywords", "words"),
    [
        ((512, 512), {}, "One image of 512 x 512 px."),
        ((12, 512, 480), {}, "12 slices of 512 x 480 px, each on its own."),
        ((1, 512, 512), {}, "1 slice of 512 x 512 px, on its own."),
        ((2, 64, 48), {"channel_axis": 0}, "2 channels of 64 x 48 px, each on its own."),
        ((64, 48, 2), {"channel_axis": -1}, "2 channels of 64 x 48 px, each on its own."),
        (
            (2, 12, 64, 48),
            {"channel_axis": 0, "labels": ("c", "z", "y", "x")},
            "12 slices of 64 x 48 px in 2 channels: 24 images, each on its own.",
        ),
        (
            (5, 12, 64, 48),
            {"labels": ("t", "z", "y", "x")},
            "60 slices (5 t x 12 z) of 64 x 48 px, each on its own.",
        ),
        ((5, 12, 64, 48), {"labels": ("-4", "-3", "-2", "-1")}, "60 slices of 64 x 48 px, each on its own."),
        (
            (64, 48, 3),
            {"rgb": True, "labels": ("y", "x")},
            "One image of 64 x 48 px in colour; its colours share one kernel.",
        ),
        (
            (7, 64, 48, 4),
            {"rgb": True},
            "7 slices of 64 x 48 px in colour, each on its own; its colours share one kernel.",
        ),
        ((2000, 8, 8), {}, "2,000 slices of 8 x 8 px, each on its own."),
    ],
)
def test_a_shape_in_words(shape, keywords, words):
    assert describe(shape, **keywords) == words


def test_too_few_axes_are_told():
    with pytest.raises(InvalidInput, match="expected at least 3 axes"):
        describe((64, 48), channel_axis=0)
