"""The samples as layers, for File > Open Sample."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_vdip._napari.layers import LayerTuple


def microscopy() -> list[LayerTuple]:
    """Layers of the microscopy sample."""
    return _layers("microscopy")


def photograph() -> list[LayerTuple]:
    """Layers of the photograph sample."""
    return _layers("photograph")


def _layers(name: str) -> list[LayerTuple]:
    """Truth first and hidden, the blurred image last: the last one added is the selected one."""
    from napari_vdip import samples

    sample = samples.load(name)
    pixel, side = sample.pixel_size, sample.blurred.shape[1]
    common: dict[str, Any] = {
        "rgb": False,
        "scale": (pixel, pixel),
        "units": (sample.unit, sample.unit),
        "metadata": {"description": sample.description},
    }
    hidden = {**common, "visible": False}
    # Right of the image, below where the kernel found will be.
    beside = {"translate": (pixel * side / 2, pixel * side * 1.05), "interpolation2d": "nearest"}
    return [
        (sample.kernel, {**hidden, **beside, "name": f"{name} true kernel"}, "image"),
        (sample.sharp, {**hidden, "name": f"{name} true image"}, "image"),
        (sample.blurred, {**common, "name": name}, "image"),
    ]
