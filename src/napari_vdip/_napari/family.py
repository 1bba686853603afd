"""The layers that one fit made, found again in a viewer whatever they are called. No Qt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_vdip._napari.layers import METADATA_KEY, ROLE_KEY

if TYPE_CHECKING:
    import napari
    from napari.layers import Layer


def of_report(viewer: napari.viewer.Viewer, report: dict[str, Any]) -> dict[str, Layer]:
    """Layers by their roles that came out of the fit with this very report."""
    return {
        layer.metadata[ROLE_KEY]: layer
        for layer in viewer.layers
        if layer.metadata.get(METADATA_KEY) is report and ROLE_KEY in layer.metadata
    }


def in_view(viewer: napari.viewer.Viewer) -> dict[str, Layer]:
    """Layers of the fit that the selected layer came from, else of the topmost fit; none without any."""
    active = viewer.layers.selection.active
    candidates = [*([active] if active is not None else []), *reversed(viewer.layers)]
    for layer in candidates:
        report = layer.metadata.get(METADATA_KEY)
        if report is not None and ROLE_KEY in layer.metadata:
            return of_report(viewer, report)
    return {}
