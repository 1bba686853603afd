"""The part of the form that is about this image and this machine: which slices, on what, how long.

Layout and words only: what a part is stands in `part`, how long it takes in `napari_vdip.pace`.
"""

from __future__ import annotations

import atexit
import functools
import gc
import sys
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox, Container, PushButton, SpinBox
from qtpy.QtCore import Qt, QThreadPool, QTimer
from qtpy.QtWidgets import QHBoxLayout, QLabel
from superqt.utils import create_worker

from napari_vdip import pace
from napari_vdip._napari import layers, memory, part, region
from napari_vdip._napari.run import with_threads
from napari_vdip.devices import Device, find
from napari_vdip.errors import VdipError
from napari_vdip.layout import with_mode
from napari_vdip.options import Options

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    import napari
    from magicgui.widgets.bases import ValueWidget
    from napari.layers import Layer

    from napari_vdip._napari.region import Index
    from napari_vdip._napari.where import Where
    from napari_vdip.result import Result

_SETTLED = 300  # ms after the last letter of a device's name, or the last movement of the view
_EXIT_WAIT = 5000  # ms that the process waits at its end for torch to be loaded
_TIMED = (
    *("preset", "kind", "method", "noise", "iterations", "threads", "channel_axis"),
    *("kernel_mode", "kernel_family", "kernel_grid", "tile"),
)


class Setup:
    """Fields, words and buttons that the dock widget puts into its layout.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    image : ValueWidget
        Choice of the image layer.
    options : mapping
        The widgets of the options by name.
    where : Where
        Choice of a region.
    """

    def __init__(
        self,
        viewer: napari.viewer.Viewer,
        image: ValueWidget[Any],
        options: Mapping[str, ValueWidget[Any]],
        where: Where,
    ) -> None:
        self._viewer, self._image, self._options, self._where = viewer, image, options, where
        self._device: Device | str | None = None
        self._shown: Layer | None = None
        self._range: tuple[Layer, int] | None = None
        self._closed = False
        self._defaults = {name: options[name].value for name in memory.names()}
        self.slices = ComboBox(
            name="slices",
            choices=self._choices,
            tooltip="Which slices of the stack are deblurred. The result lies at their place in the stack.",
        )
        counted = "As the viewer's slider counts: the first slice is 0."
        self.slices_from, self.slices_to = (
            SpinBox(name=f"slices_{end}", min=0, max=0, tooltip=counted) for end in ("from", "to")
        )
        self.between = Container(
            name="between",
            label="from, to",
            layout="horizontal",
            labels=False,
            widgets=[self.slices_from, self.slices_to],
        )
        self.between.margins = (0, 0, 0, 0)
        self.outlook = QLabel()
        self.outlook.setWordWrap(True)
        self.outlook.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.copy_python = _button("copy_python", "Copy as Python", "Python code that gives the same result.")
        self.copy_command = _button(
            "copy_command", "Copy as command", "Shell command that writes the same result to files."
        )
        self.defaults = _button("defaults", "Defaults", "Set every option back to its default.")
        self._timer = QTimer(self.outlook)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.look)
        self._view = QTimer(self.outlook)
        self._view.setSingleShot(True)

    @property
    def fields(self) -> list[Any]:
        """Widgets for the rows below the image."""
        return [self.slices, self.between, self._options["channel_axis"]]

    @property
    def buttons(self) -> list[PushButton]:
        """Widgets for the row at the end."""
        return [self.copy_python, self.copy_command, self.defaults]

    def arrange_buttons(self, layout: Any) -> None:
        """Put the small buttons into one row at the end of the widget's layout."""
        row = QHBoxLayout()
        row.setContentsMargins(5, 0, 0, 0)  # where magicgui's labels begin
        for button in self.buttons:
            layout.removeWidget(button.native)
            row.addWidget(button.native)
        layout.addLayout(row)

    def connect(self) -> None:
        """Restore the last settings, follow what is changed, and look the device up."""
        for name, value in memory.last().items():
            self._options[name].value = value
        self.defaults.changed.connect(self._set_defaults)
        for name in ("device", "compile"):
            self._options[name].changed.connect(lambda *_: self._timer.start(_SETTLED))
        for name in _TIMED:
            self._options[name].changed.connect(self.tell)
        self._options["channel_axis"].changed.connect(self.refresh)
        self.slices.changed.connect(self._chosen)
        for box in (self.slices_from, self.slices_to):
            box.changed.connect(self.tell)
        for field in (self._where.region, self._where.region_layer):
            field.changed.connect(self.tell)
        self._viewer.dims.events.point.connect(self._moved)
        self._view.timeout.connect(self._looked)
        getattr(self._viewer, "scene", self._viewer).camera.events.connect(self._looking)
        self.outlook.destroyed.connect(self.close)
        self.refresh()
        self.look()

    def close(self, *_: Any) -> None:
        """Touch no widget any more."""
        self._closed = True

    # -- which slices

    def refresh(self, *_: Any) -> None:
        """Offer what the image has; to be called when it or its axes may have changed."""
        image = self._image.value
        if image is not self._shown:
            self._shown = image
            self.slices.reset_choices()
            self.slices.value = part.ALL
        else:
            self.slices.reset_choices()
        self._options["channel_axis"].visible = image is not None and image.ndim > 2 and not image.rgb
        self.slices.visible = len(self.slices.choices) > 1
        self._chosen()

    def index(self, image: Layer, options: Options) -> Index:
        """Index of the part of the layer's data that is to be deblurred: the region in the slices.

        Raises
        ------
        InvalidInput
            If there is no such region, or if it is too small.
        """
        between = (self.slices_from.value, self.slices_to.value)
        choice = self.slices.value or part.ALL
        slices = part.index_of(image, choice, between, self._viewer.dims, self._channel_axis)
        within = self._where.index(image, options)
        return tuple(a if b == slice(None) else b for a, b in zip(slices, within, strict=True))

    def _choices(self, _widget: Any) -> list[tuple[str, str | int]]:
        image = self._image.value
        axes = [] if image is None else part.slice_axes(image, self._channel_axis)
        if not axes:
            return [("all", part.ALL)]
        names = part.axis_names(image)
        ranges = [(f"range of {names[axis]}", axis) for axis in axes]
        return [("all", part.ALL), ("the one shown", part.THIS), *ranges]

    def _chosen(self, *_: Any) -> None:
        image, choice = self._image.value, self.slices.value
        chosen = (image, choice) if image is not None and isinstance(choice, int) else None
        if chosen is not None and chosen != self._range:
            last = layers.full_resolution(image).shape[choice] - 1
            for box, value in ((self.slices_from, 0), (self.slices_to, last)):
                box.max = last
                box.value = value
        self._range = chosen
        self.between.visible = chosen is not None
        self.tell()

    def _moved(self, *_: Any) -> None:
        if not self._closed and self.slices.value == part.THIS:
            self.tell()

    def _looking(self, *_: Any) -> None:
        """Wait until the camera rests."""
        if not self._closed and self._where.region.value == region.VIEW:
            self._view.start(_SETTLED)

    def _looked(self) -> None:
        if self._where.region.value == region.VIEW:
            self.tell()

    @property
    def _channel_axis(self) -> int | None:
        axis: int | None = self._options["channel_axis"].value
        return axis

    # -- on what, and how long

    def look(self) -> None:
        """Look the device up in a thread of its own: loading torch takes seconds."""
        if self._closed:
            return
        _wait_at_exit()
        asked = (self._options[name].value for name in ("device", "compile"))
        worker = create_worker(_look, *asked, _start_thread=False)
        worker.yielded.connect(self._found)
        if "napari_vdip.stack" not in sys.modules:
            worker.finished.connect(_tidy)
        worker.start()

    def learn(self, result: Result) -> None:
        """Take the time of a fit for the next estimate, and look how much memory is free now."""
        memory.learn(pace.measured(result))
        self.look()

    def keep(self) -> None:
        """Remember what the form says; to be called when a run is started."""
        memory.keep({name: self._options[name].value for name in memory.names()})

    def _found(self, device: Device | str) -> None:
        if not self._closed:
            self._device = device
            self.tell()

    def tell(self, *_: Any) -> None:
        """Say what would be deblurred, on what, and how long that would take."""
        if self._closed:
            return
        image = self._image.value
        if image is None:
            self.outlook.setText("Open an image first.")
            return
        try:
            options = Options.from_keywords(
                rgb=bool(image.rgb), **{name: self._options[name].value for name in _TIMED}
            )
            index = self.index(image, options)
            what = with_mode(part.in_words(image, index, self._channel_axis), options.kernel_mode)
            self.outlook.setText(f"{what}\n{self._time(part.cut_shape(image, index), with_threads(options))}")
        except VdipError as error:
            self.outlook.setText(str(error))

    def _time(self, shape: tuple[int, ...], options: Options) -> str:
        device = self._device
        if device is None:
            return "Looking for the device ..."
        if isinstance(device, str):
            return device
        threads = ""
        if device.name in ("cpu", "onnx:cpu"):
            threads = " with 1 thread" if options.threads == 1 else f" with {options.threads} threads"
        seconds = pace.estimate(shape, options, device.name, memory.speeds())
        time = "Time not known yet" if seconds is None else f"About {pace.in_words(seconds)}"
        return f"{time} on the {device.title}{threads}; {device.free_bytes / 2**30:.1f} GiB of memory free."

    def _set_defaults(self, *_: Any) -> None:
        for name, value in self._defaults.items():
            self._options[name].value = value


def _look(name: str, compile: str) -> Generator[Device | str, None, None]:
    """Find a device, or say why not; then load what a run needs, for which the first one would wait."""
    try:
        yield find(name, compile)
    except (VdipError, RuntimeError) as error:  # torch's own errors, a driver's among them, are RuntimeErrors
        yield str(error)
    from napari_vdip import stack  # noqa: F401 - to be loaded is all that it is for


def _tidy(_: Any = None) -> None:
    """Collect garbage now, in the window's thread.

    Python goes through all objects once there are a quarter more of them, which takes 0.2 s: with what
    has just been loaded it would do so in the first seconds of the first run.
    """
    gc.collect()


@functools.cache
def _wait_at_exit() -> None:
    """Let the process end after the thread: one that outlives the interpreter would crash or hang it."""
    pool = QThreadPool.globalInstance()
    if pool is not None:
        atexit.register(pool.waitForDone, _EXIT_WAIT)


def _button(name: str, text: str, tooltip: str) -> PushButton:
    return PushButton(name=name, text=text, tooltip=tooltip)
