"""A FITS frame opened in the viewer is a layer that knows its pixel size and its header."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from astropy.io import fits

from napari_vdip.errors import InvalidInput

if TYPE_CHECKING:
    from pathlib import Path

ARCSEC = 0.25


@pytest.fixture
def frame(tmp_path: Path) -> Path:
    path = tmp_path / "field.fits"
    sky = fits.ImageHDU(np.arange(48.0, dtype=">f4").reshape(6, 8) - 9, name="SCI")
    scale = ARCSEC / 3600
    sky.header.update({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CDELT1": -scale, "CDELT2": scale})
    sky.header["OBJECT"] = "M 13"
    fits.HDUList([fits.PrimaryHDU(), sky]).writeto(path)
    return path


def test_frame_is_opened_in_the_viewer(make_napari_viewer, frame: Path) -> None:
    viewer = make_napari_viewer()
    (layer,) = viewer.open(str(frame), plugin="napari-vdip")
    assert layer.name == "field"
    np.testing.assert_array_equal(layer.data, np.arange(48.0).reshape(6, 8) - 9)
    np.testing.assert_allclose(layer.scale, [ARCSEC, ARCSEC])
    assert [str(unit) for unit in layer.units] == ["arcsecond", "arcsecond"]
    assert "M 13" in layer.metadata["header"]


def test_frame_without_coordinates_has_pixels(make_napari_viewer, tmp_path: Path) -> None:
    fits.writeto(tmp_path / "plain.fits", np.ones((3, 6, 8), dtype=">i2"))
    viewer = make_napari_viewer()
    (layer,) = viewer.open(str(tmp_path / "plain.fits"), plugin="napari-vdip")
    assert layer.data.shape == (3, 6, 8)
    np.testing.assert_allclose(layer.scale, [1, 1, 1])


def test_damaged_frame_is_told(make_napari_viewer, frame: Path) -> None:
    frame.write_bytes(frame.read_bytes()[:3000])
    with pytest.raises(InvalidInput, match=r"field\.fits"):
        make_napari_viewer().open(str(frame), plugin="napari-vdip")
