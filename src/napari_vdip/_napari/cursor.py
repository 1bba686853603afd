"""The value under the cursor with its standard deviation, in napari's status bar: ``412 ± 18``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_vdip._napari import family
from napari_vdip._napari.layers import METADATA_KEY, ROLE_KEY
from napari_vdip.trust import written

if TYPE_CHECKING:
    import napari
    from napari.layers import Layer


class CursorStatus:
    """Completes what napari writes into its status bar while a deblurred layer is selected.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self._viewer = viewer
        # Last: napari's own listener has shown its text by then, and ours replaces it.
        viewer.events.status.connect(self._complete, position="last")

    def close(self) -> None:
        """Leave the status bar to napari."""
        self._viewer.events.status.disconnect(self._complete)

    def _complete(self, event: Any) -> None:
        status = event.value
        layer = self._viewer.layers.selection.active
        if not isinstance(status, dict) or layer is None:
            return
        if layer.metadata.get(ROLE_KEY) != "deblurred" or "±" in status.get("coordinates", ""):
            return
        layers = family.of_report(self._viewer, layer.metadata[METADATA_KEY])
        if "uncertainty" not in layers or not status.get("value"):
            return
        text = _at(layer, layers["uncertainty"], self._viewer.cursor.position)
        if text:
            self._viewer.status = status | {"value": text, "coordinates": f"{status['coords']}: {text}"}


def _at(layer: Layer, uncertainty: Layer, position: tuple[float, ...]) -> str:
    """Value and standard deviation at a place in the world; empty beside the image."""
    index = tuple(int(i) for i in np.round(layer.world_to_data(position)))
    shape = uncertainty.data.shape
    if len(index) != len(shape) or not all(0 <= i < n for i, n in zip(index, shape, strict=True)):
        return ""
    # Colours have one standard deviation, that of their mean square.
    value = float(np.mean(layer.data[index][:3])) if layer.rgb else float(layer.data[index])
    return written(value, float(uncertainty.data[index]))
