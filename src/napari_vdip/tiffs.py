"""TIFF files in: which axes hold what, and what the file says about sizes, in its several dialects."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_vdip.errors import InvalidInput
from napari_vdip.imagefile import ImageFile
from napari_vdip.paged import paged
from napari_vdip.pictures import decode_by_opencv

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt
    import tifffile

    from napari_vdip.imagefile import Kind

    Array = npt.NDArray[Any]

_IMAGEJ_KEPT = tuple("unit spacing finterval fps tunit xorigin yorigin zorigin mode Info Labels".split())
_OME_SIZES = ("PhysicalSizeX", "PhysicalSizeY", "PhysicalSizeZ", "TimeIncrement")
_OME_CHANNEL_KEPT = ("Name", "Color", "Fluor", "EmissionWavelength", "ExcitationWavelength")
_RGB_PHOTOMETRICS = (2, 6)  # RGB and YCbCr, TIFF tag 262


def read_tiff(path: Path, lazy: bool = False) -> ImageFile:
    """Read the first series of a TIFF file, at its highest resolution; lazily if its pages are planes."""
    import tifffile

    with tifffile.TiffFile(path) as file:
        if not file.series:
            raise InvalidInput(f"{path} holds no image; expected a TIFF with at least one page")
        series = file.series[0]
        left = paged(path, series) if lazy else None
        data: Any = _pages(path, file) if left is None else left
        axes = series.axes
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
            data = decode_by_opencv(path)
            if data.shape == page.shape and data.dtype == page.dtype:
                return data
    codec = getattr(page.compression, "name", page.compression)
    raise InvalidInput(
        f"{path} is compressed ({codec}), which needs one more package to read: pip install imagecodecs, "
        "or save it uncompressed"
    )


def _order_axes(data: Any, axes: str, coloured: bool) -> tuple[Any, str, bool]:
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
    if order != sorted(order):
        data = np.ascontiguousarray(data.transpose(order))
    return data, "".join(axes[i] for i in order), rgb


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
        if isinstance(
            kept.get(key), str
        ):  # texts are ASCII in TIFF; ImageJ writes the micro sign as an escape
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
