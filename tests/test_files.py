"""Files in and out: what a user's file says must still be said by what is written from it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_vdip import files
from napari_vdip.errors import InvalidInput

DATA = Path(os.environ.get("NAPARI_VDIP_DATA", Path(__file__).parents[1] / ".." / "shared" / "data"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="no development data: set NAPARI_VDIP_DATA")


def ramp(*shape: int, dtype: str = "uint16") -> np.ndarray:
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


# TIFF in, TIFF out


def test_ome_tiff_keeps_axes_sizes_and_channels(tmp_path: Path) -> None:
    source, target = tmp_path / "cells.ome.tif", tmp_path / "out.tif"
    said = {
        "axes": "CZYX",
        "Name": "field 7",
        "PhysicalSizeX": 0.1,
        "PhysicalSizeY": 0.2,
        "PhysicalSizeZ": 300.0,
        "PhysicalSizeZUnit": "nm",
        "Channel": {"Name": ["DAPI", "GFP"], "EmissionWavelength": [460.0, 510.0]},
    }
    tifffile.imwrite(source, ramp(2, 3, 8, 9), ome=True, metadata=said)

    image = files.read(source)
    assert (image.kind, image.axes, image.rgb, image.channel_axis) == ("ome", "CZYX", False, 0)
    assert image.pixel_size == {"Z": (300.0, "nm"), "Y": (0.2, "µm"), "X": (0.1, "µm")}

    files.write(target, image.data / 2, image)
    again = files.read(target)
    assert (again.kind, again.axes, again.data.dtype) == ("ome", "CZYX", np.float32)
    assert again.pixel_size == image.pixel_size
    assert again.metadata == image.metadata
    np.testing.assert_array_equal(again.data, ramp(2, 3, 8, 9) / 2)
    with tifffile.TiffFile(target) as tiff:
        assert tiff.is_ome
        assert 'PhysicalSizeZUnit="nm"' in tiff.ome_metadata
        assert 'Name="GFP"' in tiff.ome_metadata


@pytest.mark.parametrize("axes", ["YX", "ZYX", "TYX", "TZYX", "TCYX", "TZCYX"])
def test_ome_axes_come_back(tmp_path: Path, axes: str) -> None:
    shape = (*range(2, len(axes)), 8, 9)
    tifffile.imwrite(
        tmp_path / "in.tif", ramp(*shape), ome=True, metadata={"axes": axes, "PhysicalSizeX": 0.5}
    )
    image = files.read(tmp_path / "in.tif")
    files.write(tmp_path / "out.tif", image.data, image)
    with tifffile.TiffFile(tmp_path / "out.tif") as tiff:
        assert tiff.series[0].axes == axes
        assert tiff.series[0].shape == shape


def test_ome_colour_keeps_colours_last(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "in.tif", ramp(8, 9, 3, dtype="uint8"), ome=True, photometric="rgb")
    image = files.read(tmp_path / "in.tif")
    assert (image.axes, image.rgb) == ("YXS", True)
    files.write(tmp_path / "out.tif", image.data, image)
    again = files.read(tmp_path / "out.tif")
    assert (again.kind, again.axes, again.rgb, again.data.shape) == ("ome", "YXS", True, (8, 9, 3))


def test_imagej_hyperstack_keeps_spacing_and_unit(tmp_path: Path) -> None:
    said = {"axes": "ZCYX", "spacing": 0.3, "unit": "um", "finterval": 2.0}
    tifffile.imwrite(
        tmp_path / "in.tif", ramp(4, 2, 8, 9), imagej=True, resolution=(10.0, 5.0), metadata=said
    )
    image = files.read(tmp_path / "in.tif")
    assert (image.kind, image.channel_axis) == ("imagej", 1)
    assert image.pixel_size == {"Z": (0.3, "um"), "Y": (0.2, "um"), "X": (0.1, "um")}

    files.write(tmp_path / "out.tif", image.data, image)
    with tifffile.TiffFile(tmp_path / "out.tif") as tiff:
        written = tiff.imagej_metadata
        assert tiff.series[0].axes == "ZCYX"
        assert (written["spacing"], written["unit"], written["finterval"]) == (0.3, "um", 2.0)
        assert (written["slices"], written["channels"]) == (4, 2)
        assert tiff.pages[0].resolution == (10.0, 5.0)
        assert tiff.pages[0].dtype == np.float32


def test_imagej_micro_sign_is_written_as_imagej_reads_it(tmp_path: Path) -> None:
    description = "ImageJ=1.54f\nunit=\\u00B5m\n"
    tifffile.imwrite(
        tmp_path / "in.tif", ramp(8, 9), description=description, metadata=None, resolution=(4.0, 4.0)
    )
    image = files.read(tmp_path / "in.tif")
    files.write(tmp_path / "out.tif", image.data, image)
    assert files.read(tmp_path / "out.tif").pixel_size["X"] == (0.25, "um")


def test_imagej_colours_become_a_plain_tiff_with_resolution(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "in.tif", ramp(8, 9, 3, dtype="uint8"), imagej=True, resolution=(7.0, 7.0))
    image = files.read(tmp_path / "in.tif")
    assert image.rgb
    files.write(tmp_path / "out.tif", image.data, image)
    again = files.read(tmp_path / "out.tif")
    assert (again.axes, again.rgb, again.resolution) == ("YXS", True, (7.0, 7.0))


def test_plain_tiff_keeps_resolution_and_axes(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "in.tif",
        ramp(5, 8, 9),
        resolution=(1e4, 2e4),
        resolutionunit="CENTIMETER",
        metadata={"axes": "ZYX"},
    )
    image = files.read(tmp_path / "in.tif")
    files.write(tmp_path / "out.tif", image.data, image)
    with tifffile.TiffFile(tmp_path / "out.tif") as tiff:
        assert tiff.series[0].axes == "ZYX"
        assert tiff.pages[0].resolution == (1e4, 2e4)
        assert tiff.pages[0].resolutionunit == tifffile.RESUNIT.CENTIMETER


def test_a_kernel_takes_the_leading_axes_of_its_stack(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "in.tif", ramp(4, 30, 31), imagej=True, metadata={"axes": "TYX", "Labels": list("abcd")}
    )
    image = files.read(tmp_path / "in.tif")
    files.write(tmp_path / "kernel.tif", np.ones((4, 5, 7)), image)
    again = files.read(tmp_path / "kernel.tif")
    assert (again.axes, again.data.shape, again.data.dtype) == ("TYX", (4, 5, 7), np.float32)


def test_a_kernel_with_three_columns_is_no_colour_image(tmp_path: Path) -> None:
    files.write(tmp_path / "kernel.tif", np.ones((5, 3)))
    assert files.read(tmp_path / "kernel.tif").data.shape == (5, 3)
    files.write(tmp_path / "stack.tif", np.ones((4, 5, 3)))
    again = files.read(tmp_path / "stack.tif")
    assert (again.data.shape, again.rgb) == ((4, 5, 3), False)


def test_several_pages_are_a_stack(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "in.tif") as writer:
        for page in ramp(3, 8, 9):
            writer.write(page, contiguous=False, metadata=None)
    image = files.read(tmp_path / "in.tif")
    assert (image.data.shape, image.rgb, image.channel_axis) == ((3, 8, 9), False, None)
    np.testing.assert_array_equal(image.data, ramp(3, 8, 9))


def test_planar_colours_come_last(tmp_path: Path) -> None:
    planes = ramp(3, 8, 9, dtype="uint8")
    tifffile.imwrite(tmp_path / "in.tif", planes, photometric="rgb", planarconfig="separate")
    image = files.read(tmp_path / "in.tif")
    assert (image.axes, image.rgb) == ("YXS", True)
    np.testing.assert_array_equal(image.data, np.moveaxis(planes, 0, -1))


def test_samples_that_are_no_colours_are_channels(tmp_path: Path) -> None:
    samples = ramp(8, 9, 5)
    tifffile.imwrite(
        tmp_path / "in.tif", samples, photometric="minisblack", planarconfig="contig", metadata=None
    )
    image = files.read(tmp_path / "in.tif")
    assert (image.axes, image.rgb, image.channel_axis) == ("CYX", False, 0)
    np.testing.assert_array_equal(image.data, np.moveaxis(samples, -1, 0))


def test_rgba_is_kept_with_its_alpha(tmp_path: Path) -> None:
    colours = ramp(8, 9, 4, dtype="uint8")
    tifffile.imwrite(tmp_path / "in.tif", colours, photometric="rgb", extrasamples=["unassalpha"])
    image = files.read(tmp_path / "in.tif")
    assert image.rgb
    files.write(tmp_path / "out.tif", image.data, image)
    again = files.read(tmp_path / "out.tif")
    assert again.rgb
    np.testing.assert_array_equal(again.data, colours)


def test_a_palette_tiff_shows_its_colours(tmp_path: Path) -> None:
    palette = np.zeros((3, 256), "uint16")
    palette[0] = np.arange(256) * 257
    tifffile.imwrite(tmp_path / "in.tif", ramp(8, 9, dtype="uint8"), photometric="palette", colormap=palette)
    image = files.read(tmp_path / "in.tif")
    assert image.rgb
    np.testing.assert_array_equal(image.data[..., 0], ramp(8, 9))
    assert not image.data[..., 1:].any()


def test_a_bilevel_tiff_is_black_and_white(tmp_path: Path) -> None:
    bits = ramp(8, 9) % 2 == 1
    tifffile.imwrite(tmp_path / "in.tif", bits)
    np.testing.assert_array_equal(
        files.read(tmp_path / "in.tif").data, np.where(bits, 255, 0).astype("uint8")
    )


@pytest.mark.parametrize("mode", ["grey", "colour"])
def test_lzw_is_read_without_imagecodecs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    pixels = ramp(8, 9, dtype="uint8") if mode == "grey" else ramp(8, 9, 3, dtype="uint8")
    Image.fromarray(pixels).save(tmp_path / "in.tif", compression="tiff_lzw")
    _hide_imagecodecs(monkeypatch)
    image = files.read(tmp_path / "in.tif")
    np.testing.assert_array_equal(image.data, pixels)
    assert image.rgb == (mode == "colour")


def test_an_lzw_stack_names_the_package_that_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = [Image.fromarray(page) for page in ramp(3, 8, 9, dtype="uint8")]
    pages[0].save(tmp_path / "in.tif", compression="tiff_lzw", save_all=True, append_images=pages[1:])
    _hide_imagecodecs(monkeypatch)
    with pytest.raises(InvalidInput, match=r'LZW.*pip install "napari-vdip\[codecs\]"'):
        files.read(tmp_path / "in.tif")


@pytest.mark.parametrize("compression", ["lzw", "zstd", "jpegxl"])
def test_compressed_stacks_are_read_with_imagecodecs(tmp_path: Path, compression: str) -> None:
    tifffile.imwrite(
        tmp_path / "in.tif", ramp(3, 64, 64, dtype="uint8"), compression=compression, photometric="minisblack"
    )
    np.testing.assert_array_equal(files.read(tmp_path / "in.tif").data, ramp(3, 64, 64, dtype="uint8"))


def _hide_imagecodecs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tifffile fail as it does where imagecodecs is not installed."""

    def asarray(self: tifffile.TiffPageSeries, *args: object, **keywords: object) -> np.ndarray:
        raise ValueError("<COMPRESSION.LZW: 5> requires the 'imagecodecs' package")

    monkeypatch.setattr(tifffile.TiffPageSeries, "asarray", asarray)


# PNG and JPEG


def test_16_bit_png_is_kept(tmp_path: Path) -> None:
    Image.fromarray(ramp(8, 9) * 800).save(tmp_path / "in.png")
    image = files.read(tmp_path / "in.png")
    assert (image.data.dtype, image.axes, image.rgb) == (np.uint16, "YX", False)
    np.testing.assert_array_equal(image.data, ramp(8, 9) * 800)


@pytest.mark.parametrize("samples", [3, 4])
def test_16_bit_colour_png_is_kept(tmp_path: Path, samples: int) -> None:
    from napari_vdip.opencv import cv2

    colours = ramp(8, 9, samples) * 60
    assert cv2.imwrite(str(tmp_path / "in.png"), colours[..., [2, 1, 0, 3][:samples]])
    image = files.read(tmp_path / "in.png")
    assert image.rgb
    np.testing.assert_array_equal(image.data, colours)


@pytest.mark.parametrize(
    ("mode", "shape"), [("L", (8, 9)), ("LA", (8, 9)), ("RGB", (8, 9, 3)), ("RGBA", (8, 9, 4))]
)
def test_8_bit_png_modes(tmp_path: Path, mode: str, shape: tuple[int, ...]) -> None:
    picture = Image.fromarray(ramp(8, 9, dtype="uint8")).convert(mode)
    picture.save(tmp_path / "in.png")
    image = files.read(tmp_path / "in.png")
    assert (image.data.shape, image.data.dtype, image.rgb) == (shape, np.uint8, len(shape) == 3)
    grey = image.data if image.data.ndim == 2 else image.data[..., 1]
    np.testing.assert_array_equal(grey, ramp(8, 9))


def test_1_bit_png_is_black_and_white(tmp_path: Path) -> None:
    bits = ramp(8, 9) % 2 == 1
    Image.fromarray(bits).save(tmp_path / "in.png")
    np.testing.assert_array_equal(files.read(tmp_path / "in.png").data, np.where(bits, 255, 0))


def test_a_palette_png_shows_its_colours_and_a_grey_one_is_grey(tmp_path: Path) -> None:
    Image.fromarray(ramp(8, 9, dtype="uint8")).convert("P").save(tmp_path / "grey.png")
    grey = files.read(tmp_path / "grey.png")
    assert (grey.rgb, grey.data.shape) == (False, (8, 9))
    np.testing.assert_array_equal(grey.data, ramp(8, 9))

    colours = np.zeros((8, 9, 3), "uint8")
    colours[4:, :, 0] = 200
    Image.fromarray(colours).quantize(4).save(tmp_path / "colour.png")
    np.testing.assert_array_equal(files.read(tmp_path / "colour.png").data, colours)


def test_jpeg_and_its_dots_per_inch(tmp_path: Path) -> None:
    colours = np.full((16, 16, 3), (200, 100, 50), "uint8")
    Image.fromarray(colours).save(tmp_path / "in.jpg", quality=100, subsampling=0, dpi=(300, 300))
    image = files.read(tmp_path / "in.jpg")
    assert (image.kind, image.rgb) == ("jpeg", True)
    np.testing.assert_allclose(image.data, colours, atol=2)
    files.write(tmp_path / "out.tif", image.data, image)
    again = files.read(tmp_path / "out.tif")
    assert (again.resolution, again.resolution_unit, again.rgb) == ((300.0, 300.0), "INCH", True)


def test_cmyk_jpeg_is_colour_and_not_rgba(tmp_path: Path) -> None:
    Image.new("CMYK", (9, 8), (0, 255, 255, 0)).save(tmp_path / "in.jpg")
    image = files.read(tmp_path / "in.jpg")
    assert image.data.shape == (8, 9, 3)
    assert (image.data[..., 0] > 200).all()
    assert (image.data[..., 1:] < 60).all()


def test_content_decides_and_not_the_extension(tmp_path: Path) -> None:
    Image.fromarray(ramp(8, 9, dtype="uint8")).save(tmp_path / "in.png")
    (tmp_path / "in.png").rename(tmp_path / "in.tif")
    assert files.read(tmp_path / "in.tif").kind == "png"


# What cannot be read


def test_bad_files_say_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "empty.tif").touch()
    (tmp_path / "movie.gif").write_bytes(b"GIF89a" + bytes(50))
    for path, words in {
        tmp_path / "absent.tif": "does not exist",
        tmp_path: "is a folder",
        tmp_path / "empty.tif": "empty file",
        tmp_path / "movie.gif": "unknown format",
    }.items():
        with pytest.raises(InvalidInput, match=words) as caught:
            files.read(path)
        assert str(path) in str(caught.value)
        assert "TIFF" in str(caught.value)


@pytest.mark.parametrize("name", ["in.tif", "in.png", "in.jpg"])
@pytest.mark.parametrize("kept", [9, 60, -40])
def test_damaged_files_are_refused(tmp_path: Path, name: str, kept: int) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (40, 40)).astype("uint8")
    Image.fromarray(noise).save(tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[:kept])
    with pytest.raises(InvalidInput, match=name) as caught:
        files.read(tmp_path / name)
    assert "\n" not in str(caught.value)


# Writing, masks, kernels, names


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "out.tif"
    target.write_text("old")
    with pytest.raises(OSError, match="disk"), files.atomic(target) as part:
        part.write_text("half")
        raise OSError("disk full")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_written_files_have_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    files.write(tmp_path / "out.tif", np.zeros((4, 5)))
    assert (tmp_path / "out.tif").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_kernel_and_mask_files(tmp_path: Path) -> None:
    grey = ramp(5, 7, dtype="uint8")
    Image.fromarray(np.stack([grey] * 3, -1)).save(tmp_path / "kernel.png")
    np.testing.assert_array_equal(files.read_kernel(tmp_path / "kernel.png"), grey)
    mask = ramp(5, 7) > 10
    Image.fromarray(mask).save(tmp_path / "mask.png")
    read = files.read_mask(tmp_path / "mask.png")
    assert read.dtype == bool
    np.testing.assert_array_equal(read, mask)
    tifffile.imwrite(tmp_path / "stack.tif", ramp(4, 5, 7), photometric="minisblack")
    with pytest.raises(InvalidInput, match=r"\(4, 5, 7\).*2-D"):
        files.read_kernel(tmp_path / "stack.tif")


@pytest.mark.parametrize(
    ("name", "stem"),
    [("a.tif", "a"), ("b/a.ome.tif", "a"), ("a.OME.TIFF", "a"), ("a.b.png", "a.b"), (".ome.tif", ".ome")],
)
def test_stems(name: str, stem: str) -> None:
    assert files.stem_of(name) == stem


def test_opencv_leaves_qt_alone() -> None:
    code = (
        "import os; os.environ['QT_QPA_FONTDIR'] = 'mine';"
        "os.environ.pop('QT_QPA_PLATFORM_PLUGIN_PATH', None);"
        "from napari_vdip.opencv import cv2;"
        "assert os.environ['QT_QPA_FONTDIR'] == 'mine';"
        "assert 'QT_QPA_PLATFORM_PLUGIN_PATH' not in os.environ;"
        "print(cv2.__version__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


# Real files


@needs_data
@pytest.mark.parametrize(
    ("name", "shape", "dtype", "rgb"),
    [
        ("levin_dev/blurred/im1_kernel1_img.png", (255, 255), "uint8", False),
        ("lai_real/boat1.jpg", (798, 1200, 3), "uint8", True),
        ("fluo_real_nogt/BBBC006_z00_defocus_a01.tif", (520, 696), "uint16", False),
        ("fluo_real_nogt/hela-cells_rgb16.tif", (512, 672, 3), "uint16", True),
        ("fluo_real_nogt/sdeconv_celegans_widefield.tif", (316, 316), "float32", False),
        ("fluo_real_nogt/deconwolf_dapi_001_zstack.tif", (40, 201, 101), "uint16", False),
    ],
)
def test_real_files_go_round(
    tmp_path: Path, name: str, shape: tuple[int, ...], dtype: str, rgb: bool
) -> None:
    image = files.read(DATA / name)
    assert (image.data.shape, image.data.dtype, image.rgb) == (shape, np.dtype(dtype), rgb)
    files.write(tmp_path / "out.tif", image.data, image)
    again = files.read(tmp_path / "out.tif")
    np.testing.assert_array_equal(again.data, image.data.astype("float32"))
    assert (again.axes, again.rgb, again.resolution_unit) == (image.axes, image.rgb, image.resolution_unit)
    if again.kind == image.kind:
        assert again.pixel_size == image.pixel_size


@needs_data
def test_lzw_values_are_those_of_the_file() -> None:
    data = files.read(DATA / "fluo_real_nogt" / "BBBC006_z00_defocus_a01.tif").data
    assert (data.min(), data.max()) == (105, 578)
