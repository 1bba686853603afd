"""Image files in and out: TIFF, OME-TIFF, PNG and JPEG in; float32 TIFF out, with what the input knew.

Pixel values are passed on as they are stored. What is changed is the order of axes: Y and X
come last, then the colours of an RGB image; channels come before them.
"""

from __future__ import annotations

import contextlib
import math
import os
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_vdip.errors import InvalidInput
from napari_vdip.imagefile import ImageFile
from napari_vdip.pictures import read_picture
from napari_vdip.tiffs import read_tiff

if TYPE_CHECKING:
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
)
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
    """Name of a file without its extension; ``.ome.tif`` counts as one extension."""
    stem = Path(path).stem
    return stem[:-4] if stem.lower().endswith(".ome") and len(stem) > 4 else stem


def read(path: str | os.PathLike[str], lazy: bool = False) -> ImageFile:
    """Read an image; its content decides what it is, not its extension.

    Parameters
    ----------
    path : path-like
        A TIFF (OME-TIFF, ImageJ), PNG or JPEG file. A TIFF of several pages is a stack; of
        several series, the first one counts.
    lazy : bool
        Leave the pages of a TIFF in the file where that can be done: ``data`` then is no ndarray but
        is sliced like one, and only what is cut out of it is read.

    Raises
    ------
    InvalidInput
        If there is no such file, it is of another format, damaged, empty or not decodable.
    """
    path = Path(path)
    kind = _sniff(path)
    try:
        image = read_tiff(path, lazy) if kind == "tiff" else read_picture(path, kind)
    except (InvalidInput, MemoryError):
        raise
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


@contextlib.contextmanager
def atomic(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside `path`; it takes the place of `path` if all went well.

    What was written is on the disk, not only on its way to it, before it takes that place: after a
    loss of power there is the old file or the new one, whole.
    """
    path = Path(path)
    part = path.with_name(
        f".{path.name}.{uuid.uuid4().hex[:12]}.part"
    )  # of this process alone, on any machine
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
        if os.name == "posix":  # elsewhere a folder cannot be opened
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    finally:
        part.unlink(missing_ok=True)


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
        metadata |= known
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
        raise InvalidInput(f"{path} is a folder; expected a TIFF, PNG or JPEG file")
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except FileNotFoundError:
        raise InvalidInput(f"{path} does not exist; expected a TIFF, PNG or JPEG file") from None
    except OSError as error:
        raise InvalidInput(f"{path} cannot be opened: {error.strerror or error}") from error
    if not head:
        raise InvalidInput(f"{path} is an empty file; expected a TIFF, PNG or JPEG file")
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    raise InvalidInput(f"{path} is of an unknown format; expected TIFF, PNG or JPEG: convert it first")
