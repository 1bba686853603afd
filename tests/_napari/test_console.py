"""`deblur_layer`, and the page about napari's console, run in napari's console."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from napari.layers import Image, Labels, Layer

import napari_vdip
from napari_vdip import deblur, deblur_layer
from napari_vdip.errors import InvalidInput, InvalidOption

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "console.md"
QUICK = {
    "kernel_size": 5,
    "preset": "fast",
    "iterations": 3,
    "threads": 1,
    "compile": "off",
    "kernel_draws": 0,
}

# What is tested here does not depend on how good a fit is.
pytestmark = pytest.mark.usefixtures("small_fits")

# A viewer with its console open, in which each block of the page is typed in turn.
SESSION = """
import dataclasses
import sys
import warnings

import napari
from napari_vdip import options

quick = {"prefit_steps": {"sparse": 1}, "profile_steps": 2, "climb_steps": 0, "last_climb_steps": 0}
quick |= {"channels": 8, "skip_channels": 4}
options.PRESETS["fast"] = dataclasses.replace(options.PRESETS["fast"], **quick)
viewer = napari.Viewer(show=True)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # ipykernel about itself
    viewer.window._qt_viewer.toggle_console_visibility()
console = viewer.window._qt_viewer.console
assert console.shell is not None
for block in sys.argv[1:]:
    done = console.shell.run_cell(block)
    if not done.success:
        raise SystemExit(f"{block}: {done.error_in_exec!r}")
print("layers:", ", ".join(layer.name for layer in viewer.layers))
viewer.close()
"""


@pytest.fixture
def picture():
    return np.random.default_rng(0).integers(100, 4000, (40, 48), dtype=np.uint16)


def test_every_block_of_the_page_runs_in_the_console():
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) == 3
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SESSION), *blocks], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    layers = re.search("layers: (.*)", done.stdout).group(1).split(", ")
    assert {"photograph deblurred", "photograph kernel", "photograph uncertainty"} < set(layers)
    assert layers[-2:] == ["stack", "part deblurred"]


def test_the_layers_lie_where_the_image_lies(picture):
    source = Image(picture, name="cells", scale=(0.5, 0.25), rotate=30, units="um", axis_labels=("y", "x"))
    made = [Layer.create(*data) for data in deblur_layer(source, **QUICK)]
    assert [layer.name for layer in made] == ["cells deblurred", "cells kernel", "cells uncertainty"]
    image, _, uncertainty = made
    for layer in (image, uncertainty):
        np.testing.assert_array_equal(layer.scale, source.scale)
        np.testing.assert_array_equal(layer.rotate, source.rotate)
        assert (layer.units, layer.axis_labels) == (source.units, source.axis_labels)
    np.testing.assert_array_equal(image.data, deblur(picture, **QUICK).image)


def test_layer_data_do_as_well(picture):
    (image, keywords, kind), *_ = deblur_layer(
        (picture, {"name": "cells", "scale": (2, 3)}, "image"), **QUICK
    )
    assert (kind, keywords["name"]) == ("image", "cells deblurred")
    np.testing.assert_array_equal(keywords["scale"], (2, 3))
    np.testing.assert_array_equal(image, deblur(picture, **QUICK).image)


def test_colours_and_channels_are_known_from_the_layer(picture):
    colours = Image(np.stack([picture // 16] * 3, -1).astype(np.uint8), rgb=True, name="photo")
    (image, keywords, _), (kernel, _, _), _ = deblur_layer(colours, **QUICK)
    assert (image.shape, keywords["rgb"], kernel.shape) == ((40, 48, 3), True, (5, 5))
    channels = Image(np.stack([picture, picture[::-1]], -1), rgb=False, axis_labels=("y", "x", "c"))
    (image, _, _), (kernel, _, _), _ = deblur_layer(channels, **QUICK)
    assert (image.shape, kernel.shape) == ((40, 48, 2), (5, 5, 2))


def test_of_a_multiscale_layer_the_finest_level_is_taken(picture):
    pyramid = Image([picture, picture[::2, ::2]], multiscale=True, name="pyramid")
    assert deblur_layer(pyramid, **QUICK)[0][0].shape == (40, 48)


def test_kernel_and_mask_may_be_layers(picture):
    psf, spots = np.outer([1, 2, 1], [1, 2, 1]).astype(float), np.eye(40, 48, dtype=int)
    quick = QUICK | {"kernel_size": "auto"}
    by_layers = deblur_layer(Image(picture), kernel=Image(psf), mask=Labels(spots), **quick)
    by_arrays = deblur(picture, kernel=psf, mask=spots != 0, **quick)
    np.testing.assert_array_equal(by_layers[0][0], by_arrays.image)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (Labels(np.zeros((40, 48), int), name="spots"), "Labels 'spots' was given; expected an image layer"),
        (np.zeros((40, 48)), "an array was given"),
        ("cells", "str '' was given"),
    ],
    ids=["labels", "array", "name"],
)
def test_what_is_no_image_layer_is_refused(given, text):
    with pytest.raises(InvalidInput, match=text):
        deblur_layer(given)


def test_an_unknown_option_is_answered_with_the_nearest(picture):
    with pytest.raises(InvalidOption, match="did you mean 'kernel_size'"):
        deblur_layer(Image(picture), kernelsize=5)


def test_it_needs_no_qt():
    code = (
        "import numpy as np, sys\n"
        "from napari_vdip import deblur_layer\n"
        "image = np.random.default_rng(0).random((24, 24))\n"
        "deblur_layer((image, {}, 'image'), kernel_size=3, iterations=1, threads=1, compile='off')\n"
        "print({'PyQt6', 'PySide6', 'qtpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
    assert "deblur_layer" in napari_vdip.__all__
