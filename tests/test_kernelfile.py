"""Kernels that go to a file and come back, on the command line too."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile

from napari_vdip import cli, kernelfile
from napari_vdip.errors import InvalidInput
from napari_vdip.psf import PixelSize


@pytest.fixture
def kernel():
    return np.outer([1, 2, 4, 2, 1], [1, 3, 5, 7, 5, 3, 1]).astype(np.float32) / 250


@pytest.mark.parametrize(
    "size",
    [PixelSize(), PixelSize(0.1, 0.2, "micrometer"), PixelSize(0.4, 0.4, "arcsec"), PixelSize(50, 50, "nm")],
)
def test_a_kernel_comes_back_with_its_pixel_size(kernel, size, tmp_path):
    written = kernelfile.save(tmp_path / "psf.tif", kernel, size, {"seed": 3})
    assert [path.name for path in written] == ["psf.tif", "psf.json"]
    assert tifffile.imread(written[0]).dtype == np.float32
    loaded = kernelfile.load(written[0])
    np.testing.assert_array_equal(loaded.data, kernel)
    assert loaded.pixel_size.unit == size.unit
    assert (loaded.pixel_size.height, loaded.pixel_size.width) == pytest.approx((size.height, size.width))
    assert json.loads(written[1].read_text(encoding="utf-8")) == {"seed": 3}


def test_the_kernels_of_a_stack_are_pages(tmp_path):
    stack = np.random.default_rng(0).random((3, 5, 5)).astype(np.float32)
    path, _ = kernelfile.save(tmp_path / "psf", stack, PixelSize(0.1, 0.1, "um"), {})
    assert path.name == "psf.tif"
    np.testing.assert_array_equal(tifffile.imread(path), stack)


def test_what_is_no_kernel_is_told(tmp_path):
    tifffile.imwrite(tmp_path / "stack.tif", np.zeros((2, 5, 5), np.float32))
    with pytest.raises(InvalidInput, match="expected one 2-D image"):
        kernelfile.load(tmp_path / "stack.tif")


def test_the_command_resamples_a_kernel_and_says_so(kernel, tmp_path, capsys):
    noise = np.random.default_rng(0).integers(0, 255, (40, 48), dtype=np.uint8)
    across = {"resolution": (1 / 0.2, 1 / 0.2), "metadata": {"unit": "um", "axes": "YX"}}
    tifffile.imwrite(tmp_path / "image.tif", noise, imagej=True, **across)
    kernelfile.save(tmp_path / "psf.tif", kernel, PixelSize(100, 100, "nm"), {})
    words = ["--kernel", str(tmp_path / "psf.tif"), "--preset", "fast", "--iterations", "2", "--threads", "1"]
    out = tmp_path / "out"
    assert cli.main(["deblur", str(tmp_path / "image.tif"), "-o", str(out), *words]) == 0
    assert "resampled from 5 x 7 px of 100 nm to 3 x 5 px of 0.2 um" in capsys.readouterr().err
    assert tifffile.imread(out / "image_kernel.tif").shape == (3, 5)
    report = json.loads((out / "image_report.json").read_text(encoding="utf-8"))
    assert "resampled" in report["kernel_note"]


def test_the_command_writes_findings_with_their_remedies(tmp_path, capsys):
    noise = np.random.default_rng(0).integers(0, 255, (40, 48), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "image.tif", noise)
    words = ["--kernel-size", "9", "--preset", "fast", "--iterations", "2", "--threads", "1"]
    assert cli.main(["deblur", str(tmp_path / "image.tif"), "-o", str(tmp_path), *words]) == 0
    report = json.loads((tmp_path / "image_report.json").read_text(encoding="utf-8"))
    assert report["findings"][0]["remedy"] == {"iterations": None}
    assert report["findings"][0]["sentence"] == report["warnings"][0]
    assert report["warnings"][0] in capsys.readouterr().err
