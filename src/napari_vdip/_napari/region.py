"""The part of an image that is deblurred: where it is in the layer's data, and where its result lies. No Qt.

A part is an index, one slice for each axis of the layer (colours not counted). Regions restrict
height and width; which slices are taken stands in `part`.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_vdip._napari import layers
from napari_vdip.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt
    from napari.components import ViewerModel
    from napari.layers import Image, Layer, Shapes

    Index = tuple[slice, ...]
    Points = npt.NDArray[np.float64]

WHOLE, VIEW, SHAPE = "whole image", "current view", "rectangle"
CHOICES = (WHOLE, VIEW, SHAPE)

_LEAST = 8  # px; below, there is nothing to fit


def spatial_axes(layer: Image, channel_axis: int | None) -> tuple[int, int]:
    """Axes of height and width: the last two that are no channels and no colours."""
    return _spatial(layer.ndim, channel_axis)


def of_view(viewer: ViewerModel, layer: Image, channel_axis: int | None) -> Index:
    """Part of a layer that the canvas shows.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Showing two dimensions.
    layer : Image
    channel_axis : int or None

    Returns
    -------
    tuple of slice
        Box along the layer's axes around what is seen. An axis that is not displayed is taken whole.

    Raises
    ------
    InvalidInput
        If the view has three dimensions, or shows nothing of the layer.
    """
    if viewer.dims.ndisplay != 2:
        raise InvalidInput(
            "the current view is in 3-D and has no rectangle; switch to 2-D, or draw a rectangle"
        )
    hidden = set(range(viewer.dims.ndim)) - set(viewer.dims.displayed)
    first = viewer.dims.ndim - layer.ndim
    unseen = [axis for axis in range(layer.ndim) if first + axis in hidden]
    points = _to_data(view_corners(viewer), getattr(viewer.dims, "units", ()), layer)
    return _around(points, layer, [axis for axis in spatial_axes(layer, channel_axis) if axis not in unseen])


def view_corners(viewer: ViewerModel) -> Points:
    """World coordinates of the four corners of the canvas, (4, ndim).

    In grid mode, of one cell of the grid.
    """
    camera = getattr(viewer, "scene", viewer).camera  # before napari 0.9: viewer.camera
    size, cells = _canvas(viewer)
    half = size / cells / 2 / camera.zoom
    corners = np.tile(np.asarray(viewer.dims.point, dtype=float), (4, 1))
    displayed = list(viewer.dims.displayed)
    for corner, signs in zip(corners, itertools.product((-1, 1), repeat=2), strict=True):
        corner[displayed] = np.asarray(camera.center)[-2:] + half * signs
    return corners


def _canvas(viewer: ViewerModel) -> tuple[Points, tuple[int, int]]:
    """Height and width of the canvas in its pixels, and its rows and columns in grid mode."""
    if hasattr(viewer, "canvas"):
        return np.array(viewer.canvas.size, dtype=float), viewer.canvas.grid.actual_shape(viewer.layers)
    bare = getattr(viewer, "__wrapped__", viewer)  # before napari 0.9 the size was private
    return np.array(bare._canvas_size, dtype=float), viewer.grid.actual_shape(len(viewer.layers))


def of_shape(shapes: Shapes | None, layer: Image, channel_axis: int | None) -> Index:
    """Part of a layer inside the box around a shape.

    Parameters
    ----------
    shapes : Shapes or None
        The selected shape counts; without a selection the last one drawn. May have another
        scale, rotation or number of axes than the image.
    layer : Image
    channel_axis : int or None

    Raises
    ------
    InvalidInput
        If there is no layer or no shape, or if it does not touch the image.
    """
    if shapes is None or not len(shapes.data):
        raise InvalidInput(
            "there is no rectangle yet; add a Shapes layer, draw a rectangle on the image and press Run again"
        )
    chosen = max(shapes.selected_data) if shapes.selected_data else len(shapes.data) - 1
    corners = np.array([shapes.data_to_world(corner) for corner in shapes.data[chosen]], dtype=float)
    points = _to_data(corners, shapes.units, layer)
    return _around(points, layer, spatial_axes(layer, channel_axis))


def check_size(index: Index, layer: Image, axes: tuple[int, int], kernel_size: Any) -> None:
    """Raise InvalidInput if a part is smaller than the kernel.

    Parameters
    ----------
    index : tuple of slice
    layer : Image
    axes : (int, int)
        Of height and width.
    kernel_size : int, (int, int) or "auto"
    """
    shape = layers.full_resolution(layer).shape
    height, width = (len(range(*index[axis].indices(shape[axis]))) for axis in axes)
    given = (0, 0) if kernel_size == "auto" else kernel_size
    least = given if isinstance(given, tuple) else (given, given)
    if height < max(least[0], _LEAST) or width < max(least[1], _LEAST):
        wanted = " x ".join(str(max(size, _LEAST)) for size in least)
        raise InvalidInput(
            f"the region is {height} x {width} px, but at least {wanted} px are needed"
            + ("" if kernel_size == "auto" else " for a kernel of this size")
            + "; draw it larger or zoom out"
        )


def is_whole(index: Sequence[slice], shape: Sequence[int]) -> bool:
    """Whether an index takes all of an array's axes (that of colours not counted)."""
    return all(part.indices(length) == (0, length, 1) for part, length in zip(index, shape, strict=False))


def cut(data: Any, index: Index) -> Any:
    """Cut the part out of a layer's data; what lies on a disk stays there until a fit reads it."""
    if is_whole(index, data.shape):
        return data
    if isinstance(data, np.ndarray) or hasattr(data, "dask"):
        return data[index]
    import dask.array

    return dask.array.from_array(data, name=False)[index]  # type: ignore[no-untyped-call]


def cut_mask(mask: Any, shape: tuple[int, ...], axes: tuple[int, int], index: Index) -> Any:
    """Cut a mask alike, be it of the whole image's shape or of its height and width.

    Raises
    ------
    InvalidInput
        If it is of another shape.
    """
    if mask is None or is_whole(index, shape):
        return mask
    plane = tuple(shape[axis] for axis in axes)
    if mask.shape == plane:
        return mask[tuple(index[axis] for axis in axes)]
    if mask.shape == shape[: len(index)]:
        return mask[index]
    raise InvalidInput(f"the mask has shape {mask.shape}; expected {plane} or {shape[: len(index)]}")


def moved(
    source: layers.Source, index: Index, shape: tuple[int, ...], axes: tuple[int, int]
) -> layers.Source:
    """Record of the part of a layer: placed where the part lies.

    Parameters
    ----------
    source : Source
        Record of the whole layer.
    index : tuple of slice
    shape : tuple of int
        Of the layer's data.
    axes : (int, int)
        Of height and width: a part of these is called a region.
    """
    whole = shape[: len(index)]
    if is_whole(index, whole):
        return source
    start = tuple(part.indices(length)[0] for part, length in zip(index, whole, strict=True))
    translate = source.geometry["translate"] + layers.linear(source.geometry) @ np.array(start, dtype=float)
    within = not is_whole(tuple(index[axis] for axis in axes), tuple(whole[axis] for axis in axes))
    return dataclasses.replace(
        source,
        name=f"{source.name} region" if within else source.name,
        geometry={**source.geometry, "translate": translate},
        start=start,
        whole=whole,
    )


def _spatial(ndim: int, channel_axis: int | None) -> tuple[int, int]:
    channel = None if channel_axis is None else channel_axis % ndim
    axes = [axis for axis in range(ndim) if axis != channel]
    return axes[-2], axes[-1]


def _around(points: Points, layer: Layer, axes: Iterable[int]) -> Index:
    """Smallest index that holds all pixels between points (n, ndim) of a layer's data, along some axes."""
    shape = layers.full_resolution(layer).shape
    # Pixel i reaches from i - 0.5 to i + 0.5; rounded, as transforms are inverted in floating point.
    low = np.floor(np.round(points.min(0) + 0.5, 6)).astype(int)
    high = np.ceil(np.round(points.max(0) + 0.5, 6)).astype(int)
    index = [slice(None)] * layer.ndim
    for axis in axes:
        start, stop = max(0, low[axis]), min(shape[axis], max(high[axis], low[axis] + 1))
        if start >= stop:
            raise InvalidInput(
                f"the region does not touch the image {layer.name!r}; draw it on the image, or move the "
                "view there"
            )
        index[axis] = slice(int(start), int(stop))
    return tuple(index)


def _to_data(points: Points, units: Any, layer: Layer) -> Points:
    """World coordinates (n, m) in some units as coordinates in a layer's data, (n, layer.ndim)."""
    count = min(points.shape[1], layer.ndim)
    points = points[:, -count:].copy()
    for axis in range(-count, 0):
        if len(units) >= -axis:
            points[:, axis] *= ratio(units[axis], layer.units[axis])
    return np.array([layer.world_to_data(point) for point in points], dtype=float)


def ratio(world: Any, own: Any) -> float:
    """How many of a layer's units one of the world's is; 1 where napari does not convert them either."""
    if world == own:
        return 1.0
    import pint

    registry = pint.get_application_registry()  # type: ignore[no-untyped-call]
    (there, kind), (here, own_kind) = registry.get_base_units(world), registry.get_base_units(own)
    return float(there / here) if kind == own_kind else 1.0
