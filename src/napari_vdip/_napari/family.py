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


def in_view(viewer: napari.viewer.Viewer, preferred: dict[str, Any] | None = None) -> dict[str, Layer]:
    """Layers of the fit that is looked at, by their roles; none if the viewer has no layer of a fit.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    preferred : dict, optional
        Report of the fit that is meant where the selected layer is of none; else the topmost one is.
    """
    active = viewer.layers.selection.active
    candidates = [*([active] if active is not None else []), *reversed(viewer.layers)]
    reports = [layer.metadata[METADATA_KEY] for layer in candidates if is_of_fit(layer)]
    if not reports:
        return {}
    of_selected = active is not None and is_of_fit(active)
    there = any(report is preferred for report in reports)
    return of_report(viewer, preferred if preferred is not None and there and not of_selected else reports[0])


def is_of_fit(layer: Layer) -> bool:
    """Whether a layer came out of a fit."""
    return METADATA_KEY in layer.metadata and ROLE_KEY in layer.metadata
