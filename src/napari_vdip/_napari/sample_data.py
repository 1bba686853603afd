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
    rgb = sample.blurred.ndim == 3
    shown: dict[str, Any] = {
        "rgb": rgb,
        "scale": (sample.pixel_size, sample.pixel_size),
        "units": (sample.unit, sample.unit),
        "metadata": {"description": sample.description},
    }
    return [
        (sample.sharp, {**shown, "name": f"{name} truth", "visible": False}, "image"),
        (sample.blurred, {**shown, "name": name}, "image"),
    ]
