"""The record of an image that was read from a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    Array = npt.NDArray[Any]

Kind = Literal["tiff", "imagej", "ome", "png", "jpeg", "fits"]
Form = Literal["tiff", "ome-zarr"]
FORMS: tuple[Form, ...] = get_args(Form)  # of what is written


@dataclass(frozen=True, eq=False)
class ImageFile:
    """An image as it was read, with what its file says about it.

    Attributes
    ----------
    path : Path
        Where it was read from.
    kind : {"tiff", "imagej", "ome", "png", "jpeg", "fits"}
        What the file is.
    data : ndarray, (..., Y, X) or (..., Y, X, 3 or 4)
        Pixel values as stored. Read lazily, something with a shape and a dtype that is sliced like one.
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
    saturation : float or None
        Value from which pixels are saturated, where the file tells it.
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
    saturation: float | None = None

    @property
    def channel_axis(self) -> int | None:
        """Axis of the channels, None without or in an RGB image."""
        return None if self.rgb or "C" not in self.axes else self.axes.index("C")
