"""OME-Zarr in, through zarr (extra ``zarr``): the first image at its highest resolution, and its sizes.

The only user of zarr; what `zarrout` writes, it writes into an array that is made here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_vdip.errors import InvalidInput, InvalidOption
from napari_vdip.imagefile import ImageFile

if TYPE_CHECKING:
    from pathlib import Path

NEEDS = 'OME-Zarr needs one more package: pip install "napari-vdip[zarr]"'
ARRAY = "0"  # name of the array in what is written: the finest resolution, and the only one
# OME writes words where units are meant, napari and OME-TIFF their signs.
_SIGNS = {
    "angstrom": "Å",
    "nanometer": "nm",
    "micrometer": "µm",
    "millimeter": "mm",
    "centimeter": "cm",
    "meter": "m",
}


def is_zarr(path: Path) -> bool:
    """Whether a folder looks like Zarr."""
    return any((path / name).is_file() for name in (".zattrs", ".zgroup", ".zarray", "zarr.json"))


def check() -> None:
    """Raise InvalidOption if zarr is not installed."""
    try:
        import zarr  # noqa: F401
    except ImportError as error:
        raise InvalidOption(NEEDS) from error


def create(
    path: Path,
    shape: tuple[int, ...],
    chunks: tuple[int, ...],
    names: tuple[str, ...],
    attributes: dict[str, Any],
) -> Any:
    """Make a group with one array of float32, all NaN, in place of what is there; the array, to be written.

    Parameters
    ----------
    path : Path
        Folder of the group.
    shape, chunks : tuple of int
    names : tuple of str
        Of the axes.
    attributes : dict
        Of the group, JSON-ready.
    """
    import zarr

    group = zarr.create_group(store=str(path), zarr_format=3, overwrite=True, attributes=attributes)
    return group.create_array(
        ARRAY, shape=shape, chunks=chunks, dtype="float32", fill_value=float("nan"), dimension_names=names
    )


def update(path: Path, attributes: dict[str, Any]) -> Any:
    """Open a group made by `create`, with other attributes; the array, to be written."""
    import zarr

    group = zarr.open_group(store=str(path), mode="r+")
    group.attrs.update(attributes)
    return group[ARRAY]


def read_zarr(path: Path, lazy: bool = False) -> ImageFile:
    """Read an image of an OME-Zarr folder (versions 0.2 to 0.5) at its highest resolution.

    Parameters
    ----------
    path : Path
    lazy : bool
        Leave the pixels in the folder: ``data`` then is zarr's array.

    Returns
    -------
    ImageFile
        Of kind "ome": what is written from it is OME-TIFF with its pixel sizes and channel names.

    Raises
    ------
    InvalidInput
        If zarr is not installed, or the folder has no image as OME describes it.
    """
    try:
        import zarr
    except ImportError as error:
        raise InvalidInput(f"{path} is a Zarr folder. {NEEDS}") from error
    group = zarr.open(store=str(path), mode="r")
    attributes: dict[str, Any] = dict(group.attrs)
    attributes = attributes.get("ome", attributes)
    if isinstance(group, zarr.Array) or not attributes.get("multiscales"):
        inside = ", ".join(sorted(str(key) for key in group)[:5]) if isinstance(group, zarr.Group) else ""
        raise InvalidInput(
            f"{path} has no 'multiscales' as OME-Zarr images have; expected the folder of one image"
            + (f"; inside are {inside}" if inside else "")
        )
    scales = attributes["multiscales"][0]
    first = scales["datasets"][0]
    array: Any = group[first["path"]]
    axes = [axis if isinstance(axis, dict) else {"name": axis} for axis in scales.get("axes", "tczyx")]
    if len(axes) != array.ndim:
        raise InvalidInput(f"{path} names {len(axes)} axes, but its image has shape {array.shape}")
    letters = "".join(str(axis["name"])[:1].upper() for axis in axes)
    if not letters.endswith("YX"):
        raise InvalidInput(f"{path} has the axes {letters}; expected them to end in YX")
    metadata, pixel_size = _sizes(axes, letters, [scales, first])
    data = array if lazy and array.size else np.asarray(array[:])
    channels = [channel.get("label") for channel in attributes.get("omero", {}).get("channels", [])]
    if "C" in letters and len(channels) == data.shape[letters.index("C")] and all(channels):
        metadata["Channel"] = {"Name": [str(name) for name in channels]}
    if scales.get("name"):
        metadata["Name"] = str(scales["name"])
    return ImageFile(path, "ome", data, letters, metadata=metadata, pixel_size=pixel_size)


def _sizes(
    axes: list[dict[str, Any]], letters: str, described: list[dict[str, Any]]
) -> tuple[dict[str, Any], dict[str, tuple[float, str]]]:
    """Sizes as OME-TIFF names them, and by axis; scales of image and whole are multiplied."""
    factors = np.ones(len(axes))
    told = False
    for part in described:
        for step in part.get("coordinateTransformations", []):
            if step.get("type") == "scale" and "scale" in step:
                factors, told = factors * np.asarray(step["scale"], dtype=float), True
    metadata: dict[str, Any] = {}
    pixel_size: dict[str, tuple[float, str]] = {}
    if not told:
        return metadata, pixel_size
    for axis, letter, factor in zip(axes, letters, factors, strict=True):
        unit = str(axis.get("unit", ""))
        if letter == "T" and unit:
            metadata |= {"TimeIncrement": float(factor), "TimeIncrementUnit": {"second": "s"}.get(unit, unit)}
        elif letter in "ZYX" and unit in _SIGNS:  # without a unit a scale is but a ratio
            metadata |= {f"PhysicalSize{letter}": float(factor), f"PhysicalSize{letter}Unit": _SIGNS[unit]}
            pixel_size[letter] = (float(factor), _SIGNS[unit])
    return metadata, pixel_size
