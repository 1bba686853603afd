"""Saved models as layers: the reader that napari calls for .pt and .onnx files. No Qt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_vdip._napari import layers
from napari_vdip.errors import InvalidInput
from napari_vdip.files import stem_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_vdip._napari.layers import LayerTuple
    from napari_vdip.modelfile import Model


def reader(path: str | list[str]) -> Callable[[str | list[str]], list[LayerTuple]]:
    """Take any file of these kinds: what is wrong with one is told when it is read."""
    return read


def read(path: str | list[str]) -> list[LayerTuple]:
    """Read a model: deblurred image, kernel and uncertainty, as a run makes them.

    Parameters
    ----------
    path : str, or list of str
        Several files, opened as a stack, are refused.

    Raises
    ------
    VdipError
        If a file is damaged, or is no fitted model of this program.
    """
    from napari_vdip import modelfile

    if not isinstance(path, str):
        if len(path) > 1:
            raise InvalidInput("fitted models cannot be opened as a stack; open them one by one")
        path = path[0]
    model = modelfile.load(path)
    return layers.from_result(model.result, _source(model, stem_of(path)))


def _source(model: Model, name: str) -> layers.Source:
    """Record that the blurred image of this model would give."""
    from napari.layers import Image

    image, geometry = model.result.image, {}
    if {"Y", "X"} <= model.pixel_size.keys() and _is_unit(model.pixel_size["X"][1]):
        (height, unit), (width, _) = model.pixel_size["Y"], model.pixel_size["X"]
        leading = image.ndim - 2 - model.rgb
        geometry = {"scale": (*[1.0] * leading, height, width), "units": (*["pixel"] * leading, unit, unit)}
    return layers.record(Image(image, name=name, rgb=model.rgb, **geometry))


def _is_unit(name: str) -> bool:
    """Whether napari, which asks pint, knows a unit."""
    import pint

    try:
        pint.get_application_registry().Unit(name)  # type: ignore[no-untyped-call]
    except (pint.PintError, ValueError):
        return False
    return True
