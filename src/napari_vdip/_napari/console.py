"""`deblur_layer`: a layer in, layers out, for napari's console and for scripts. No Qt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_vdip._napari import layers
from napari_vdip.api import deblur
from napari_vdip.errors import InvalidInput

if TYPE_CHECKING:
    from napari.layers import Layer

    from napari_vdip._napari.layers import LayerTuple


def deblur_layer(layer: Layer | tuple[Any, ...], **options: Any) -> list[LayerTuple]:
    """Deblur an image layer; the results lie where it lies.

    Parameters
    ----------
    layer : napari.layers.Image, or (data, keywords, "image")
        The blurred image, as a layer or as layer data; of a multiscale one the finest level.
    **options
        Any field of `Options`. ``rgb`` is known from the layer; ``channel_axis`` too, where an axis
        label says so (``c``, ``channel``), unless it is given. ``kernel`` and ``mask`` may be layers.

    Returns
    -------
    list of (data, keywords, "image")
        Deblurred image, kernel and uncertainty (none with ``method="dip"``). Add each by
        ``viewer.add_layer(napari.layers.Layer.create(*data))``.

    Raises
    ------
    VdipError
        As `deblur`; and if the layer is no image layer.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_vdip import deblur_layer
    >>> image = np.random.default_rng(0).random((40, 48))
    >>> data = deblur_layer((image, {"name": "cells", "scale": (2, 2)}, "image"), kernel_size=5, iterations=3)
    >>> [keywords["name"] for _, keywords, _ in data]
    ['cells deblurred', 'cells kernel', 'cells uncertainty']
    """
    source = _image(layer)
    if "rgb" not in options:
        options["rgb"] = bool(source.rgb)
    if "channel_axis" not in options and not options["rgb"]:
        options["channel_axis"] = layers.channel_axis(source)
    for name, taken in (("kernel", layers.to_kernel), ("mask", layers.to_mask)):
        if hasattr(options.get(name), "source"):
            options[name] = taken(options[name])
    record = layers.record(source, options.get("channel_axis"))
    return layers.from_result(deblur(layers.full_resolution(source), **options), record)


def _image(layer: Layer | tuple[Any, ...]) -> Layer:
    """Make sure that something is an image layer.

    Raises
    ------
    InvalidInput
        If it is not.
    """
    from napari.layers import Image
    from napari.layers import Layer as AnyLayer

    if isinstance(layer, tuple) and len(layer) in (1, 2, 3):
        layer = AnyLayer.create(*layer)
    if isinstance(layer, np.ndarray):
        raise InvalidInput(
            "an array was given, not a layer; use deblur(array), or napari.layers.Image(array)"
        )
    if not isinstance(layer, Image):
        raise InvalidInput(
            f"{type(layer).__name__} {getattr(layer, 'name', '')!r} was given; expected an image layer, such "
            "as viewer.layers['cells']"
        )
    return layer
