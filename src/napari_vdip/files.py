"""Image files in and out: TIFF, OME-TIFF, PNG and JPEG in; float32 TIFF out, with what the input knew.

Pixel values are passed on as they are stored. What is changed is the order of axes: Y and X
come last, then the colours of an RGB image; channels come before them.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_vdip.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt
    import tifffile
    from PIL import Image

    Array = npt.NDArray[Any]

Kind = Literal["tiff", "imagej", "ome", "png", "jpeg"]

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"II+\0", "tiff"),
    (b"MM\0+", "tiff"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
)
_IMAGEJ_KEPT = tuple("unit spacing finterval fps tunit xorigin yorigin zorigin mode Info Labels".split())
_OME_SIZES = ("PhysicalSizeX", "PhysicalSizeY", "PhysicalSizeZ", "TimeIncrement")
_OME_CHANNEL_KEPT = ("Name", "Color", "Fluor", "EmissionWavelength", "ExcitationWavelength")
_RGB_PHOTOMETRICS = (2, 6)  # RGB and YCbCr, TIFF tag 262
_IMAGEJ_LIMIT = 3 * 2**30  # bytes; ImageJ's own kind of TIFF ends at 4 GiB


@dataclass(frozen=True, eq=False)
class ImageFile:
    """An image as it was read, with what its file says about it.

    Attributes
    ----------
    path : Path
        Where it was read from.
    kind : {"tiff", "imagej", "ome", "png", "jpeg"}
        What the file is.
    data : ndarray, (..., Y, X) or (..., Y, X, 3 or 4)
        Pixel values as stored.
    axes : str
        A letter for each axis of `data`: T, Z, C, Y, X, S (colours), others as tifffile names them.
    rgb : bool
        Whether the last axis holds colours.
    resolution : (float, float) or None
        Pixels in a unit of length along X and Y.
    resolution_unit : str
        TIFF's name of that unit: "NONE", "INCH" or "CENTIMETER".
    metadata : dict
        What is written again, by the names that tifffile gives it.
    pixel_size : dict
        Length of a pixel and its unit by axis, where known: ``{"Y": (0.1, "µm"), ...}``.
    """

    path: Path
    kind: Kind
    data: Array
    axes: str
    rgb: bool = False
    resolution: tuple[float, float] | None = None
    resolution_unit: str = "NONE"
    metadata: dict[str, Any] = field(default_factory=dict)
    pixel_size: dict[str, tuple[float, str]] = field(default_factory=dict)

    @property
    def channel_axis(self) -> int | None:
        """Axis of the channels, None without or in an RGB image."""
        return None if self.rgb or "C" not in self.axes else self.axes.index("C")


def stem_of(path: str | os.PathLike[str]) -> str:
    """Name of a file without its extension; ``.ome.tif`` counts as one extension."""
    stem = Path(path).stem
    return stem[:-4] if stem.lower().endswith(".ome") and len(stem) > 4 else stem


def read(path: str | os.PathLike[str]) -> ImageFile:
    """Read an image; what it is decides its content, not its extension.

    Parameters
    ----------
    path : path-like
        A TIFF (OME-TIFF, ImageJ), PNG or JPEG file. A TIFF of several pages is a stack; of
        several series, the first one counts.

    Raises
    ------
    InvalidInput
        If there is no such file, it is of another format, damaged, empty or not decodable.
    """
    path = Path(path)
    kind = _sniff(path)
    try:
        image = _read_tiff(path) if kind == "tiff" else _read_picture(path, kind)
    except (InvalidInput, MemoryError):
        raise
    except Exception as error:  # on damaged bytes decoders raise anything: struct.error, zlib.error, KeyError
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InvalidInput(f"{path} is damaged or not a whole {kind} file: {reason}") from error
    if image.data.size == 0:
        raise InvalidInput(f"{path} holds no pixels (shape {image.data.shape}); expected an image")
    return image


def read_kernel(path: str | os.PathLike[str]) -> Array:
    """Read a kernel (PSF) as a 2-D float64 array; colours, often stored for grey ones, are averaged."""
    image = read(path)
    data = image.data.astype(np.float64)
    if image.rgb:
        data = data[..., :3].mean(axis=-1)
    data = data.squeeze() if data.ndim > 2 else data
    if data.ndim != 2:
        raise InvalidInput(f"kernel {path} has shape {image.data.shape}; expected one 2-D image")
    return data


def read_mask(path: str | os.PathLike[str]) -> Array:
    """Read a mask as a boolean array: True where a pixel, or one of its colours, is not 0."""
    image = read(path)
    return np.asarray((image.data[..., :3] != 0).any(axis=-1) if image.rgb else image.data != 0)


@contextlib.contextmanager
def atomic(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside `path`; what is written there takes the place of `path` if all went well."""
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write(path: str | os.PathLike[str], data: Array, like: ImageFile | None = None) -> None:
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

    Raises
    ------
    OSError
        If the disk is full, read-only, or the folder is absent.
    """
    import tifffile

    data = np.ascontiguousarray(data, dtype=np.float32)
    axes, colours = _axes_like(data, like)
    common: dict[str, Any] = {"photometric": "rgb" if colours else "minisblack"}
    if colours and data.shape[-1] == 4:
        common["extrasamples"] = ["unassalpha"]
    metadata: dict[str, Any] = {"axes": axes}
    kind: Kind = like.kind if like else "tiff"
    if like is not None:
        known = like.metadata
        if data.shape != like.data.shape:  # a kernel: names and labels of the slices may not fit
            known = {key: value for key, value in known.items() if key not in ("Labels", "Channel", "Info")}
        metadata |= known
        if like.resolution is not None:
            common |= {"resolution": like.resolution, "resolutionunit": like.resolution_unit}
    imagej = kind == "imagej" and not colours and data.nbytes < _IMAGEJ_LIMIT
    with atomic(path) as part:
        tifffile.imwrite(part, data, ome=kind == "ome", imagej=imagej, metadata=metadata, **common)


def _axes_like(data: Array, like: ImageFile | None) -> tuple[str, bool]:
    """Letters for the axes of `data`, and whether the last one holds colours."""
    if like is not None and data.ndim == like.data.ndim and data.shape == like.data.shape:
        return like.axes, like.rgb
    if like is not None:
        spatial = like.axes.removesuffix("S") if like.rgb else like.axes
        if data.ndim == len(spatial):
            return spatial, False
    return "QQQQQQ"[: data.ndim - 2] + "YX", False


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


# PNG and JPEG


def _read_picture(path: Path, kind: str) -> ImageFile:
    """Read a PNG or JPEG file."""
    from PIL import Image

    with Image.open(path) as picture:
        dots = picture.info.get("dpi")
        data = _deep_png(path) if kind == "png" else None
        if data is None:
            data = _pixels(picture)
    rgb = data.ndim == 3
    known = dots is not None and min(dots) > 0
    return ImageFile(
        path=path,
        kind="png" if kind == "png" else "jpeg",
        data=data,
        axes="YXS" if rgb else "YX",
        rgb=rgb,
        resolution=(float(dots[0]), float(dots[1])) if dots and known else None,
        resolution_unit="INCH" if known else "NONE",
    )


def _pixels(picture: Image.Image) -> Array:
    """Pixels of a picture of at most 8 bits, or of grey 16 bits, as (Y, X) or (Y, X, 3 or 4)."""
    mode = picture.mode
    if mode in ("P", "PA"):
        picture = picture.convert("RGBA" if mode == "PA" or "transparency" in picture.info else "RGB")
        data = np.asarray(picture)
        grey = (data[..., :1] == data[..., :3]).all()  # a palette of greys is a grey image
        return data[..., 0].copy() if grey else data
    if mode == "1":
        return np.asarray(picture).astype(np.uint8) * np.uint8(255)
    if mode == "LA":  # nothing can be deblurred in the transparency of a grey image
        return np.asarray(picture)[..., 0].copy()
    if mode == "CMYK":
        return np.asarray(picture.convert("RGB"))
    data = np.asarray(picture)
    return data.astype(np.uint16) if mode == "I" else data  # "I": 16-bit grey in older Pillow


def _deep_png(path: Path) -> Array | None:
    """Pixels of a 16-bit PNG with colours or alpha, which Pillow would cut to 8 bits; None for others."""
    with path.open("rb") as file:
        header = file.read(26)
    depth, colour_type = header[24:26]
    if depth != 16 or colour_type == 0:
        return None
    data = _decode_by_opencv(path)
    return data[..., 0].copy() if colour_type == 4 else data  # 4: grey with transparency


def _decode_by_opencv(path: Path) -> Array:
    """Decode a file with OpenCV, unconverted, colours in the order R, G, B (and alpha).

    Raises
    ------
    InvalidInput
        If OpenCV cannot decode it.
    """
    from napari_vdip.opencv import cv2

    # by its bytes, for cv2.imread fails on names beyond ASCII under Windows
    data = cv2.imdecode(np.fromfile(path, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    if data is None:
        raise InvalidInput(f"{path} cannot be read: OpenCV does not decode it; save it as uncompressed TIFF")
    if data.ndim == 3:
        data = data[..., [2, 1, 0, 3][: data.shape[-1]]]
    return np.ascontiguousarray(data)


# TIFF


def _read_tiff(path: Path) -> ImageFile:
    """Read the first series of a TIFF file, at its highest resolution."""
    import tifffile

    with tifffile.TiffFile(path) as file:
        if not file.series:
            raise InvalidInput(f"{path} holds no image; expected a TIFF with at least one page")
        series = file.series[0]
        data, axes = _pages(path, file), series.axes
        page = series.keyframe
        photometric = int(page.photometric)
        # a palette in ImageJ's files is but a way to look at the grey values
        plain = not (file.is_ome or file.is_imagej)
        if photometric == 3 and plain and page.colormap is not None and axes == "YX":
            data, axes, photometric = _apply_palette(data, page.colormap), "YXS", 2
        if data.dtype == bool:
            data = data.astype(np.uint8) * np.uint8(255)
        data, axes, rgb = _order_axes(data, axes, photometric in _RGB_PHOTOMETRICS)
        kind: Kind = "ome" if file.is_ome else "imagej" if file.is_imagej else "tiff"
        metadata = {"ome": _ome_metadata, "imagej": _imagej_metadata, "tiff": _shaped_metadata}[kind](file)
        resolution, unit = _resolution(page, metadata)
    return ImageFile(
        path=path,
        kind=kind,
        data=data,
        axes=axes,
        rgb=rgb,
        resolution=resolution,
        resolution_unit=unit,
        metadata=metadata,
        pixel_size=_pixel_size(kind, metadata, resolution, unit),
    )


def _pages(path: Path, file: tifffile.TiffFile) -> Array:
    """Decode the first series; by OpenCV where tifffile lacks the codec and there is but one page."""
    series = file.series[0]
    try:
        return np.asarray(series.asarray())
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
    page = series.keyframe
    if len(file.pages) == 1 and int(page.photometric) in (1, *_RGB_PHOTOMETRICS):
        with contextlib.suppress(InvalidInput):
            data = _decode_by_opencv(path)
            if data.shape == page.shape and data.dtype == page.dtype:
                return data
    codec = getattr(page.compression, "name", page.compression)
    raise InvalidInput(
        f"{path} is compressed ({codec}), which needs one more package to read: pip install imagecodecs, "
        "or save it uncompressed"
    )


def _order_axes(data: Array, axes: str, coloured: bool) -> tuple[Array, str, bool]:
    """Bring Y and X to the end, behind them the colours of an RGB image; other samples become channels."""
    if "Y" not in axes or "X" not in axes:
        raise InvalidInput(f"the image has the axes {axes!r}; expected Y and X among them")
    if "S" in axes:
        rgb = coloured and data.shape[axes.index("S")] in (3, 4)
        if not rgb:
            axes = axes.replace("S", "Q" if "C" in axes else "C")
    else:
        rgb = False
    last = "YXS" if rgb else "YX"
    wanted = "".join(axis for axis in axes if axis not in last) + last
    order = [axes.index(axis) for axis in wanted] if len(set(axes)) == len(axes) else list(range(len(axes)))
    return np.ascontiguousarray(data.transpose(order)), "".join(axes[i] for i in order), rgb


def _apply_palette(indices: Array, colormap: Array) -> Array:
    """Look the pixels up in a TIFF's palette, (3, n) of 16 bits: (Y, X, 3) uint8."""
    return np.asarray((colormap.T[indices] >> 8).astype(np.uint8))


def _resolution(page: Any, metadata: dict[str, Any]) -> tuple[tuple[float, float] | None, str]:
    """Pixels in a unit along X and Y, and the unit, as TIFF tells them; None where it says nothing."""
    if "XResolution" not in page.tags or "YResolution" not in page.tags:
        return None, "NONE"
    across, down = (float(number) for number in page.resolution)
    unit = {2: "INCH", 3: "CENTIMETER"}.get(int(page.resolutionunit), "NONE")
    nothing_said = unit == "NONE" and across == down == 1 and "unit" not in metadata
    if nothing_said or not (np.isfinite([across, down]).all() and min(across, down) > 0):
        return None, "NONE"
    return (across, down), unit


def _shaped_metadata(file: tifffile.TiffFile) -> dict[str, Any]:
    """Pick from tifffile's own description of a series all but shape and axes."""
    described = (file.shaped_metadata or ({},))[0]
    return {str(key): value for key, value in described.items() if key not in ("shape", "axes", "truncate")}


def _imagej_metadata(file: tifffile.TiffFile) -> dict[str, Any]:
    """Pick from ImageJ's description what still holds for a deblurred image; its display range does not."""
    known = file.imagej_metadata or {}
    kept = {key: known[key] for key in _IMAGEJ_KEPT if known.get(key) is not None}
    for key in ("unit", "tunit"):
        if isinstance(kept.get(key), str):  # texts are ASCII in TIFF; ImageJ writes the micro sign as an escape
            unit = kept[key].replace("\\u00B5", "u").replace("µ", "u")
            kept[key] = unit.encode("ascii", "replace").decode()
    return kept


def _ome_metadata(file: tifffile.TiffFile) -> dict[str, Any]:
    """Pick sizes, time increment and channels of the first image from the OME-XML."""
    from xml.etree import ElementTree

    root = ElementTree.fromstring(file.ome_metadata or "<OME/>")
    image = root.find(".//{*}Image")
    pixels = root.find(".//{*}Pixels")
    if image is None or pixels is None:
        return {}
    kept: dict[str, Any] = {}
    for key in _OME_SIZES:
        if key in pixels.attrib:
            kept[key] = float(pixels.attrib[key])
        if f"{key}Unit" in pixels.attrib:
            kept[f"{key}Unit"] = pixels.attrib[f"{key}Unit"]
    if "Name" in image.attrib:
        kept["Name"] = image.attrib["Name"]
    channels = pixels.findall("{*}Channel")
    wanted = [*_OME_CHANNEL_KEPT, *(f"{key}Unit" for key in _OME_CHANNEL_KEPT[3:])]
    described = {
        key: [channel.attrib[key] for channel in channels]
        for key in wanted
        if channels and all(key in channel.attrib for channel in channels)
    }
    if described:
        kept["Channel"] = described
    return kept


def _pixel_size(
    kind: Kind, metadata: dict[str, Any], resolution: tuple[float, float] | None, unit: str
) -> dict[str, tuple[float, str]]:
    """Length of a pixel and its unit by axis."""
    if kind == "ome":
        return {
            axis: (metadata[f"PhysicalSize{axis}"], metadata.get(f"PhysicalSize{axis}Unit", "µm"))
            for axis in "ZYX"
            if f"PhysicalSize{axis}" in metadata
        }
    if resolution is None:
        return {}
    name = "cm" if unit == "CENTIMETER" else ""  # dots per inch are about a print, not about what is shown
    if kind == "imagej":
        name = metadata.get("unit", name)
    if name in ("", "pixel"):
        return {}
    sizes = {"Y": (1 / resolution[1], name), "X": (1 / resolution[0], name)}
    if kind == "imagej" and "spacing" in metadata:
        sizes["Z"] = (float(metadata["spacing"]), name)
    return sizes
