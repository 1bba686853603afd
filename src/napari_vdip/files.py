"""Image files in and out: TIFF, OME-TIFF, PNG, JPEG, FITS and OME-Zarr in; float32 TIFF out.

Pixel values are passed on as they are stored. What is changed is the order of axes: Y and X
come last, then the colours of an RGB image; channels come before them. What the input knew of sizes,
channels and resolution is written again.
"""

from __future__ import annotations

import math
import re
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_vdip.errors import InvalidInput, OutOfMemory
from napari_vdip.fitsfile import read_fits
from napari_vdip.imagefile import ImageFile
from napari_vdip.pictures import read_picture
from napari_vdip.tiffs import read_tiff
from napari_vdip.writing import atomic
from napari_vdip.zarrfile import is_zarr, read_zarr

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator

    import numpy.typing as npt

    from napari_vdip.imagefile import Kind

    Array = npt.NDArray[Any]

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"II+\0", "tiff"),
    (b"MM\0+", "tiff"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"SIMPLE  ", "fits"),
)
_EXPECTED = "a TIFF, PNG, JPEG or FITS file, or an OME-Zarr folder"
# FITS files may be compressed as a whole, and an extension of theirs may stand behind the name.
_FITS_ZIPPED = re.compile(r"\.(fits?|fts)\.gz$", re.IGNORECASE)
_EXTENSION = re.compile(r"(?P<file>.+\.(fits?|fts)(\.gz|\.fz)?)\[(?P<extension>[^][]+)\]", re.IGNORECASE)
_IMAGEJ_LIMIT = 3 * 2**30  # bytes; ImageJ's own kind of TIFF ends at 4 GiB
_TIFF_LIMIT = 2**32 - 2**25  # bytes of pixels, from which on it is a BigTIFF

__all__ = [
    "ImageFile",
    "as_kernel",
    "atomic",
    "read",
    "read_kernel",
    "read_mask",
    "stem_of",
    "write",
    "write_planes",
]


def stem_of(path: str | os.PathLike[str]) -> str:
    """Name of a file without its extension; ``.ome.tif`` counts as one, ``x.fits[2]`` gives ``x_2``."""
    file, extension = split(path)
    stem = file.stem
    for ending in (".ome", ".fits", ".fit", ".fts"):
        if stem.lower().endswith(ending) and len(stem) > len(ending):
            stem = stem[: -len(ending)]
    return stem + (f"_{re.sub('[^A-Za-z0-9]+', '_', extension).strip('_')}" if extension else "")


def split(path: str | os.PathLike[str]) -> tuple[Path, str]:
    """Take ``x.fits[2]`` apart into the file and its extension; "" where there is none."""
    path = Path(path)
    found = None if path.exists() else _EXTENSION.fullmatch(path.name)
    return (path.with_name(found["file"]), found["extension"].strip()) if found else (path, "")


def with_extension(path: Path, extension: str) -> Path:
    """Name an extension of a FITS file as `read` takes it; other files, and those that name one, stay."""
    whole = path.with_name(f"{path.name}[{extension}]")
    return whole if _EXTENSION.fullmatch(whole.name) else path


def read(path: str | os.PathLike[str], lazy: bool = False) -> ImageFile:
    """Read an image; its content decides what it is, not its extension.

    Parameters
    ----------
    path : path-like
        A TIFF (OME-TIFF, ImageJ), PNG, JPEG or FITS file, or an OME-Zarr folder. A TIFF of several
        pages is a stack; of several series, the first one counts. ``x.fits[2]`` and ``x.fits[SCI]``
        name an extension, ``x.fits`` is the first one with an image.
    lazy : bool
        Leave the pages of a TIFF and the chunks of an OME-Zarr where they are, if that can be done:
        ``data`` then is no ndarray but is sliced like one, and only what is cut out of it is read.

    Raises
    ------
    InvalidInput
        If there is no such file, it is of another format, damaged, empty or not decodable.
    OutOfMemory
        If it does not fit into memory, or is damaged and tells a size that does not.
    """
    path, extension = split(path)
    kind = _sniff(path)
    try:
        if kind == "tiff":
            image = read_tiff(path, lazy)
        elif kind == "fits":
            image = read_fits(path, extension)
        elif kind == "zarr":
            image = read_zarr(path, lazy)
        else:
            image = read_picture(path, kind)
    except InvalidInput as error:
        if path.name in str(error):
            raise
        raise InvalidInput(f"{path}: {error}") from None
    except MemoryError as error:  # a damaged file may tell any size
        raise OutOfMemory(f"{path} does not fit into memory, or it is damaged: {error}") from error
    except Exception as error:  # on damaged bytes decoders raise anything: struct.error, zlib.error, KeyError
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InvalidInput(f"{path} is damaged or not a whole {kind} file: {reason}") from error
    if image.data.size == 0:
        raise InvalidInput(f"{path} holds no pixels (shape {image.data.shape}); expected an image")
    return image


def read_kernel(path: str | os.PathLike[str]) -> Array:
    """Read a kernel as `as_kernel` takes it."""
    return as_kernel(read(path))


def as_kernel(image: ImageFile) -> Array:
    """Take an image as a kernel (PSF), 2-D float64; colours, often stored for grey ones, are averaged."""
    data = image.data.astype(np.float64)
    if image.rgb:
        data = data[..., :3].mean(axis=-1)
    data = data.squeeze() if data.ndim > 2 else data
    if data.ndim != 2:
        raise InvalidInput(f"kernel {image.path} has shape {image.data.shape}; expected one 2-D image")
    return data


def read_mask(path: str | os.PathLike[str]) -> Array:
    """Read a mask as a boolean array: True where a pixel, or one of its colours, is not 0."""
    image = read(path)
    return np.asarray((image.data[..., :3] != 0).any(axis=-1) if image.rgb else image.data != 0)


def write(
    path: str | os.PathLike[str], data: Array, like: ImageFile | None = None, identity: str = ""
) -> None:
    """Write an array as float32 TIFF with the axes, resolution and sizes of the image that it came from.

    Parameters
    ----------
    path : path-like
        File to write; it appears whole or not at all.
    data : ndarray, (..., Y, X) or (..., Y, X, 3 or 4)
        Of the shape of `like`, or a kernel: (Kh, Kw) or (slices..., Kh, Kw).
    like : ImageFile, optional
        The input: OME-TIFF gives OME-TIFF, ImageJ an ImageJ hyperstack where that kind can
        hold it (no colours, under 3 GiB), all else plain TIFF.
    identity : str
        What the pixels follow from. An OME-TIFF carries a unique name: made from this where it is
        given, so that equal pixels give equal bytes, and from the clock where not.

    Raises
    ------
    OSError
        If the disk is full, read-only, or the folder is absent.
    """
    data = np.ascontiguousarray(data, dtype=np.float32)
    _write(path, data, data.shape, like, identity)


def write_planes(
    path: str | os.PathLike[str],
    planes: Iterable[Array],
    shape: tuple[int, ...],
    like: ImageFile | None = None,
    identity: str = "",
) -> None:
    """Write as `write` does what comes plane by plane; one of them is in memory at a time.

    From 4 GiB on it is a BigTIFF.

    Parameters
    ----------
    path, like, identity
        As for `write`.
    planes : iterable of ndarray, (Y, X) or (Y, X, 3 or 4)
        In C order of the leading axes.
    shape : tuple of int
        Of them all together.
    """
    _write(path, (np.ascontiguousarray(plane, dtype=np.float32) for plane in planes), shape, like, identity)


def _write(
    path: str | os.PathLike[str],
    data: Array | Iterator[Array],
    shape: tuple[int, ...],
    like: ImageFile | None,
    identity: str,
) -> None:
    """Write pixels, all at once or plane by plane."""
    import tifffile

    axes, colours = _axes_like(shape, like)
    common: dict[str, Any] = {"photometric": "rgb" if colours else "minisblack"}
    if colours and shape[-1] == 4:
        common["extrasamples"] = ["unassalpha"]
    metadata: dict[str, Any] = {"axes": axes}
    kind: Kind = like.kind if like else "tiff"
    if like is not None:
        known = like.metadata
        if shape != like.data.shape:  # a kernel: names and labels of the slices may not fit
            known = {key: value for key, value in known.items() if key not in ("Labels", "Channel", "Info")}
        metadata |= {} if kind == "fits" else known
        if like.resolution is not None:
            common |= {"resolution": like.resolution, "resolutionunit": like.resolution_unit}
    if identity and kind == "ome":
        metadata["UUID"] = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{identity}/{Path(path).name}"))
    imagej = kind == "imagej" and not colours and 4 * math.prod(shape) < _IMAGEJ_LIMIT
    with atomic(path) as part:
        tifffile.imwrite(
            part,
            data,
            shape=shape,
            dtype=np.float32,
            bigtiff=not imagej and 4 * math.prod(shape) > _TIFF_LIMIT,
            ome=kind == "ome",
            imagej=imagej,
            metadata=metadata,
            **common,
        )


def _axes_like(shape: tuple[int, ...], like: ImageFile | None) -> tuple[str, bool]:
    """Letters for the axes of an array, and whether the last one holds colours."""
    if like is not None and shape == like.data.shape:
        return like.axes, like.rgb
    if like is not None:
        spatial = like.axes.removesuffix("S") if like.rgb else like.axes
        if len(shape) == len(spatial):
            return spatial, False
    return "QQQQQQ"[: len(shape) - 2] + "YX", False


def _sniff(path: Path) -> str:
    """Tell from its first bytes what a file is."""
    if path.is_dir():
        if is_zarr(path):
            return "zarr"
        raise InvalidInput(f"{path} is a folder; expected {_EXPECTED}")
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except FileNotFoundError:
        raise InvalidInput(f"{path} does not exist; expected {_EXPECTED}") from None
    except OSError as error:
        raise InvalidInput(f"{path} cannot be opened: {error.strerror or error}") from error
    if not head:
        raise InvalidInput(f"{path} is an empty file; expected {_EXPECTED}")
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if head.startswith(b"\x1f\x8b") and _FITS_ZIPPED.search(path.name):
        return "fits"
    raise InvalidInput(f"{path} is of an unknown format; expected {_EXPECTED}: convert it first")
