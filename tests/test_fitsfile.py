"""FITS in and out: pixels, extensions, headers and world coordinates as astronomers have them."""

from __future__ import annotations

import gzip
import sys
import warnings
from typing import TYPE_CHECKING

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_vdip import cli, files
from napari_vdip.errors import InvalidInput

if TYPE_CHECKING:
    from pathlib import Path

# Values as they stand in the header of a frame of the Hubble telescope's camera NICMOS.
SKY = {
    "CTYPE1": "RA---TAN",
    "CTYPE2": "DEC--TAN",
    "CRPIX1": 128.0,
    "CRPIX2": 128.0,
    "CRVAL1": 83.8221,
    "CRVAL2": -5.3911,
    "CUNIT1": "deg",
    "CUNIT2": "deg",
    "CD1_1": -2.0e-05,
    "CD1_2": 5.0e-06,
    "CD2_1": 5.0e-06,
    "CD2_2": 2.0e-05,
}
QUICK = ["--preset", "fast", "--iterations", "3", "--kernel-size", "5", "--quiet"]
QUICK += ["--threads", "1", "--compile", "off"]


def frame(shape: tuple[int, int] = (40, 48)) -> np.ndarray:
    rng = np.random.default_rng(3)
    y, x = np.mgrid[: shape[0], : shape[1]]
    stars = sum(
        800 * np.exp(-((y - a) ** 2 + (x - b) ** 2) / 6) for a, b in rng.uniform(5, shape[0] - 5, (9, 2))
    )
    return stars + rng.normal(0, 4, shape)  # negative pixels too


def header(**more: object) -> fits.Header:
    made = fits.Header()
    made.update(SKY | {"OBJECT": "NGC 1976", "EXPTIME": 63.95, "BUNIT": "COUNTS/S"} | more)
    made.add_history("flat field by calnica")
    return made


def several(path: Path) -> Path:
    """Write a file as the archive of the Hubble telescope has them: an empty primary unit, SCI, ERR, DQ."""
    primary = fits.PrimaryHDU()
    primary.header["TELESCOP"] = "HST"
    units = [
        primary,
        fits.ImageHDU(frame().astype(">f4"), header(), name="SCI"),
        fits.ImageHDU(np.ones((40, 48), ">f4"), name="ERR"),
        fits.ImageHDU(np.zeros((40, 48), ">i2"), name="DQ"),
        fits.BinTableHDU.from_columns([fits.Column("x", "J", array=np.arange(3))], name="LIST"),
    ]
    fits.HDUList(units).writeto(path)
    return path


def test_first_extension_with_an_image_is_read(tmp_path: Path) -> None:
    image = files.read(several(tmp_path / "x.fits"))
    assert (image.kind, image.axes, image.data.dtype.str) == (
        "fits",
        "YX",
        "<f4" if sys.byteorder == "little" else ">f4",
    )
    np.testing.assert_array_equal(image.data, frame().astype("f4"))
    assert image.data.min() < 0
    assert image.metadata["extension_name"] == "SCI"
    assert image.pixel_size["X"] == (pytest.approx(0.0742, abs=1e-3), "arcsec")


@pytest.mark.parametrize(("asked", "stem"), [("2", "x_2"), ("ERR", "x_ERR"), ("ERR,1", "x_ERR_1")])
def test_extension_is_chosen_by_number_or_name(tmp_path: Path, asked: str, stem: str) -> None:
    several(tmp_path / "x.fits")
    image = files.read(tmp_path / f"x.fits[{asked}]")
    assert (image.data == 1).all()
    assert files.stem_of(tmp_path / f"x.fits[{asked}]") == stem


@pytest.mark.parametrize("asked", ["9", "SKY", "SCI,4", "0", "LIST"])
def test_extension_that_is_not_there_is_told_with_those_that_are(tmp_path: Path, asked: str) -> None:
    several(tmp_path / "x.fits")
    with pytest.raises(InvalidInput, match=r"it has 0 \(PRIMARY, no image\), 1 \(SCI, 40 x 48\), 2 \(ERR"):
        files.read(tmp_path / f"x.fits[{asked}]")


@pytest.mark.parametrize("dtype", ["u1", ">i2", ">u2", ">i4", ">f4", ">f8"])
def test_pixels_come_as_they_are_in_native_order(tmp_path: Path, dtype: str) -> None:
    values = (frame() * 10).clip(0 if "u" in dtype else -500, 200).astype(dtype)
    fits.writeto(tmp_path / "x.fits", values)
    image = files.read(tmp_path / "x.fits")
    np.testing.assert_array_equal(image.data, values)
    assert image.data.dtype.isnative
    assert image.data.dtype.kind == values.dtype.kind


def test_scaled_and_blank_pixels(tmp_path: Path) -> None:
    unit = fits.PrimaryHDU(np.array([[1, 2, -32768], [3, 4, 5]], dtype=">i2"))
    unit.header["BLANK"] = -32768
    unit.header["BZERO"] = 100.0
    unit.header["BSCALE"] = 0.5
    unit.writeto(tmp_path / "x.fits")
    raw = bytearray((tmp_path / "x.fits").read_bytes())
    raw[2880:2892] = np.array([[1, 2, -32768], [3, 4, 5]], dtype=">i2").tobytes()
    (tmp_path / "x.fits").write_bytes(raw)
    with fits.open(tmp_path / "x.fits", do_not_scale_image_data=True) as file:
        assert {"BZERO", "BSCALE", "BLANK"} <= set(file[0].header)
    image = files.read(tmp_path / "x.fits")
    np.testing.assert_allclose(image.data, [[100.5, 101, np.nan], [101.5, 102, 102.5]])
    assert not {"BZERO", "BSCALE", "BLANK"} & set(fits.Header.fromstring(image.metadata["header"], sep="\n"))


@pytest.mark.parametrize("name", ["x.fits.gz", "x.fits.fz"])
def test_compressed_files(tmp_path: Path, name: str) -> None:
    if name.endswith("gz"):
        fits.writeto(tmp_path / "x.fits", frame().astype("f4"))
        (tmp_path / name).write_bytes(gzip.compress((tmp_path / "x.fits").read_bytes()))
    else:
        unit = fits.CompImageHDU(frame().astype(">i2"), compression_type="RICE_1")
        fits.HDUList([fits.PrimaryHDU(), unit]).writeto(tmp_path / name)
    image = files.read(tmp_path / name)
    np.testing.assert_array_equal(image.data, frame().astype(image.data.dtype))
    assert files.stem_of(tmp_path / name) == "x"


@pytest.mark.usefixtures("small_fit")
def test_shell_carries_header_and_coordinates_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    several(tmp_path / "x.fits")
    status = cli.main(["deblur", str(tmp_path / "x.fits"), *QUICK, "--output", str(tmp_path / "out")])
    assert (status, sorted(path.name for path in (tmp_path / "out").iterdir())) == (
        0,
        ["x_deblurred.fits", "x_deblurred.tif", "x_kernel.tif", "x_report.json", "x_uncertainty.tif"],
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with fits.open(tmp_path / "out" / "x_deblurred.fits", checksum=True) as file:
            assert [unit.name for unit in file] == ["PRIMARY", "UNCERTAINTY", "KERNEL"]
            assert [unit.data.shape for unit in file] == [(40, 48), (40, 48), (5, 5)]
            np.testing.assert_array_equal(file[0].data, files.read(tmp_path / "out" / "x_deblurred.tif").data)
            assert file["KERNEL"].data.sum() == pytest.approx(1.0, abs=1e-4)
            for unit in file[:2]:
                assert unit.header["OBJECT"] == "NGC 1976"
                assert unit.header["TELESCOP"] == "HST"  # from the primary unit of the input
                assert unit.header["BUNIT"] == "COUNTS/S"
                before, after = WCS(header()), WCS(unit.header)
                np.testing.assert_allclose(
                    after.wcs_pix2world([[7, 9]], 0), before.wcs_pix2world([[7, 9]], 0)
                )
            told = " ".join(file[0].header["HISTORY"])
            assert "flat field by calnica" in told
            assert "from x.fits[1]" in told
            assert "kernel 5 x 5 px" in told
    kernel = files.read(tmp_path / "out" / "x_deblurred.fits[KERNEL]")
    assert kernel.pixel_size["Y"] == (pytest.approx(0.0742, abs=1e-3), "arcsec")


@pytest.mark.usefixtures("small_fit")
def test_shell_takes_an_extension_for_all_files(tmp_path: Path) -> None:
    several(tmp_path / "x.fits")
    words = ["deblur", str(tmp_path / "x.fits"), *QUICK, "--output", str(tmp_path / "out")]
    assert cli.main([*words, "--extension", "1"]) == 0
    assert (tmp_path / "out" / "x_deblurred.fits").is_file()


@pytest.mark.usefixtures("small_fit")
def test_saturation_that_the_header_tells_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = frame()
    level = float(np.sort(image.ravel())[-4])
    fits.writeto(tmp_path / "x.fits", image, header(SATURATE=level))
    assert cli.main(["deblur", str(tmp_path / "x.fits"), *QUICK, "--output", str(tmp_path)]) == 0
    assert (
        f"left out as saturated: 4 pixels (0.21 %) from {level:g} on, as the header tells"
        in capsys.readouterr().err
    )


@pytest.mark.usefixtures("small_fit")
def test_odd_cards_do_no_harm(tmp_path: Path) -> None:
    unit = fits.PrimaryHDU(frame().astype(">f4"))
    unit.header["OBJECT"] = "M 51"
    unit.writeto(tmp_path / "x.fits")
    raw = bytearray((tmp_path / "x.fits").read_bytes())
    end = raw.index(b"END     ")
    raw[end : end + 240] = (
        b"ESO-LOG 00:00:00> DATE         = '1992-10-26'  / Mon Oct 26, 1992".ljust(80)
        + b"BADVALUE= 12.3.4 5".ljust(80)
        + b"END".ljust(80)
    )
    (tmp_path / "x.fits").write_bytes(raw)
    image = files.read(tmp_path / "x.fits")
    assert "M 51" in image.metadata["header"]
    assert cli.main(["deblur", str(tmp_path / "x.fits"), *QUICK, "--output", str(tmp_path / "out")]) == 0
    with fits.open(tmp_path / "out" / "x_deblurred.fits") as file:
        assert file[0].header["OBJECT"] == "M 51"


def test_without_astropy_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    several(tmp_path / "x.fits")
    monkeypatch.setitem(sys.modules, "astropy.io", None)
    with pytest.raises(InvalidInput, match=r'pip install "napari-vdip\[astro\]"'):
        files.read(tmp_path / "x.fits")


def test_table_only_is_told(tmp_path: Path) -> None:
    fits.BinTableHDU.from_columns([fits.Column("x", "J", array=np.arange(3))]).writeto(tmp_path / "x.fits")
    with pytest.raises(InvalidInput, match="holds no image of two axes or more; it has 0"):
        files.read(tmp_path / "x.fits")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(10, 8000), at=st.integers(0, 5000), noise=st.binary(min_size=1, max_size=40))
def test_damaged_files_give_clear_errors(tmp_path: Path, cut: int, at: int, noise: bytes) -> None:
    whole = tmp_path / "x.fits"
    if not whole.exists():
        several(whole)
    raw = bytearray(whole.read_bytes())
    raw[at : at + len(noise)] = noise
    damaged = tmp_path / "damaged.fits"
    damaged.write_bytes(raw[: max(cut, 10)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            image = files.read(damaged)
        except InvalidInput as error:
            assert "damaged.fits" in str(error)
        else:
            assert image.data.ndim >= 2
