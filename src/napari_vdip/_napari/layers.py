"""Results as layers: data, geometry, names and looks. No Qt; nothing here touches a viewer.

A run takes long enough for its source layer to be renamed or removed meanwhile, so all
that its results need to know of the layer is recorded before the run starts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_vdip import defects, trust
from napari_vdip.errors import InvalidInput

if TYPE_CHECKING:
    import numpy.typing as npt
    from napari.layers import Layer

    from napari_vdip.result import Result

    LayerTuple = tuple[Any, dict[str, Any], str]

METADATA_KEY = "napari-vdip"  # of a layer's metadata: the report of the fit it came from
ROLE_KEY = "napari-vdip role"  # alike: which of the layers of that fit it is
SATURATION_KEY = "napari-vdip saturation"  # of an image: the value from which on it is saturated
ROLES = ("deblurred", "kernel", "uncertainty")  # what a fit makes, in the order of the layers
_KERNEL_GAP = 0.05  # of the image's width, between the image and its kernel
_ENOUGH = 1_000_000  # values that are looked at to find contrast limits: all would halt the viewer


@dataclass(frozen=True)
class Source:
    """What is kept of the layer that is deblurred.

    Attributes
    ----------
    name : str
        Its name when the run was started.
    rgb : bool
        Whether the last axis of its data holds colours.
    geometry : dict
        Keywords of the layer that place its data in the world: ``scale``, ``translate``,
        ``rotate``, ``shear``, ``affine``, ``units``, ``axis_labels``.
    looks : dict
        ``colormap`` and ``gamma``.
    contrast_limits : tuple of float
        Intensities shown as black and white.
    channel_axis : int or None
        Axis of channels, with which it is deblurred.
    start, whole : tuple of int or None
        Where a part that is deblurred alone begins in the layer's data, and the shape of these,
        both without colours. None: all of it is deblurred.
    """

    name: str
    rgb: bool
    geometry: dict[str, Any]
    looks: dict[str, Any]
    contrast_limits: tuple[float, float]
    channel_axis: int | None = None
    start: tuple[int, ...] | None = None
    whole: tuple[int, ...] | None = None


def record(layer: Layer, channel_axis: int | None = None) -> Source:
    """Record what the results need to know of an image layer."""
    low, high = layer.contrast_limits
    return Source(
        name=layer.name,
        rgb=bool(layer.rgb),
        geometry=_geometry(layer),
        looks={"colormap": layer.colormap, "gamma": float(layer.gamma)},
        contrast_limits=(float(low), float(high)),
        channel_axis=channel_axis,
    )


def full_resolution(layer: Layer) -> Any:
    """Return the data of an image or labels layer, not yet loaded; of a multiscale one, the finest level."""
    return layer.data[0] if layer.multiscale else layer.data


def to_kernel(layer: Layer) -> npt.NDArray[Any]:
    """Take a known kernel from an image layer.

    Raises
    ------
    InvalidInput
        If the layer is in colour.
    """
    if getattr(layer, "rgb", False):
        raise InvalidInput(
            f"the layer {layer.name!r} is in colour and cannot be the kernel; choose a 2-D image of one "
            "channel"
        )
    return np.asarray(full_resolution(layer))


def with_saturated(
    layer: Layer, mask: npt.NDArray[np.bool_] | None
) -> tuple[npt.NDArray[np.bool_] | None, str]:
    """Add to a mask what is saturated by the header of the layer's file, as the shell does.

    Returns
    -------
    mask : ndarray of bool or None
    note : str
        What is to be told about it; empty if nothing.
    """
    limit = layer.metadata.get(SATURATION_KEY)
    if limit is None:
        return mask, ""
    full, note = defects.beyond(np.asarray(full_resolution(layer)), limit)
    return (mask, "") if not note else (full if mask is None else full | mask, note)


def to_mask(layer: Layer) -> npt.NDArray[np.bool_]:
    """Take a mask from a labels or image layer: what is not 0 takes no part in the fit.

    Raises
    ------
    InvalidInput
        If the layer is in colour.
    """
    if getattr(layer, "rgb", False):
        raise InvalidInput(
            f"the layer {layer.name!r} is in colour and cannot be the mask; choose a labels layer, or an "
            "image of one channel"
        )
    return np.asarray(np.asarray(full_resolution(layer)) != 0)


def channel_axis(layer: Layer) -> int | None:
    """Axis that the labels of an image layer call a channel, or None."""
    if layer.rgb:
        return None
    for axis, label in enumerate(layer.axis_labels):
        if label.lower() in ("c", "ch", "channel", "channels"):
            return axis
    return None


def from_result(result: Result, source: Source) -> list[LayerTuple]:
    """Make the layers of a result: deblurred image, kernel, uncertainty.

    Parameters
    ----------
    result : Result
        A finished or stopped fit of the source layer's data.
    source : Source
        Record of that layer.

    Returns
    -------
    list of (data, keywords, "image")
        The uncertainty is hidden at first, as it would cover the image; it is left out
        where the method has none.
    """
    makers = {"deblurred": _image, "kernel": _kernel, "uncertainty": _uncertainty}
    return [
        (data, makers[role](result, source) | {"metadata": _metadata(result.report, role)}, "image")
        for role, data in data_of(result, source).items()
    ]


def _metadata(report: dict[str, Any], role: str) -> dict[str, Any]:
    return {METADATA_KEY: report, ROLE_KEY: role}


def relative_keywords(share: npt.NDArray[Any], uncertainty: Layer) -> dict[str, Any]:
    """Keywords of the layer of the relative uncertainty, in percent, beside the absolute one."""
    low, high = _spread(share)
    return {
        "name": f"{uncertainty.name} (%)",
        # Near 0 the share has no bounds: they would leave all else black.
        "contrast_limits": (low, high) if high <= 100 or low >= 50 else (low, 100.0),
        "colormap": uncertainty.colormap,
        "metadata": _metadata(uncertainty.metadata[METADATA_KEY], "relative"),
        **_geometry(uncertainty),
    }


def mask_keywords(uncertainty: Layer) -> dict[str, Any]:
    """Keywords of the Labels layer that marks what is not to be trusted; it can be a run's `mask`."""
    from napari.utils import DirectLabelColormap

    return {
        "name": f"{uncertainty.name.removesuffix(' uncertainty')} not to be trusted",
        "opacity": 0.5,
        # The colours that napari would choose may be as dark as the image.
        "colormap": DirectLabelColormap(color_dict={None: "transparent", 1: "orange"}),
        "metadata": _metadata(uncertainty.metadata[METADATA_KEY], "doubtful"),
        **_geometry(uncertainty),
    }


def _geometry(layer: Layer) -> dict[str, Any]:
    """Keywords that place data where those of a layer lie."""
    keys = ("scale", "translate", "rotate", "shear")
    return {
        **{key: np.array(getattr(layer, key)) for key in keys},
        "affine": np.array(layer.affine.affine_matrix),
        "units": tuple(layer.units),
        "axis_labels": tuple(layer.axis_labels),
    }


def data_of(result: Result, source: Source) -> dict[str, npt.NDArray[Any]]:
    """Arrays of the layers that a result makes, by their roles; views where possible, for speed."""
    made = {"deblurred": result.image, "kernel": result.kernel}
    if result.kernel.ndim > 2:
        # (slices..., Kh, Kw) -> the order of the layer's axes, which a last axis of channels changes
        made["kernel"] = np.moveaxis(result.kernel, (-2, -1), _spatial(result, source))
    if _finite(result.uncertainty).size:
        # Three standard deviations as red, green and blue say nothing; one has a scale of colours.
        made["uncertainty"] = trust.grey(result.uncertainty) if source.rgb else result.uncertainty
    return made


def _image(result: Result, source: Source) -> dict[str, Any]:
    return {
        "name": f"{source.name} deblurred",
        "rgb": source.rgb,
        "contrast_limits": _like_source(result.image, source.contrast_limits),
        **source.looks,
        **source.geometry,
    }


def _uncertainty(result: Result, source: Source) -> dict[str, Any]:
    return {
        "name": f"{source.name} uncertainty",
        "rgb": False,
        "contrast_limits": _spread(data_of(result, source)["uncertainty"]),
        "colormap": "magma",
        "visible": False,
        **source.geometry,
    }


def _kernel(result: Result, source: Source) -> dict[str, Any]:
    """Kernel layer, right of the whole image: the same pixels in the same world, shifted by its width."""
    height_axis, width_axis = _spatial(result, source)
    width = (source.whole or result.image.shape)[width_axis]
    offset = np.zeros(len(source.geometry["scale"]))
    offset[width_axis] = width + max(2, round(_KERNEL_GAP * width))
    if source.start is not None:  # the geometry is that of the part
        offset[[height_axis, width_axis]] -= np.take(source.start, (height_axis, width_axis))
    return {
        "name": f"{source.name} kernel",
        "rgb": False,
        "contrast_limits": (0.0, peak(result.kernel)),
        "colormap": "gray",
        "interpolation2d": "nearest",
        **source.geometry,
        "translate": source.geometry["translate"] + linear(source.geometry) @ offset,
    }


def peak(kernel: npt.NDArray[Any]) -> float:
    """Value of a kernel that is shown as white: its largest one, or 1 if there is none."""
    top = float(np.max(kernel, initial=0.0, where=np.isfinite(kernel)))
    return top if top > 0 else 1.0


def _spatial(result: Result, source: Source) -> tuple[int, int]:
    """Axes of height and width."""
    ndim = result.image.ndim - source.rgb
    axes = [axis for axis in range(ndim) if axis != _positive(source.channel_axis, ndim)]
    return axes[-2], axes[-1]


def _positive(axis: int | None, ndim: int) -> int | None:
    return None if axis is None else axis % ndim


def linear(geometry: dict[str, Any]) -> npt.NDArray[np.float64]:
    """Linear part of a layer's own transform (without `affine`): pixels to world, (n, n)."""
    from napari.utils.transforms import Affine

    parts = {key: geometry[key] for key in ("scale", "rotate", "shear")}
    matrix: npt.NDArray[np.float64] = Affine(ndim=len(geometry["scale"]), **parts).linear_matrix
    return matrix


def _like_source(data: npt.NDArray[Any], limits: tuple[float, float]) -> tuple[float, float]:
    """Contrast limits of the source, so that both look alike, unless they would hide the data."""
    low, high = limits
    finite = _finite(data)
    if np.isfinite(limits).all() and low < high and (not finite.size or low <= np.median(finite) <= high):
        return limits
    return _spread(data)


def _spread(data: npt.NDArray[Any]) -> tuple[float, float]:
    """Contrast limits that leave out the extremes; valid for constant and for absent data too."""
    finite = _finite(data)
    if not finite.size:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(finite, (0.5, 99.5)))
    if high - low <= 1e-6 * max(abs(low), abs(high)):  # float32 tells them apart no better
        high = low + max(abs(low), 1e-6)
    return low, high


def _finite(data: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Finite values of an array, (n,): all, or of a large one evenly spread ones."""
    values = data.reshape(-1)[:: data.size // _ENOUGH | 1]  # odd: columns and colours come by in turn
    finite: npt.NDArray[Any] = values[np.isfinite(values)]
    return finite
