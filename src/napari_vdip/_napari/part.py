"""The slices of a layer that are deblurred, and in words what is taken of it; `region` cuts it out. No Qt.

A slice keeps its axis with length 1: the result then shows where its slice shows, and not on
the whole stack.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_vdip._napari import layers
from napari_vdip._napari.region import ratio
from napari_vdip.layout import describe, layout_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.components import Dims
    from napari.layers import Layer

    from napari_vdip._napari.region import Index

ALL, THIS = "all", "this"


def slice_axes(layer: Layer, channel_axis: int | None) -> list[int]:
    """Axes of a layer along which slices lie, more than one of them; channels are no slices."""
    shape = tuple(layers.full_resolution(layer).shape)
    least = 2 + (channel_axis is not None)
    if layer.ndim < least:
        return []
    channel = None if channel_axis is None else channel_axis % len(shape)
    leading = layout_of(shape, bool(layer.rgb), channel_axis).leading
    return [axis for axis in leading if axis != channel and shape[axis] > 1]


def position(layer: Layer, dims: Dims) -> tuple[int, ...]:
    """Index into a layer's data, without colours, of the point that the viewer shows."""
    # While its layers are taken away, a viewer has fewer axes than the last one of them.
    missing = max(0, layer.ndim - len(dims.point))
    point = np.array((0.0,) * missing + tuple(dims.point)[-layer.ndim :])
    units = getattr(dims, "units", None)  # from napari 0.9 on; before, all layers shared their world
    if units is not None and len(units) >= layer.ndim:
        pairs = zip(units[-layer.ndim :], layer.units, strict=True)
        point = point * [ratio(world, own) for world, own in pairs]
    at = np.round(layer.world_to_data(point)).astype(int)
    shape = layers.full_resolution(layer).shape[: layer.ndim]
    return tuple(int(value) for value in np.clip(at, 0, np.array(shape) - 1))


def index_of(
    layer: Layer, choice: str | int, between: tuple[int, int], dims: Dims, channel_axis: int | None
) -> Index:
    """Index that cuts the part out of a layer's data.

    Parameters
    ----------
    layer : Layer
    choice : {"all", "this"} or int
        All slices, the one that the viewer shows, or an axis along which a range is taken.
    between : (int, int)
        First and last slice of the range; either may be the first.
    dims : Dims
        The viewer's.
    channel_axis : int or None

    Returns
    -------
    tuple of slice
        One for each axis of the layer, colours not counted.
    """
    index = [slice(None)] * layer.ndim
    if choice == THIS:
        at = position(layer, dims)
        for axis in slice_axes(layer, channel_axis):
            index[axis] = slice(at[axis], at[axis] + 1)
    elif isinstance(choice, int):
        index[choice] = slice(min(between), max(between) + 1)
    return tuple(index)


def cut_shape(layer: Layer, index: Index) -> tuple[int, ...]:
    """Shape of the part, colours included."""
    whole = tuple(layers.full_resolution(layer).shape)
    cut = tuple(len(range(*taken.indices(n))) for taken, n in zip(index, whole, strict=False))
    return cut + whole[len(index) :]


def in_words(layer: Layer, index: Index, channel_axis: int | None) -> str:
    """Say what will be deblurred, and what of the layer it is.

    Raises
    ------
    VdipError
        If the layer has too few axes for a channel axis.
    """
    whole = tuple(layers.full_resolution(layer).shape)
    labels = tuple(layer.axis_labels)
    text = describe(cut_shape(layer, index), bool(layer.rgb), channel_axis, labels)
    places = [
        _place(name, part, whole[axis])
        for axis, (name, part) in enumerate(zip(_names_of_places(layer, channel_axis), index, strict=True))
        if part.indices(whole[axis]) != (0, whole[axis], 1)
    ]
    lines = [text]
    if places:
        lines.append(f"Taken: {', '.join(places)}.")
    if layer.multiscale:
        lines.append(f"The finest of {len(layer.data)} resolutions.")
    return " ".join(lines)


def axis_names(layer: Layer) -> list[str]:
    """Names of a layer's axes for people: ``z``, or ``axis 0`` where the label is no word."""
    labels: Sequence[str] = layer.axis_labels
    return [label if label.isidentifier() else f"axis {axis}" for axis, label in enumerate(labels)]


def _names_of_places(layer: Layer, channel_axis: int | None) -> list[str]:
    """Names of a layer's axes; height and width are rows and columns where they have no label."""
    names = axis_names(layer)
    channel = None if channel_axis is None else channel_axis % len(names)
    spatial = [axis for axis in range(len(names)) if axis != channel][-2:]
    for axis, name in zip(spatial, ("rows", "columns"), strict=True):
        if names[axis] == f"axis {axis}":
            names[axis] = name
    return names


def _place(name: str, part: slice, length: int) -> str:
    last = part.stop - 1
    chosen = f"{part.start}" if part.start == last else f"{part.start} to {last}"
    return f"{name} {chosen} (of 0 to {length - 1})"
