"""OME-Zarr out: what a user gets, what is seen on the way, and what a kill or a full disk leaves."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
import zarr

from napari_vdip import cli, files, zarrout
from napari_vdip.errors import InvalidInput
from napari_vdip.jobs import growing

if TYPE_CHECKING:
    from pathlib import Path

QUICK = ["--kernel-size", "5", "--preset", "fast", "--iterations", "3", "--threads", "1", "--compile", "off"]
QUICK += ["--kernel-draws", "0"]
NAMES = ["deblurred", "kernel", "uncertainty"]


def scene(*shape: int) -> np.ndarray:
    blocks = np.random.default_rng(1).integers(0, 200, (*shape[:-2], shape[-2] // 4, shape[-1] // 4))
    return blocks.repeat(4, -2).repeat(4, -1).astype("u1")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder with a stack of two slices in two channels, and go there."""
    metadata: dict[str, Any] = {"axes": "ZCYX", "Channel": {"Name": ["DAPI", "GFP"]}}
    metadata |= {"PhysicalSizeZ": 0.5, "PhysicalSizeY": 0.2, "PhysicalSizeX": 0.1}
    tifffile.imwrite(tmp_path / "stack.tif", scene(2, 2, 40, 48), ome=True, metadata=metadata)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def deblur(*words: str) -> int:
    return cli.main(["deblur", *words, *QUICK, "--format", "ome-zarr", "-q"])


@pytest.mark.usefixtures("small_fit")
def test_what_is_written_is_what_tiff_would_hold_with_sizes_and_channels(folder: Path) -> None:
    assert deblur("stack.tif", "-o", "out") == 0
    assert cli.main(["deblur", "stack.tif", *QUICK, "-q", "-o", "tiff"]) == 0
    for name in NAMES:
        told = files.read(folder / "out" / f"stack_{name}.ome.zarr")
        expected = files.read(folder / "tiff" / f"stack_{name}.tif")
        assert told.axes == "CZYX"  # the order that OME-Zarr asks for
        np.testing.assert_array_equal(told.data, expected.data.swapaxes(0, 1))
        assert told.data.dtype == np.float32
        assert told.pixel_size == {"Z": (0.5, "µm"), "Y": (0.2, "µm"), "X": (0.1, "µm")}
        assert told.metadata["Channel"] == {"Name": ["DAPI", "GFP"]}
    reports = [json.loads((folder / name / "stack_report.json").read_text()) for name in ("out", "tiff")]
    assert set(reports[0]["job"]["files"]) == {f"stack_{name}.ome.zarr" for name in NAMES}
    assert reports[0]["kernel_size"] == reports[1]["kernel_size"]
    assert sorted(path.name for path in (folder / "out").iterdir()) == sorted(
        ["stack_report.json", *(f"stack_{name}.ome.zarr" for name in NAMES)]
    )


@pytest.mark.usefixtures("small_fit")
def test_its_attributes_are_those_of_ome_zarr(folder: Path) -> None:
    assert deblur("stack.tif", "-o", "out") == 0
    group = zarr.open_group(str(folder / "out" / "stack_deblurred.ome.zarr"), mode="r")
    told: Any = group.attrs["ome"]
    (image,) = told["multiscales"]
    assert [(axis["name"], axis["type"]) for axis in image["axes"]] == [
        ("c", "channel"),
        ("z", "space"),
        ("y", "space"),
        ("x", "space"),
    ]
    assert [axis.get("unit") for axis in image["axes"]] == [None, *["micrometer"] * 3]
    for channel in told["omero"]["channels"]:
        window = channel["window"]
        assert window["min"] <= window["start"] < window["end"] <= window["max"]
    assert group["0"].metadata.dimension_names == ("c", "z", "y", "x")
    assert group["0"].chunks == (1, 1, 40, 48)
    assert group.attrs["napari-vdip"] == {"complete": True}


@pytest.mark.parametrize(
    ("letters", "names"),
    [
        ("YX", ("y", "x")),
        ("IYX", ("z", "y", "x")),
        ("TZCYX", ("t", "z", "c", "y", "x")),
        ("QZYX", ("q", "z", "y", "x")),
        ("ZYXS", ("z", "y", "x", "c")),
    ],
)
def test_axes_are_named_as_ome_does(letters: str, names: tuple[str, ...]) -> None:
    assert zarrout.axis_names(letters) == names


@pytest.mark.parametrize("letters", ["QRZYX", "QZCYX", "CYXS", "RTZCYX"])
def test_axes_without_a_place_are_told_before_anything_is_computed(letters: str) -> None:
    with pytest.raises(InvalidInput, match=rf"{letters} do not fit into OME-Zarr.*--format tiff"):
        zarrout.axis_names(letters)


@pytest.mark.usefixtures("small_fit")
def test_colours_are_channels_with_their_names(folder: Path) -> None:
    tifffile.imwrite(folder / "rgb.tif", np.stack([scene(40, 48)] * 3, -1), photometric="rgb")
    assert deblur("rgb.tif", "-o", "out") == 0
    told = files.read(folder / "out" / "rgb_deblurred.ome.zarr")
    assert (told.axes, told.data.shape) == ("CYX", (3, 40, 48))
    assert told.metadata["Channel"] == {"Name": ["red", "green", "blue"]}
    assert files.read(folder / "out" / "rgb_kernel.ome.zarr").data.shape == (5, 5)
    assert cli.main(["deblur", "rgb.tif", *QUICK, "-q", "-o", "tiff"]) == 0
    np.testing.assert_array_equal(
        told.data, np.moveaxis(files.read(folder / "tiff" / "rgb_deblurred.tif").data, -1, 0)
    )


@pytest.mark.usefixtures("small_fit")
def test_slices_are_there_as_they_come(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looked at from outside while the run goes on: what is done, NaN, and the word that it goes on."""
    seen: list[int] = []
    caught_up = growing.Growing.catch_up

    def looked(self: growing.Growing) -> None:
        caught_up(self)
        path = folder / "out" / "stack_job" / "stack_deblurred.ome.zarr"
        if path.exists():
            image = files.read(path)
            seen.append(int(np.isfinite(image.data).all((-2, -1)).sum()))
            assert zarr.open_group(str(path), mode="r").attrs["napari-vdip"] == {"complete": False}
            assert not (folder / "out" / "stack_deblurred.ome.zarr").exists()

    monkeypatch.setattr(growing.Growing, "catch_up", looked)
    assert deblur("stack.tif", "-o", "out") == 0
    assert seen == sorted(seen)
    assert {1, 2, 3} <= set(seen)


def test_a_killed_run_leaves_nothing_at_the_place_of_a_result_and_goes_on(folder: Path) -> None:
    words = [sys.executable, "-m", "napari_vdip.cli", "deblur", "stack.tif", *QUICK, "-q"]
    words += ["--format", "ome-zarr", "-o", "killed", "--resume"]
    process = subprocess.Popen(words)
    job = folder / "killed" / "stack_job"
    until = time.monotonic() + 100
    while len(list(job.glob("unit_*.npz"))) < 2 and time.monotonic() < until:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert len(list(job.glob("unit_*.npz"))) in (2, 3)
    assert [path.name for path in (folder / "killed").iterdir()] == ["stack_job"]
    # what the kill may have left half written
    for path in (job / "stack_deblurred.ome.zarr" / "0" / "c").rglob("*"):
        if path.is_file():
            path.write_bytes(b"half")
    assert deblur("stack.tif", "-o", "killed", "--resume") == 0
    assert deblur("stack.tif", "-o", "alone") == 0
    for name in NAMES:
        one, two = (folder / run / f"stack_{name}.ome.zarr" for run in ("killed", "alone"))
        parts = [
            {p.relative_to(at): p.read_bytes() for p in at.rglob("*") if p.is_file()} for at in (one, two)
        ]
        assert parts[0] == parts[1]
    assert not job.exists()
    assert deblur("stack.tif", "-o", "killed", "--resume") == 0  # all is done: checksums of folders hold


@pytest.mark.usefixtures("small_fit")
def test_a_full_disk_is_told_and_the_resumed_run_completes(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = zarrout.ZarrImage.put
    count = 0

    def full(self: zarrout.ZarrImage, index: Any, plane: Any) -> None:
        nonlocal count
        count += 1
        if count > 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        whole(self, index, plane)

    monkeypatch.setattr(zarrout.ZarrImage, "put", full)
    assert deblur("stack.tif", "-o", "out") == 2
    said = capsys.readouterr().err
    assert "No space left" in said
    assert "--resume" in said
    assert [path.name for path in (folder / "out").iterdir()] == ["stack_job"]
    monkeypatch.setattr(zarrout.ZarrImage, "put", whole)
    assert deblur("stack.tif", "-o", "out", "--resume") == 0
    assert np.isfinite(files.read(folder / "out" / "stack_deblurred.ome.zarr").data).all()


@pytest.mark.usefixtures("small_fit")
def test_a_real_full_disk(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = tmp_path / "small"
    small.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=120k", "tmpfs", str(small)]
    if shutil.which("mount") is None or subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("no small file system can be mounted here; root on Linux can")
    try:
        assert deblur("stack.tif", "-o", str(small)) == 2
        said = capsys.readouterr().err
        assert "No space left" in said
        assert "--resume" in said
        assert [path.name for path in small.iterdir()] == ["stack_job"]
        subprocess.run(["mount", "-o", "remount,size=4m", str(small)], check=True)
        assert deblur("stack.tif", "-o", str(small), "--resume") == 0
        assert np.isfinite(files.read(small / "stack_deblurred.ome.zarr").data).all()
    finally:
        subprocess.run(["umount", str(small)], check=True)


@pytest.mark.usefixtures("small_fit")
def test_a_result_of_before_is_replaced(folder: Path) -> None:
    assert deblur("stack.tif", "-o", "out") == 0
    before = files.read(folder / "out" / "stack_deblurred.ome.zarr").data
    assert deblur("stack.tif", "--seed", "3", "-o", "out") == 0
    after = files.read(folder / "out" / "stack_deblurred.ome.zarr").data
    assert not np.array_equal(before, after)
    assert len(list((folder / "out").iterdir())) == 4


@pytest.mark.usefixtures("small_fit")
def test_ome_zarr_in_is_read_slice_by_slice_and_comes_out(folder: Path) -> None:
    assert deblur("stack.tif", "-o", "one") == 0
    path = folder / "one" / "stack_deblurred.ome.zarr"
    lazy = files.read(path, lazy=True)
    assert isinstance(lazy.data, zarr.Array)
    assert deblur(str(path), "-o", "two") == 0
    again = files.read(folder / "two" / "stack_deblurred_deblurred.ome.zarr")
    assert again.pixel_size == lazy.pixel_size
    assert np.isfinite(again.data).all()


@pytest.mark.usefixtures("small_fit")
def test_an_output_that_looks_like_a_zarr_folder_is_told(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["deblur", "stack.tif", *QUICK, "-o", "out.ome.zarr"]) == 2
    assert "give --format ome-zarr" in capsys.readouterr().err


@pytest.mark.usefixtures("small_fit")
def test_without_zarr_it_is_told_before_anything_is_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "zarr", None)
    assert deblur("stack.tif", "-o", "out") == 2
    assert 'pip install "napari-vdip[zarr]"' in capsys.readouterr().err
    assert not (folder / "out").exists()
