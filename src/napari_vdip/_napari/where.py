"""Fields that are no options: which part of the image, and what becomes of the results of the run before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox

from napari_vdip._napari import region
from napari_vdip._napari.form import LayerBox

if TYPE_CHECKING:
    from collections.abc import Callable

    import napari
    from napari.layers import Image

    from napari_vdip.options import Options

ADD, REPLACE = "add new layers", "replace the last ones"


class Where:
    """Choice of a region, of the layer it is drawn on, and of where results go.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    shapes : callable
        Lists the viewer's Shapes layers.
    """

    def __init__(self, viewer: napari.viewer.Viewer, shapes: Callable[[Any], list[Any]]) -> None:
        self._viewer = viewer
        self.region = ComboBox(
            name="region",
            value=region.WHOLE,
            choices=region.CHOICES,
            tooltip="The part that is deblurred. Try a small one first: it takes seconds, and its kernel "
            "can then be applied to the whole image.",
        )
        self.region_layer = LayerBox(
            name="region_layer",
            label="drawn on",
            choices=shapes,
            nullable=True,
            tooltip="Shapes layer with the rectangle: the selected shape counts, else the last one drawn.",
        )
        self.results = ComboBox(
            name="results",
            value=ADD,
            choices=(ADD, REPLACE),
            tooltip="Whether a further run on the same image adds layers, or puts its results into "
            "those of the run before. Undo brings these back.",
        )
        self.region.changed.connect(self.refresh)

    def refresh(self, *_: Any) -> None:
        """Ask for the Shapes layer only where it matters; take the newest one if none is chosen."""
        drawn = self.region.value == region.SHAPE
        self.region_layer.visible = drawn
        offered = self.region_layer.choices[1:]
        if drawn and self.region_layer.value is None and offered:
            self.region_layer.value = offered[-1]

    @property
    def replaces(self) -> bool:
        """Whether results go into the layers of the run before."""
        return bool(self.results.value == REPLACE)

    def index(self, image: Image, options: Options) -> region.Index:
        """Part of an image that is chosen.

        Raises
        ------
        InvalidInput
            If there is no such part, or if it is too small.
        """
        channel_axis = options.channel_axis
        if self.region.value == region.VIEW:
            index = region.of_view(self._viewer, image, channel_axis)
        elif self.region.value == region.SHAPE:
            index = region.of_shape(self.region_layer.value, image, channel_axis)
        else:
            return (slice(None),) * int(image.ndim)
        size = options.kernel_size if options.kernel is None else options.kernel.shape
        region.check_size(index, image, region.spatial_axes(image, channel_axis), size)
        return index
