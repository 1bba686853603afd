"""What a run changed in the viewer, and the way back and forth: one level of undo. No Qt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_vdip._napari.layers import METADATA_KEY

if TYPE_CHECKING:
    import napari
    from napari.layers import Layer

_GEOMETRY = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")


@dataclass(frozen=True)
class State:
    """What a run sets of a layer; all else belongs to the user.

    Attributes
    ----------
    data : array
        Held, not copied: a run never writes into the data of an earlier one.
    geometry : dict
        Where the data lie.
    name : str
    limits : tuple of float
        Contrast limits.
    report : dict or None
        Report of the fit that the data came from.
    """

    data: Any
    geometry: dict[str, Any]
    name: str
    limits: tuple[float, float]
    report: dict[str, Any] | None

    @classmethod
    def of(cls, layer: Layer) -> State:
        """State of a layer as it is now."""
        low, high = layer.contrast_limits
        geometry = {key: getattr(layer, key) for key in _GEOMETRY}
        geometry["affine"] = np.array(layer.affine.affine_matrix)
        return cls(layer.data, geometry, layer.name, (low, high), layer.metadata.get(METADATA_KEY))

    def give(self, layer: Layer) -> None:
        """Set a layer to this state."""
        layer.data = self.data
        place(layer, self.geometry)
        layer.name = self.name
        layer.contrast_limits = self.limits
        if self.report is None:
            layer.metadata.pop(METADATA_KEY, None)
        else:
            layer.metadata[METADATA_KEY] = self.report


def place(layer: Layer, geometry: dict[str, Any]) -> None:
    """Move a layer, where it does not lie there yet: each change has all listeners told."""
    for key, value in geometry.items():
        now = layer.affine.affine_matrix if key == "affine" else getattr(layer, key)
        if not np.array_equal(now, value):
            setattr(layer, key, value)


class Change:
    """All that one run did to the viewer's layers, so that it can be undone and done again.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self._viewer = viewer
        self._before: list[tuple[Layer, State | None]] = []  # None: the run added the layer
        self._after: list[tuple[Layer, State | None]] | None = None

    @property
    def undone(self) -> bool:
        """Whether the layers are as they were before the run."""
        return self._after is not None

    def __bool__(self) -> bool:
        return bool(self._before)

    def will_add(self, layer: Layer) -> None:
        """Note a layer that the run adds."""
        self._before.append((layer, None))

    def will_change(self, layer: Layer) -> None:
        """Note a layer of an earlier run whose contents the run replaces, or that it removes."""
        self._before.append((layer, State.of(layer)))

    def undo(self) -> None:
        """Set all layers to what they were before the run; those that it added are removed."""
        if self._after is None:
            self._after = [(layer, self._now(layer)) for layer, _ in self._before]
            self._go(self._before)

    def redo(self) -> None:
        """Set all layers to what they were before `undo`."""
        if self._after is not None:
            after, self._after = self._after, None
            self._go(after)

    def _now(self, layer: Layer) -> State | None:
        return State.of(layer) if layer in self._viewer.layers else None

    def _go(self, states: list[tuple[Layer, State | None]]) -> None:
        for layer, state in states:
            there = layer in self._viewer.layers
            if state is None:
                if there:
                    self._viewer.layers.remove(layer)
                continue
            state.give(layer)
            if not there:  # removed, by the run or by the user
                self._viewer.add_layer(layer)
