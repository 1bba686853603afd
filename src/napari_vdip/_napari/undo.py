"""What a run changed in the viewer, and the way back and forth: one level of undo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QTimer

from napari_vdip._napari.layers import METADATA_KEY

if TYPE_CHECKING:
    import napari
    from napari.layers import Layer

_DRAWN = 60  # ms in which the window draws itself
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

    Layers are removed one by one, the window drawn in between: napari frees what a layer holds on
    the graphics card, and when three go at once its next drawing crashed (vispy 0.17 with
    Mesa; napari#7345 has the like on other cards).

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self._viewer = viewer
        self._before: list[tuple[Layer, State | None]] = []  # None: the run added the layer
        self._after: list[tuple[Layer, State | None]] | None = None
        self._leaving: list[Layer] = []
        self._waiting = False

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

    def halt(self) -> None:
        """Leave the layers as they are now: the viewer may be closing."""
        self._leaving = []

    def forget(self) -> None:
        """Give up the way back. What is still to be removed will be."""
        self._before, self._after = [], None

    def removes(self, layer: Layer) -> bool:
        """Whether a layer is about to be removed."""
        return layer in self._leaving

    def _now(self, layer: Layer) -> State | None:
        return State.of(layer) if self._there(layer) else None

    def _there(self, layer: Layer) -> bool:
        return layer in self._viewer.layers and not self.removes(layer)

    def _go(self, states: list[tuple[Layer, State | None]]) -> None:
        self.halt()
        for layer, state in states:
            if state is not None:
                state.give(layer)
                if layer not in self._viewer.layers:  # removed, by the run or by the user
                    self._viewer.add_layer(layer)
        self._leaving = [layer for layer, state in states if state is None]
        if not self._waiting:
            self._remove_next()

    def _remove_next(self) -> None:
        self._waiting = False
        self._leaving = [layer for layer in self._leaving if layer in self._viewer.layers]
        if self._leaving:
            self._viewer.layers.remove(self._leaving.pop(0))
        if self._leaving:
            self._waiting = True
            # A closure keeps this object until all is removed, whatever becomes of its run.
            QTimer.singleShot(_DRAWN, lambda: self._remove_next())
