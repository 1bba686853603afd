"""Odd surroundings and odd arguments: what users have, and what no caller should be able to break."""

from __future__ import annotations

import locale
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_vdip import Options, deblur
from napari_vdip.errors import OutOfMemory, VdipError
from napari_vdip.files import read, read_kernel, read_mask
from napari_vdip.recipe import Origin, Recipe

if TYPE_CHECKING:
    from pathlib import Path

IMAGE = np.random.default_rng(2).integers(0, 255, (40, 48), dtype=np.uint8)
COMMAND = [sys.executable, "-m", "napari_vdip.cli"]
QUICK = ["--kernel-size", "5", "--preset", "fast", "--iterations", "2", "--threads", "1", "--compile", "off"]
QUICK += ["--kernel-draws", "0"]
HEADS = [b"", b"II*\0", b"MM\0*", b"II+\0", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"PK\x03\x04"]
ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.binary(max_size=8),
    st.lists(st.integers(-3, 40), max_size=3),
    st.tuples(st.integers(-3, 40), st.integers(-3, 40)),
    st.builds(object),
    st.sampled_from([np.int64(5), np.float32(5), np.zeros((3, 3)), np.ones((5, 5)), "auto", {}, [[]]]),
)
NAMES = [
    "kernel_size",
    "preset",
    "kind",
    "method",
    "noise",
    "kernel",
    "kernel_fixed",
    "kernel_mode",
    "device",
]
NAMES += ["compile", "seed", "iterations", "threads", "mask", "rgb", "channel_axis"]


@settings(max_examples=300, deadline=None)
@given(name=st.sampled_from(NAMES), value=ANYTHING)
def test_an_option_is_taken_or_refused_in_words(name, value):
    try:
        Options.from_keywords(**{name: value})
    except VdipError as error:
        assert name in str(error)


@settings(max_examples=60, deadline=None)
@given(
    image=ANYTHING, name=st.sampled_from(["kernel", "mask", "rgb", "channel_axis", "device"]), value=ANYTHING
)
def test_deblur_says_in_words_what_it_cannot_use(image, name, value):
    """None of these is an image of 8 px or more, so nothing is fitted."""
    with pytest.raises(VdipError) as caught:
        deblur(image, preset="fast", iterations=1, threads=1, compile="off", **{name: value})
    assert str(caught.value)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    head=st.sampled_from(HEADS),
    body=st.binary(max_size=400),
    reader=st.sampled_from([read, read_kernel, read_mask]),
)
def test_a_reader_reads_or_says_why_not(head, body, reader, tmp_path):
    path = tmp_path / "file.tif"
    path.write_bytes(head + body)
    try:
        reader(path)
    except VdipError as error:
        assert "file.tif" in str(error)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.floats(0, 1, exclude_max=True), by=st.integers(1, 255), cut=st.booleans())
def test_a_damaged_tiff_is_read_or_told(at, by, cut, tmp_path):
    path = tmp_path / "file.tif"
    tifffile.imwrite(path, IMAGE, compression="zlib")
    content = bytearray(path.read_bytes())
    place = int(at * len(content))
    if cut:
        del content[place:]
    else:  # not in the first bytes: they tell the size, which could then fill the memory of the tests
        content[max(place, len(content) // 2)] ^= by
    path.write_bytes(content)
    try:
        read(path)
    except VdipError as error:
        assert "file.tif" in str(error)


def test_a_size_that_cannot_be_is_told(tmp_path, monkeypatch):
    """Found by changing a byte of the width: an array of 24 GiB was asked for."""

    def huge(_path, _lazy):
        raise MemoryError("Unable to allocate 23.8 GiB")

    monkeypatch.setattr("napari_vdip.files.read_tiff", huge)
    path = tmp_path / "file.tif"
    tifffile.imwrite(path, IMAGE)
    with pytest.raises(
        OutOfMemory, match=r"file\.tif does not fit into memory, or it is damaged: .*23\.8 GiB"
    ):
        read(path)


@settings(max_examples=100, deadline=None)
@given(layer=st.text(max_size=12), path=st.none() | st.text(max_size=12), cut=st.booleans())
def test_a_recipe_of_any_name_is_python(layer, path, cut):
    origin = Origin(layer, path, index=(slice(0, 3), slice(None)) if cut else ())
    recipe = Recipe(Options(preset="fast", kernel_size=(5, 7)), origin)
    compile(recipe.as_python(), "recipe", "exec")
    assert "deblur" in recipe.as_command()


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, IMAGE)
    return path


def deblurred(image: Path, **surroundings: str) -> np.ndarray:
    """Run the command in other surroundings; what it wrote."""
    out = image.parent / "out"
    done = subprocess.run(
        [*COMMAND, "deblur", str(image), "--output", str(out), *QUICK],
        env={**os.environ, **surroundings},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert np.isfinite(tifffile.imread(out / "image_deblurred.tif")).all()
    return tifffile.imread(out / "image_deblurred.tif")


def test_without_a_display_and_with_a_home_that_cannot_be_written_to(image, tmp_path, monkeypatch):
    """As on a node of a cluster; root may write anywhere, so the home is a file, not a folder."""
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    home = tmp_path / "home"
    home.touch()
    deblurred(image, HOME=str(home), XDG_CONFIG_HOME=str(home / "config"), XDG_CACHE_HOME=str(home / "cache"))


@pytest.fixture
def decimal_commas(tmp_path, monkeypatch):
    """Give this process a locale that writes 1,5: an installed one, or one made for the test."""
    before = locale.setlocale(locale.LC_NUMERIC)
    if shutil.which("localedef"):
        made = tmp_path / "de_DE.UTF-8"
        subprocess.run(["localedef", "-i", "de_DE", "-f", "UTF-8", made], check=False, capture_output=True)
        if made.exists():
            monkeypatch.setenv("LOCPATH", str(tmp_path))
    for name in ("de_DE.UTF-8", "fr_FR.UTF-8", "de_DE", "German_Germany.1252"):
        try:
            locale.setlocale(locale.LC_NUMERIC, name)
        except locale.Error:
            continue
        assert locale.str(1.5) == "1,5"
        yield
        locale.setlocale(locale.LC_NUMERIC, before)
        return
    pytest.skip("no locale with decimal commas can be had; Debian: apt-get install locales")


@pytest.mark.usefixtures("small_fit")
def test_a_locale_with_decimal_commas_changes_nothing(image, decimal_commas):
    options = {"kernel_size": 5, "preset": "fast", "iterations": 2, "threads": 1, "compile": "off"}
    found = deblur(IMAGE, **options)
    recipe = Recipe(Options(kernel_size=5, preset="fast"), Origin("a", str(image)))
    assert "kernel_size=5" in recipe.as_python()
    assert "1.5" in Recipe(Options(pixel_size=1.5), Origin("a", str(image))).as_command()
    locale.setlocale(locale.LC_NUMERIC, "C")
    np.testing.assert_array_equal(found.image, deblur(IMAGE, **options).image)
