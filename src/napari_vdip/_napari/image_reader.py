"""FITS files and OME-Zarr folders as layers, for File > Open."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_vdip._napari.layers import SATURATION_KEY

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_vdip._napari.layers import LayerTuple


def reader(path: str | list[str]) -> Callable[[str | list[str]], list[LayerTuple]] | None:
    """Say how to open a path; None for several files as one stack, which have no common header."""
    return read if isinstance(path, str) else None


def read(path: str | list[str]) -> list[LayerTuple]:
    """Open the first extension of FITS with an image (row 1 comes at the top), or an OME-Zarr image.

    The pixels of OME-Zarr stay where they are until they are looked at.

    Raises
    ------
    InvalidInput
        If it is no such file or folder, damaged, or the package that reads it is not installed.
    """
    from napari_vdip import files

    image = files.read(path if isinstance(path, str) else path[0], lazy=True)
    shown: dict[str, Any] = {"name": files.stem_of(image.path), "metadata": {}}
    if "header" in image.metadata:
        shown["metadata"]["header"] = image.metadata["header"]
    if image.saturation is not None:
        shown["metadata"][SATURATION_KEY] = image.saturation
    letters = image.axes
    if len(set(letters)) == len(letters) and image.data.ndim > 2 and image.kind == "ome":
        shown["axis_labels"] = tuple(letters.lower())
    if {"Y", "X"} <= image.pixel_size.keys():
        sizes = [image.pixel_size.get(letter, (1.0, "pixel")) for letter in letters]
        shown["scale"] = [size for size, _ in sizes]
        shown["units"] = [unit for _, unit in sizes]
    data = image.data
    if not hasattr(data, "__array_interface__"):
        import dask.array

        data = dask.array.from_array(data, chunks=data.chunks)  # type: ignore[attr-defined, no-untyped-call]
    return [(data, shown, "image")]
