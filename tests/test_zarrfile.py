"""OME-Zarr folders in: axes, sizes and channels, as their two layouts have them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
import zarr

from napari_vdip import cli, files
from napari_vdip.errors import InvalidInput

if TYPE_CHECKING:
    from pathlib import Path

DATA = np.random.default_rng(0).integers(10, 4000, (2, 40, 48)).astype(np.uint16)


def write(path: Path, version: str, **changes: Any) -> Path:
    axes = [
        {"name": "c", "type": "channel"},
        {"name": "y", "type": "space", "unit": "micrometer"},
        {"name": "x", "type": "space", "unit": "micrometer"},
    ]
    scale = [{"type": "scale", "scale": [1.0, 0.2, 0.1]}]
    described: dict[str, Any] = {
        "multiscales": [
            {
                "name": "field 7",
                "axes": axes,
                "datasets": [{"path": "0", "coordinateTransformations": scale}, {"path": "1"}],
            }
        ],
        "omero": {"channels": [{"label": "DAPI"}, {"label": "GFP"}]},
    } | changes
    group = zarr.open_group(str(path), mode="w", zarr_format=2 if version == "0.4" else 3)
    group.create_array("0", data=DATA, chunks=(1, 16, 16))
    group.attrs.update(described if version == "0.4" else {"ome": {"version": version} | described})
    return path


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_axes_sizes_and_channels_come_through_the_shell(tmp_path: Path, version: str) -> None:
    image = files.read(write(tmp_path / "cells.ome.zarr", version))
    np.testing.assert_array_equal(image.data, DATA)
    assert (image.axes, image.channel_axis) == ("CYX", 0)
    assert image.pixel_size == {"Y": (0.2, "µm"), "X": (0.1, "µm")}
    quick = ["--preset", "fast", "--iterations", "3", "--kernel-size", "5", "-q", "--output", str(tmp_path)]
    assert cli.main(["deblur", str(tmp_path / "cells.ome.zarr"), *quick]) == 0
    out = files.read(tmp_path / "cells_deblurred.tif")
    assert (out.kind, out.axes, out.pixel_size) == ("ome", "CYX", image.pixel_size)
    with tifffile.TiffFile(tmp_path / "cells_deblurred.tif") as tiff:
        assert 'Name="GFP"' in tiff.ome_metadata


def test_folder_without_an_image_is_told(tmp_path: Path) -> None:
    zarr.open_group(str(tmp_path / "plate.zarr"), mode="w").create_group("A1")
    with pytest.raises(InvalidInput, match=r"has no 'multiscales' .* inside are A1"):
        files.read(tmp_path / "plate.zarr")


def test_wrong_axes_are_told(tmp_path: Path) -> None:
    path = write(tmp_path / "x.zarr", "0.5", multiscales=[{"axes": ["y", "x"], "datasets": [{"path": "0"}]}])
    with pytest.raises(InvalidInput, match="names 2 axes, but its image has shape"):
        files.read(path)


def test_damage_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "x.zarr", "0.5")
    (path / "0" / "zarr.json").write_text("{")
    with pytest.raises(InvalidInput, match=r"x\.zarr is damaged"):
        files.read(path)


def test_without_zarr_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "x.zarr", "0.5")
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(InvalidInput, match=r'pip install "napari-vdip\[zarr\]"'):
        files.read(path)
