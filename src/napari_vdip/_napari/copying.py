"""A run as text: where the pixels of its layers can be had again, and the clipboard."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtGui import QGuiApplication

from napari_vdip._napari import layers, region
from napari_vdip.errors import VdipError
from napari_vdip.recipe import Origin, Recipe

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari.layers import Layer

    from napari_vdip._napari.region import Index
    from napari_vdip.options import Options

_COMPARED = 2**28  # bytes; of a larger image it is not found out whether its file holds the same pixels


def recipe(image: Layer, index: Index, options: Options, arrays: Mapping[str, Layer | None]) -> Recipe:
    """Describe a run.

    Parameters
    ----------
    image : Image
    index : tuple of slice
        What is cut out of it.
    options : Options
        As the fit gets them.
    arrays : mapping
        Layers given as ``kernel`` and ``mask``.
    """
    axes = region.spatial_axes(image, options.channel_axis)
    shape = layers.full_resolution(image).shape[: len(index)]
    cuts = {shape: index, tuple(shape[axis] for axis in axes): tuple(index[axis] for axis in axes)}
    origins = {
        name: origin(layer, cuts.get(_shape(layer), ()) if name == "mask" else ())
        for name, layer in arrays.items()
        if layer is not None
    }
    return Recipe(options, origin(image, index), origins)


def origin(layer: Layer, index: Index = ()) -> Origin:
    """Say where a layer's pixels can be had again: from its file only if they are the same there."""
    path = None if layer.source.path is None else str(layer.source.path)
    if path is not None and not _same(path, layer):
        path = None
    return Origin(layer.name, path, bool(layer.multiscale), index)


def to_clipboard(text: str) -> None:
    """Put a text on the clipboard."""
    clipboard = QGuiApplication.clipboard()
    if clipboard is not None:
        clipboard.setText(text)


def _same(path: str, layer: Layer) -> bool:
    """Whether a file, as this package reads it, holds a layer's pixels."""
    from napari_vdip.files import read

    data = layers.full_resolution(layer)
    if not isinstance(data, np.ndarray) or data.nbytes > _COMPARED:
        return False
    try:
        return np.array_equal(read(path).data, data)
    except VdipError:
        return False


def _shape(layer: Layer) -> tuple[int, ...]:
    return tuple(layers.full_resolution(layer).shape)
