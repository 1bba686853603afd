"""FITS files in and out, through astropy (extra ``astro``): extension, pixels, header, coordinates."""

from __future__ import annotations

import re
import warnings
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_vdip.errors import InvalidInput
from napari_vdip.imagefile import ImageFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

    Array = npt.NDArray[Any]

NEEDS = 'FITS files need one more package: pip install "napari-vdip[astro]"'
# Cards that tell how the pixels of the input are stored, or sum them up: they hold no more for a result.
_STORAGE = re.compile(
    r"SIMPLE|XTENSION|BITPIX|NAXIS\d*|EXTEND|PCOUNT|GCOUNT|GROUPS|THEAP|BSCALE|BZERO|BLANK|DATAMIN|DATAMAX|"
    r"CHECKSUM|DATASUM|INHERIT|NEXTEND|EXTNAME|EXTVER|EXTLEVEL|SATURATE|Z(IMAGE|TENSION|BITPIX|NAXIS\d*|PCOUNT|"
    r"GCOUNT|TILE\d+|CMPTYPE|NAME\d+|VAL\d+|QUANTIZ|DITHER0|BLANK|SCALE|ZERO|HECKSUM|DATASUM|SIMPLE|EXTEND)|"
    r"T(FIELDS|TYPE\d+|FORM\d+)|END|"
)
# Coordinates belong to the image that they are told with; an extension does not inherit them.
_COORDINATES = re.compile(
    r"(CTYPE|CRPIX|CRVAL|CDELT|CUNIT|CROTA)\d+[A-Z]?|(CD|PC|PV|PS)\d+_\d+[A-Z]?|WCSAXES[A-Z]?"
)
_SATURATIONS = ("SATURATE", "SATURATA", "SATLEVEL", "SATUR")  # from which value on pixels are saturated
_ARCSEC = 3600.0  # in a degree


def read_fits(path: Path, extension: str = "") -> ImageFile:
    """Read one extension of a FITS file.

    Parameters
    ----------
    path : Path
        May be compressed by gzip, or by tiles.
    extension : str
        Its number, from 0, its name, or name and version (``"SCI,2"``). Empty: the first one that
        holds an image of two axes or more.

    Returns
    -------
    ImageFile
        Pixels in native byte order with BSCALE and BZERO applied, undefined ones (BLANK) as NaN.
        ``metadata["header"]`` is the header's text, that of the primary one included;
        ``pixel_size`` in arcsec where there are celestial coordinates.

    Raises
    ------
    InvalidInput
        If astropy is not installed, or the file is damaged, has no such extension or no image.
    """
    with _astropy(path) as fits, fits.open(path, memmap=False) as file:
        unit = _chosen(path, file, extension)
        data = np.asarray(unit.data)
        header = _merged(fits, file[0].header, unit.header)
        index = file.index_of(unit) if not isinstance(unit, fits.PrimaryHDU) else 0
        name, pixel_size = unit.name, _pixel_size(header)
        saturation = _saturation(unit.header, file[0].header)
    data = np.ascontiguousarray(data, dtype=data.dtype.newbyteorder("="))
    while data.ndim > 2 and data.shape[0] == 1:  # axes of polarisation or frequency with one entry
        data = data[0]
    return ImageFile(
        path=path,
        kind="fits",
        data=data,
        axes="QQQQQQ"[: data.ndim - 2] + "YX",
        metadata={"header": header.tostring(sep="\n"), "extension": index, "extension_name": name},
        pixel_size=pixel_size,
        saturation=saturation,
    )


def write_fits(
    path: Path, like: ImageFile, image: Array, uncertainty: Array, kernel: Array, report: dict[str, Any]
) -> None:
    """Write a result as one FITS file: deblurred image, UNCERTAINTY and KERNEL.

    Parameters
    ----------
    path : Path
        File to write; an existing one is replaced.
    like : ImageFile
        The input; its header, world coordinates included, is carried over to image and uncertainty.
    image, uncertainty, kernel : ndarray
        As in a `Result`.
    report : dict
        What was done, told in HISTORY cards.

    Raises
    ------
    OSError
        If the disk is full or read-only.
    """
    with _astropy(like.path) as fits:
        header = fits.Header.fromstring(like.metadata["header"], sep="\n")
        for line in _history(like, report):
            header.add_history(line.encode("ascii", "replace").decode())
        source = like.path.name.encode("ascii", "replace").decode()
        small = fits.Header(
            [("CRPIX1", kernel.shape[-1] // 2 + 1.0), ("CRPIX2", kernel.shape[-2] // 2 + 1.0)]
        )
        for axis, letter in enumerate("XY", 1):
            if letter in like.pixel_size:
                size, unit = like.pixel_size[letter]
                small.update({f"CDELT{axis}": (size, "size of a pixel"), f"CUNIT{axis}": unit})
        units = [
            fits.PrimaryHDU(_float(image), header),
            fits.ImageHDU(_float(uncertainty), header, name="UNCERTAINTY"),
            fits.ImageHDU(_float(kernel), small, name="KERNEL"),
        ]
        units[1].header["COMMENT"] = (
            f"One standard deviation of each pixel of the image deblurred from {source}"
        )
        units[2].header["COMMENT"] = f"Blur kernel (PSF) of {source}, sums to 1"
        fits.HDUList(units).writeto(path, overwrite=True, output_verify="silentfix+ignore", checksum=True)


def _history(like: ImageFile, report: dict[str, Any]) -> list[str]:
    """Tell what was done, a line for each thing."""
    versions, left_out = report["versions"], report.get("left_out")
    height, width = report["kernel_size"]
    lines = [
        f"Deblurred by napari-vdip {versions['napari-vdip']} from {like.path.name}"
        f"[{like.metadata['extension']}] on {datetime.now(UTC):%Y-%m-%dT%H:%M:%S}",
        f"preset {report['options']['preset']}, method {report['method']}, noise {report['noise']}, seed "
        f"{report['seed']}",
        f"kernel {height} x {width} px, {report['steps']} steps, {report['stop_reason']}",
    ]
    if left_out:
        lines += [f"left out: {left_out['saturated']} saturated pixels, {left_out['outliers']} outliers"]
    return lines + [f"warning: {text}" for text in report["warnings"]]


def _float(data: Array) -> Array:
    return np.ascontiguousarray(data, dtype=np.float32)


@contextmanager
def _astropy(path: Path) -> Iterator[Any]:
    """Give astropy.io.fits, mute about odd cards, which are common and carried over as they are."""
    try:
        from astropy.io import fits
        from astropy.utils.exceptions import AstropyWarning
    except ImportError as error:
        raise InvalidInput(f"{path} is a FITS file. {NEEDS}") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)
        yield fits


def _chosen(path: Path, file: Any, extension: str) -> Any:
    """Find the unit of header and data that is asked for, or the first with an image.

    Raises
    ------
    InvalidInput
        If there is none.
    """
    there = "; it has " + ", ".join(_told(index, unit) for index, unit in enumerate(file))
    if extension:
        name, _, version = extension.partition(",")
        key: Any = (
            int(name) if name.isdigit() else (name.strip(), int(version)) if version.isdigit() else name
        )
        try:
            unit = file[key]
        except (KeyError, IndexError):
            raise InvalidInput(f"{path} has no extension {extension}{there}") from None
        if not _is_image(unit):
            raise InvalidInput(f"extension {extension} of {path} holds no image of two axes or more{there}")
        return unit
    found = next((unit for unit in file if _is_image(unit)), None)
    if found is None:
        raise InvalidInput(f"{path} holds no image of two axes or more{there}")
    return found


def _is_image(unit: Any) -> bool:
    # by its header, for to look at the data is to read them
    return bool(unit.is_image) and unit.header.get("NAXIS", 0) >= 2 and len(unit.shape) >= 2


def _told(index: int, unit: Any) -> str:
    """Name a unit: ``1 (SCI, 256 x 256)``."""
    shape = " x ".join(map(str, unit.shape)) if unit.is_image and unit.shape else "no image"
    return f"{index} ({unit.name or 'no name'}, {shape})"


def _merged(fits: Any, primary: Any, own: Any) -> Any:
    """Header of an extension with what the primary one says beyond it, without cards about storage."""
    header = fits.Header()
    beyond = [
        card
        for card in primary.cards
        if own is not primary and card.keyword not in own and not _COORDINATES.fullmatch(card.keyword)
    ]
    for card in [*own.cards, *beyond]:
        if _STORAGE.fullmatch(card.keyword):
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:  # made anew: a card that breaks the rules would be written as it is
                name = card.keyword
                name = f"HIERARCH {name}" if len(name) > 8 or " " in name else name
                header.append(fits.Card(name, card.value, card.comment), end=True)
            except Exception:  # an odd card raises what it likes; one card is not worth a night's frame
                header.add_comment(f"card {card.keyword!r} of the input breaks the rules and is left out")
    return header


def _saturation(*headers: Any) -> float | None:
    """Value from which pixels are saturated, as the first header tells that does."""
    for header in headers:
        for name in _SATURATIONS:
            value = header.get(name)
            if isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0:
                return float(value)
    return None


def _pixel_size(header: Any) -> dict[str, tuple[float, str]]:
    """Size of a pixel in arcsec along the image's axes where there are celestial coordinates."""
    from astropy.wcs import WCS
    from astropy.wcs.utils import proj_plane_pixel_scales

    try:
        sky = WCS(header).celestial
        if sky.naxis == 2:
            across, down = (float(scale) * _ARCSEC for scale in proj_plane_pixel_scales(sky))
            if across > 0 and down > 0:
                return {"Y": (down, "arcsec"), "X": (across, "arcsec")}
    except Exception:  # damaged coordinates raise what they like; pixels are pixels without them
        return {}
    sizes = {}
    for axis, letter in ((2, "Y"), (1, "X")):
        size, unit = header.get(f"CDELT{axis}"), header.get(f"CUNIT{axis}")
        if isinstance(size, float) and size != 0 and isinstance(unit, str) and unit.strip():
            sizes[letter] = (abs(size), unit.strip())
    return sizes
