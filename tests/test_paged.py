"""Stacks that stay in their files: a part is what a whole reading gives, and nothing else is read."""

from __future__ import annotations

import pickle
import tracemalloc
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

from napari_vdip import files
from napari_vdip.paged import PagedStack

if TYPE_CHECKING:
    from pathlib import Path

RANDOM = np.random.default_rng(0)


def stack(*shape: int, dtype: str = "uint16") -> np.ndarray:
    return RANDOM.integers(0, 250, shape).astype(dtype)


@pytest.mark.parametrize(
    ("shape", "keywords"),
    [
        ((5, 8, 9), {"metadata": {"axes": "ZYX"}}),
        ((5, 8, 9), {"imagej": True, "metadata": {"axes": "ZYX"}}),
        ((2, 3, 8, 9), {"imagej": True, "metadata": {"axes": "TZYX"}}),
        ((2, 3, 8, 9), {"ome": True, "metadata": {"axes": "CZYX"}}),
        ((5, 8, 9), {"metadata": {"axes": "ZYX"}, "byteorder": ">"}),
        ((5, 8, 9), {"metadata": {"axes": "ZYX"}, "compression": "zlib"}),
        ((5, 8, 9), {"metadata": None, "contiguous": False}),
        ((5, 8, 9), {"metadata": {"axes": "ZYX"}, "bigtiff": True}),
    ],
)
def test_a_lazy_stack_equals_the_whole_one(
    tmp_path: Path, shape: tuple[int, ...], keywords: dict[str, Any]
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", stack(*shape), photometric="minisblack", **keywords)
    whole, lazy = files.read(tmp_path / "a.tif"), files.read(tmp_path / "a.tif", lazy=True)
    assert isinstance(lazy.data, PagedStack)
    assert (lazy.axes, lazy.rgb, lazy.kind, lazy.pixel_size) == (
        whole.axes,
        whole.rgb,
        whole.kind,
        whole.pixel_size,
    )
    assert (lazy.data.shape, lazy.data.ndim, lazy.data.nbytes) == (
        whole.data.shape,
        whole.data.ndim,
        whole.data.nbytes,
    )
    np.testing.assert_array_equal(np.asarray(lazy.data), whole.data)
    for index in [(-1,), (1,), (slice(1, None), slice(2, 5)), (0, slice(None), slice(3, 4))]:
        if len(index) <= len(shape):
            np.testing.assert_array_equal(lazy.data[index], whole.data[index])


def test_colours_stay_in_the_file_too(tmp_path: Path) -> None:
    colours = stack(4, 8, 9, 3, dtype="uint8")
    tifffile.imwrite(tmp_path / "a.tif", colours, photometric="rgb", metadata={"axes": "ZYXS"})
    lazy = files.read(tmp_path / "a.tif", lazy=True)
    assert isinstance(lazy.data, PagedStack)
    assert lazy.rgb
    np.testing.assert_array_equal(lazy.data[2], colours[2])


@pytest.mark.parametrize(
    ("shape", "keywords"),
    [
        ((8, 9), {}),
        ((8, 9, 3), {"photometric": "rgb"}),
        ((3, 8, 9), {"photometric": "rgb", "planarconfig": "separate"}),
        ((4, 8, 9), {"dtype": bool}),
    ],
)
def test_what_has_to_be_rearranged_is_read_at_once(
    tmp_path: Path, shape: tuple[int, ...], keywords: dict[str, Any]
) -> None:
    data = stack(*shape, dtype="uint8").astype(keywords.pop("dtype", "uint8"))
    tifffile.imwrite(tmp_path / "a.tif", data, **{"photometric": "minisblack", **keywords})
    lazy = files.read(tmp_path / "a.tif", lazy=True)
    assert isinstance(lazy.data, np.ndarray)
    np.testing.assert_array_equal(lazy.data, files.read(tmp_path / "a.tif").data)


def test_it_can_be_sent_to_another_process_and_holds_no_file(tmp_path: Path) -> None:
    data = stack(3, 8, 9)
    tifffile.imwrite(tmp_path / "a.tif", data, photometric="minisblack")
    lazy = files.read(tmp_path / "a.tif", lazy=True).data
    (tmp_path / "a.tif").rename(tmp_path / "b.tif")  # Windows would refuse an open file
    (tmp_path / "b.tif").rename(tmp_path / "a.tif")
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(lazy))[1], data[1])


def test_a_plane_costs_the_memory_of_a_plane(tmp_path: Path) -> None:
    data = stack(40, 256, 256)
    tifffile.imwrite(tmp_path / "a.tif", data, photometric="minisblack")
    del data
    tracemalloc.start()
    try:
        lazy = files.read(tmp_path / "a.tif", lazy=True).data
        lazy[7]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 6 * 256 * 256 * 2


def test_planes_one_by_one_give_the_bytes_of_the_whole(tmp_path: Path) -> None:
    for name, keywords in {
        "ome": {"ome": True, "metadata": {"axes": "ZYX", "PhysicalSizeX": 0.1}},
        "imagej": {"imagej": True, "metadata": {"axes": "ZYX", "unit": "um", "spacing": 0.5}},
        "tiff": {"metadata": {"axes": "ZYX"}},
    }.items():
        path = tmp_path / f"{name}.tif"
        tifffile.imwrite(path, stack(3, 8, 9), photometric="minisblack", **keywords)
        like = files.read(path, lazy=True)
        result = RANDOM.random((3, 8, 9), dtype=np.float32)
        (tmp_path / "1").mkdir(exist_ok=True)
        (tmp_path / "2").mkdir(exist_ok=True)
        one, two = tmp_path / "1" / path.name, tmp_path / "2" / path.name
        files.write(one, result, like, "who")
        files.write_planes(two, iter(result), result.shape, like, "who")
        assert one.read_bytes() == two.read_bytes(), name
        np.testing.assert_array_equal(files.read(one).data, result)
        assert files.read(one).pixel_size == like.pixel_size


def test_another_result_of_the_same_name_is_another_ome_tiff(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.ome.tif", stack(3, 8, 9), ome=True, metadata={"axes": "ZYX"})
    like = files.read(tmp_path / "a.ome.tif")
    names = []
    for identity in ("seed 0", "seed 1", "seed 0"):
        files.write(tmp_path / "b.tif", like.data, like, identity)
        with tifffile.TiffFile(tmp_path / "b.tif") as file:
            names.append(file.ome_metadata.split('UUID="')[1].split('"')[0])
    assert names[0] == names[2] != names[1]


@pytest.mark.parametrize(("limit", "big"), [(3 * 8 * 9 * 4, False), (3 * 8 * 9 * 4 - 1, True)])
def test_what_is_too_large_for_a_tiff_is_a_bigtiff(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, big: bool
) -> None:
    """With a limit of a few hundred bytes in the place of 4 GiB."""
    monkeypatch.setattr(files, "_TIFF_LIMIT", limit)
    result = RANDOM.random((3, 8, 9), dtype=np.float32)
    files.write_planes(tmp_path / "a.tif", iter(result), result.shape)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.is_bigtiff == big
    np.testing.assert_array_equal(files.read(tmp_path / "a.tif").data, result)
