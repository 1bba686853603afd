"""Pixels that lie are found; stars, texture and noise are left alone."""

from __future__ import annotations

import numpy as np
import pytest
from skimage import data

from napari_vdip import deblur, defects
from napari_vdip.samples import load


def star_field(width: float, seed: int = 0, size: int = 128, stars: int = 60) -> np.ndarray:
    """Make counts of stars of all brightnesses; full width of the Gaussian PSF at half maximum in px."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    sigma = width / 2.3548
    field = np.full((size, size), 100.0)
    for _ in range(stars):
        at, peak = rng.uniform(4, size - 4, 2), 10 ** rng.uniform(1.5, 4.5)
        field += peak * np.exp(-((y - at[0]) ** 2 + (x - at[1]) ** 2) / (2 * sigma**2))
    return rng.poisson(field) + rng.normal(0, 5, field.shape)


@pytest.mark.parametrize("width", [1.6, 2.0, 3.0, 5.0])
def test_stars_are_no_cosmic_rays(width: float) -> None:
    marked = sum(defects.find(star_field(width, seed), None).outliers for seed in range(4))
    assert marked <= 1  # of 240 stars


def test_cosmic_rays_and_hot_pixels_among_stars_are_found() -> None:
    field = star_field(3.0, stars=20)
    rng = np.random.default_rng(5)
    hit = np.zeros(field.shape, dtype=bool)
    at = rng.permutation(np.stack(np.mgrid[4:124:8, 4:124:8], -1).reshape(-1, 2))[:20]
    for n, (row, column) in enumerate(at):
        hit[row, column] = True
        hit[row, column + n % 2] = True  # every second one is two pixels wide
    clean = field.copy()
    field[hit] += 3000.0
    found = defects.find(field, None)
    dark = clean[hit] < 400  # on a bright star one cannot tell
    assert (found.mask & hit)[hit][dark].mean() > 0.9
    assert (found.mask & ~hit).sum() <= 1
    assert found.sentences == [
        f"left out as cosmic rays, hot or dead pixels: {found.outliers} pixels "
        f"({100 * found.outliers / field.size:.2g} %); what comes out there follows from the pixels "
        "around them"
    ]


def test_dead_pixel_is_found() -> None:
    field = star_field(3.0, stars=0) + 400
    field[40, 50] = 0.0
    found = defects.find(field, None)
    assert found.outliers == 1
    assert found.mask[40, 50]


@pytest.mark.parametrize("name", ["camera", "moon", "coins", "brick", "grass", "gravel"])
def test_texture_of_photographs_is_left_alone(name: str) -> None:
    image = getattr(data, name)()
    found = defects.find(image, None)
    assert found.outliers < 0.001 * image.size


@pytest.mark.parametrize("name", ["photograph", "microscopy"])
def test_samples_have_no_defects(name: str) -> None:
    found = defects.find(load(name).blurred, None)
    assert (found.saturated, found.outliers, found.sentences) == (0, 0, [])


@pytest.mark.parametrize("light", [0.05, 0.5, 5.0, 500.0])
def test_noise_of_few_photons_is_no_defect(light: float) -> None:
    counts = np.random.default_rng(1).poisson(light, (128, 128)).astype(np.uint16)
    found = defects.find(counts, None)
    assert found.mask.mean() < 0.0005


@pytest.mark.parametrize(
    ("dtype", "top"), [("uint8", 255), ("uint16", 4095), ("uint16", 65535), (">i2", 32767)]
)
def test_saturated_integers_are_found(dtype: str, top: int) -> None:
    field = np.clip(star_field(4.0) * top / 6000, 0, top).astype(dtype)
    full = field == top
    assert 10 < full.sum() < 0.05 * full.size
    found = defects.find(field, None)
    assert found.saturated == full.sum()
    assert (found.mask & full).sum() == full.sum()
    assert f"left out as saturated: {full.sum()} pixels" in found.sentences[0]
    assert f"with the largest value, {top}" in found.sentences[0]


def test_plateau_of_a_camera_with_an_odd_top_is_found() -> None:
    field = np.minimum(star_field(6.0, stars=20), 3333.0).astype(np.float32)
    found = defects.find(field, None)
    assert found.saturated == (field == 3333).sum() > 50
    unsaturated = star_field(6.0, stars=20).astype(np.float32)
    assert defects.find(unsaturated, None).saturated == 0


def test_white_background_is_told_but_kept() -> None:
    page = np.full((64, 64), 255, dtype=np.uint8)
    page[20:40, 10:50] = np.random.default_rng(0).integers(0, 200, (20, 40))
    found = defects.find(page, None)
    assert not found.mask.any()
    assert "too many to be left out" in found.sentences[0]


def test_points_on_a_flat_ground_are_kept() -> None:
    points = np.zeros((64, 64), dtype=np.uint8)
    points[10:13, 30] = 255
    assert not defects.find(points, None).mask.any()


def test_colours_are_looked_at_one_by_one() -> None:
    colours = np.random.default_rng(0).integers(20, 90, (40, 48, 3)).astype(np.uint8)
    colours[5:8, 5:8, 1] = 255
    found = defects.find(colours, None, rgb=True)
    assert found.mask.shape == colours.shape
    np.testing.assert_array_equal(found.mask, colours == 255)
    assert found.sentences[0].startswith("green: left out as saturated: 9 pixels")


def test_masked_and_undefined_pixels_are_not_counted() -> None:
    field = np.minimum(star_field(6.0), 3333.0)
    mask = field == 3333
    assert defects.find(field, mask).saturated == 0
    field[mask] = np.nan
    assert defects.find(field, None).saturated == 0


def test_header_of_other_units_is_not_believed() -> None:
    field = star_field(6.0)
    level = 0.9 * field.max()
    full, told = defects.beyond(field, level)
    assert full.sum() == (field >= level).sum() > 0
    assert "as the header tells" in told
    assert not defects.beyond(field, field.max() / 10)[0].any()
    assert defects.beyond(field, 10 * field.max())[1] == ""


@pytest.mark.usefixtures("small_fit")
def test_fit_leaves_them_out_and_tells_so() -> None:
    field = star_field(4.0, size=48, stars=5)
    field[10, 10] += 1e5
    common = {"kernel_size": 5, "preset": "fast", "iterations": 5, "noise": "poisson"}
    common |= {"threads": 1, "compile": "off"}
    with_it, without = deblur(field, **common), deblur(field, defects=False, **common)
    assert with_it.report["left_out"] == {"saturated": 0, "outliers": 1}
    assert any(text.startswith("left out as cosmic rays") for text in with_it.report["warnings"])
    assert without.report["left_out"] == {"saturated": 0, "outliers": 0}
    assert with_it.image[10, 10] < 5e4  # what comes out there follows from the pixels around it
    masked = field.copy()
    masked[10, 10] = np.nan
    np.testing.assert_array_equal(with_it.image, deblur(masked, **common).image)
