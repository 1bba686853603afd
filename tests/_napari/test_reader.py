"""A FITS frame or an OME-Zarr image opened in the viewer is a layer that knows its sizes and its header."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from astropy.io import fits

from napari_vdip import cli
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


def test_what_the_shell_writes_as_ome_zarr_is_opened(make_napari_viewer, tmp_path: Path) -> None:
    metadata = {"axes": "CZYX", "PhysicalSizeZ": 0.5, "PhysicalSizeY": 0.2, "PhysicalSizeX": 0.1}
    blocks = np.random.default_rng(1).integers(0, 200, (2, 2, 10, 12)).repeat(4, -1).repeat(4, -2)
    tifffile.imwrite(tmp_path / "cells.tif", blocks.astype("u1"), ome=True, metadata=metadata)
    words = ["deblur", str(tmp_path / "cells.tif"), "--format", "ome-zarr", "-q", "-o", str(tmp_path)]
    words += ["--kernel-size", "5", "--preset", "fast", "--iterations", "2", "--threads", "1"]
    assert cli.main(words) == 0
    viewer = make_napari_viewer()
    (layer,) = viewer.open(str(tmp_path / "cells_deblurred.ome.zarr"), plugin="napari-vdip")
    assert layer.name == "cells_deblurred"
    assert layer.data.shape == (2, 2, 40, 48)
    assert layer.axis_labels == ("c", "z", "y", "x")
    np.testing.assert_allclose(layer.scale, [1, 0.5, 0.2, 0.1])
    assert [str(unit) for unit in layer.units] == ["pixel", *["micrometer"] * 3]
    assert np.isfinite(np.asarray(layer.data)).all()
