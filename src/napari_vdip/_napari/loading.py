"""A measured PSF from a file, as a layer of the viewer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from magicgui.widgets import PushButton
from qtpy.QtWidgets import QFileDialog

from napari_vdip import files, kernelfile
from napari_vdip._napari import layers, pixels, region

if TYPE_CHECKING:
    import napari
    from napari.layers import Layer


def button() -> PushButton:
    """Make the button of the form."""
    return PushButton(
        name="load_kernel",
        text="Load kernel...",
        tooltip="Read a measured PSF from a TIFF, PNG or JPEG file as a layer, and choose it as the kernel. "
        "Where file and image tell the size of their pixels, it is resampled to the image's.",
    )


def ask(viewer: napari.viewer.Viewer, parent: Any, image: Layer | None) -> tuple[Layer, str] | None:
    """Ask for a file and add what is in it as a layer.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    parent : QWidget
        Over which the dialog opens.
    image : Layer or None
        Image to be deblurred, whose pixel size is taken where the file tells none: a layer without units
        would switch off the units of all others.

    Returns
    -------
    layer : Layer
    note : str
        What was taken for granted; empty if nothing.
    None
        In place of both if no file was chosen.

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
    size, note = loaded.pixel_size, ""
    if not size.known and image is not None:
        axes = region.spatial_axes(image, layers.channel_axis(image))
        size = pixels.size_of(image, axes)
        note = f"The file tells no pixel size; that of {image.name} is taken. " if size.known else ""
    active = viewer.layers.selection.active
    layer = viewer.add_image(
        loaded.data,
        name=f"{files.stem_of(path)} (kernel)",
        scale=(size.height, size.width),
        units=(size.unit, size.unit),
        interpolation2d="nearest",
    )
    viewer.layers.selection.active = active  # the image is still what the user looks at
    return layer, note
