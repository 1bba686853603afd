"""Size of a layer's pixels, and a kernel that is brought onto those of an image. No Qt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_vdip._napari import layers
from napari_vdip.psf import PixelSize, matched

if TYPE_CHECKING:
    import numpy.typing as npt
    from napari.layers import Layer


def size_of(layer: Layer, axes: tuple[int, int] = (-2, -1)) -> PixelSize:
    """Size of a layer's pixels along height and width; 1 pixel where their units differ."""
    height, width = (abs(float(layer.scale[axis])) for axis in axes)
    unit, across = (str(layer.units[axis]) for axis in axes)
    return PixelSize(height, width, unit) if unit == across else PixelSize()


def kernel_for(layer: Layer, image: Layer, axes: tuple[int, int]) -> tuple[npt.NDArray[Any], str]:
    """Take a kernel from a layer, on the pixels of an image.

    Parameters
    ----------
    layer, image : Layer
        With the kernel, and to be deblurred.
    axes : (int, int)
        Axes of height and width of the image.

    Returns
    -------
    kernel : ndarray, (h, w)
    note : str
        What is to be told about it; empty if nothing.

    Raises
    ------
    InvalidInput
        If the layer holds no kernel, or its units cannot be converted into the image's.
    """
    kernel = np.asarray(layers.to_kernel(layer))
    return matched(kernel, size_of(layer), size_of(image, axes)) if kernel.ndim == 2 else (kernel, "")
