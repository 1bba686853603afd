"""FITS files as layers, for File > Open."""

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
    """Open the first extension with an image; row 1 of FITS comes at the top.

    Raises
    ------
    InvalidInput
        If it is no FITS file, damaged, or astropy is not installed.
    """
    from napari_vdip import files

    image = files.read(path if isinstance(path, str) else path[0])
    shown: dict[str, Any] = {
        "name": files.stem_of(image.path),
        "metadata": {"header": image.metadata.get("header", "")},
    }
    if image.saturation is not None:
        shown["metadata"][SATURATION_KEY] = image.saturation
    if {"Y", "X"} <= image.pixel_size.keys():
        leading = image.data.ndim - 2
        sizes = [image.pixel_size["Y"], image.pixel_size["X"]]
        shown["scale"] = [1.0] * leading + [size for size, _ in sizes]
        shown["units"] = ["pixel"] * leading + [unit for _, unit in sizes]
    return [(image.data, shown, "image")]
