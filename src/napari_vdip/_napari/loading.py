"""A measured PSF from a file, as a layer of the viewer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from magicgui.widgets import PushButton
from qtpy.QtWidgets import QFileDialog

from napari_vdip import files, kernelfile

if TYPE_CHECKING:
    import napari
    from napari.layers import Layer


def button() -> PushButton:
    """Make the button of the form."""
    return PushButton(
        name="load_kernel",
        text="Load kernel...",
        tooltip="Read a measured PSF from a TIFF, PNG or JPEG file as a layer, and choose it as the kernel. Where "
        "file and image tell the size of their pixels, it is resampled to the image's.",
    )


def ask(viewer: napari.viewer.Viewer, parent: Any) -> Layer | None:
    """Ask for a file and add what is in it as a layer.

    Returns
    -------
    Layer or None
        None if no file was chosen.

    Raises
    ------
    InvalidInput
        If the file holds no kernel.
    """
    path, _ = QFileDialog.getOpenFileName(
        parent, "Load kernel", "", "Images (*.tif *.tiff *.png *.jpg *.jpeg);;All files (*)"
    )
    if not path:
        return None
    loaded = kernelfile.load(path)
    size, active = loaded.pixel_size, viewer.layers.selection.active
    layer = viewer.add_image(
        loaded.data,
        name=f"{files.stem_of(path)} (kernel)",
        scale=(size.height, size.width),
        units=(size.unit, size.unit),
        interpolation2d="nearest",
    )
    viewer.layers.selection.active = active  # the image is still what the user looks at
    return layer
