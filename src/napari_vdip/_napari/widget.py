"""The dock widget: layout and enabling only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from magicgui.widgets import Container, PushButton, Widget
from napari.utils.notifications import notification_manager, show_error, show_warning
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QHBoxLayout, QLabel, QProgressBar, QToolButton

from napari_vdip._napari import copying, form, layers, part
from napari_vdip._napari.run import Fit, Run, duration, message, with_threads
from napari_vdip._napari.setup import Setup
from napari_vdip.errors import VdipError
from napari_vdip.options import Options
from napari_vdip.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Callable

    import napari
    from napari.layers import Image, Layer

    from napari_vdip.result import Progress, Result

_ABOUT = (
    "Finds the sharp image, the blur that hides it, and how sure each pixel is: from the blurred image alone."
)

_WIDTH = 330  # px: the title of the dock fits
_THEME_FONT = 1.2  # napari's theme enlarges the font once the widget is docked


class DeblurWidget(Container[Widget]):
    """Form, Run and Stop for a deblurring. Its fields are named as the options.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where the images are and the results go.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self._viewer = viewer
        self._run: Run | None = None
        self._shown_image: Layer | None = None
        self._image_box = form.LayerBox(
            name="image",
            choices=self._layers("Image"),
            nullable=True,
            tooltip="The blurred image, or a stack of images.",
        )
        choices = {name: self._layers(*kinds) for name, kinds in form.LAYER_KINDS.items()}
        choices["channel_axis"] = self._axes
        self._options: dict[str, Any] = {item.name: form.widget_of(item, choices) for item in form.fields()}
        self._advanced = [self._options[item.name] for item in form.fields() if item.metadata["advanced"]]
        self._setup = Setup(viewer, self._image_box, self._options)
        basic = [
            option
            for option in self._options.values()
            if option not in self._advanced and option not in self._setup.fields
        ]
        above = [self._image_box, *self._setup.fields, *basic]
        self._run_button = PushButton(
            name="run", text="Run", tooltip="Deblur the image; the results are added as layers."
        )
        self._stop_button = PushButton(
            name="stop", text="Stop", tooltip="Stop, and add what has been reached as layers."
        )
        buttons = [self._run_button, self._stop_button]
        super().__init__(widgets=[*above, *self._advanced, *buttons, *self._setup.buttons])
        self._arrange(toggle_at=len(above))
        self._connect()
        self._setup.connect()
        self._choose_selected()
        self._enable()

    def reset_choices(self, *_: Any) -> None:
        """Offer the layers that are there now; called when layers come, go, move or are renamed."""
        super().reset_choices()
        if self._initialized:
            if self._image_box.value is None:
                self._choose_selected()
            self._image_changed()

    def _layers(self, *kinds: str) -> Callable[[Any], list[Layer]]:
        """Make a function that lists the viewer's layers of some kinds."""
        from napari import layers as kinds_of_layers

        wanted = tuple(getattr(kinds_of_layers, kind) for kind in kinds)
        return lambda _widget: [layer for layer in self._viewer.layers if isinstance(layer, wanted)]

    def _axes(self, _widget: Any) -> list[tuple[str, int]]:
        """Axes of the chosen image that may hold channels."""
        image = self._image_box.value
        if image is None or image.rgb or image.ndim < 3:
            return []
        return [(f"axis {axis} ({label})", axis) for axis, label in enumerate(image.axis_labels)]

    def _choose_selected(self) -> None:
        """Choose the layer that is selected in the viewer, else the topmost image."""
        images = self._image_box.choices[1:]
        active = self._viewer.layers.selection.active
        if images:
            self._image_box.value = active if active in images else images[-1]

    def _arrange(self, toggle_at: int) -> None:
        """Lay out what is not a field: a line of words, the fold, the buttons, how far a run is."""
        layout = self.native.layout()
        labels = self.native.findChildren(QLabel)
        widest = max(label.fontMetrics().horizontalAdvance(label.text()) for label in labels)
        for label in labels:
            label.setMinimumWidth(round(_THEME_FONT * widest))
        about = QLabel(_ABOUT)
        about.setWordWrap(True)
        about.setMinimumWidth(_WIDTH)
        self.fold = QToolButton()
        self.fold.setText("Advanced")
        self.fold.setCheckable(True)
        self.fold.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.fold.toggled.connect(self._unfold)
        self._unfold(False)
        layout.insertWidget(toggle_at, self.fold)
        layout.insertWidget(0, about)
        row = QHBoxLayout()
        row.setContentsMargins(5, 0, 0, 0)  # where magicgui's labels begin
        for button in (self._run_button, self._stop_button):
            layout.removeWidget(button.native)
            row.addWidget(button.native)
        self.outlook = self._setup.outlook
        layout.addWidget(self.outlook)
        layout.addLayout(row)
        self._setup.arrange_buttons(layout)
        self.progress_bar = QProgressBar()
        self.progress_bar.setVisible(False)
        self.status = QLabel()
        self.status.setWordWrap(True)
        self.status.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        layout.addWidget(self.progress_bar)
        layout.addWidget(self.status)

    def _unfold(self, unfolded: bool) -> None:
        self.fold.setArrowType(Qt.ArrowType.DownArrow if unfolded else Qt.ArrowType.RightArrow)
        for option in self._advanced:
            option.visible = unfolded

    def _connect(self) -> None:
        self._run_button.changed.connect(self._start)
        self._stop_button.changed.connect(self._stop)
        self._setup.copy_python.changed.connect(lambda: self._copy("Python code", Recipe.as_python))
        self._setup.copy_command.changed.connect(lambda: self._copy("Command", Recipe.as_command))
        self._image_box.changed.connect(self._image_changed)
        self._options["kernel"].changed.connect(self._enable)
        self.native_parent_changed.connect(self._parent_changed)
        self.native.destroyed.connect(self._abandon)
        for name in ("inserted", "removed", "reordered", "renamed"):
            getattr(self._viewer.layers.events, name).connect(self.reset_choices)

    def _parent_changed(self, parent: Any = None) -> None:
        """End a run when the dock is closed, which takes its contents out of it and tells no more."""
        if parent is None:
            self._abandon()

    def _abandon(self, *_: Any) -> None:
        self._setup.close()
        if self._run is not None:
            self._run.abandon()
            self._run = None

    def _image_changed(self, *_: Any) -> None:
        image = self._image_box.value
        if image is not self._shown_image:
            self._shown_image = image
            axis = self._options["channel_axis"]
            axis.reset_choices()
            axis.value = None if image is None else layers.channel_axis(image)
        self._setup.refresh()
        self._enable()

    def _enable(self, *_: Any) -> None:
        running = self._run is not None
        self._run_button.enabled = not running and self._image_box.value is not None
        self._stop_button.enabled = running
        self.progress_bar.setVisible(running)
        self._options["kernel_fixed"].enabled = self._options["kernel"].value is not None

    def _start(self) -> None:
        image = self._image_box.value
        if image is None or self._run is not None:
            return
        try:
            options = self._read(image)
        except VdipError as error:
            self._failed(error)
            return
        self._setup.keep()
        index = self._setup.index(image)
        source = part.moved(layers.record(image, options.channel_axis), index)
        self._run = Run(
            Fit(part.cut(layers.full_resolution(image), index), options, source.name),
            on_progress=self._progressed,
            on_result=lambda result: self._reached(result, source),
            on_error=self._failed,
            on_end=self._ended,
        )
        self.progress_bar.setRange(0, 0)
        self.status.setText("starting")
        self._enable()
        self._run.start()

    def _read(self, image: Image) -> Options:
        """Options from the form and the layers."""
        values = {name: option.value for name, option in self._options.items()}
        if values["kernel"] is not None:
            values["kernel"] = layers.to_kernel(values["kernel"])
        if values["mask"] is not None:
            shape, index = layers.full_resolution(image).shape, self._setup.index(image)
            values["mask"] = part.cut_mask(layers.to_mask(values["mask"]), shape, index)
        return with_threads(Options.from_keywords(rgb=bool(image.rgb), **values))

    def _stop(self) -> None:
        if self._run is not None:
            self._stop_button.enabled = False
            self.status.setText("stopping")
            self._run.stop()

    def _progressed(self, progress: Progress) -> None:
        self.progress_bar.setRange(0, progress.steps)
        self.progress_bar.setValue(progress.step)
        if self._stop_button.enabled:
            self.status.setText(message(progress))

    def _reached(self, result: Result | None, source: layers.Source) -> None:
        if result is None:
            self.status.setText("Stopped before the first step: there is nothing to show yet.")
            return
        made = [
            self._viewer.add_image(data, **keywords)
            for data, keywords, _ in layers.from_result(result, source)
        ]
        self._viewer.layers.selection.active = made[0]
        self._setup.learn(result)
        self.status.setText(summary(result))
        if result.report["warnings"]:
            show_warning("\n".join(result.report["warnings"]))

    def _copy(self, what: str, write: Callable[[Recipe], str]) -> None:
        image = self._image_box.value
        if image is None:
            self.status.setText("There is nothing to copy yet: open an image first.")
            return
        try:
            arrays = {name: self._options[name].value for name in form.LAYER_KINDS}
            recipe = copying.recipe(image, self._setup.index(image), self._read(image), arrays)
        except VdipError as error:
            self._failed(error)
            return
        copying.to_clipboard(write(recipe))
        self.status.setText(f"{what} copied.")

    def _failed(self, error: Exception) -> None:
        """Tell once: what a user can mend in words, what nobody foresaw with its traceback."""
        self.status.setText(str(error))
        if isinstance(error, VdipError):
            show_error(str(error))
        else:
            notification_manager.receive_error(type(error), error, error.__traceback__)

    def _ended(self) -> None:
        self._run = None
        self._enable()


def summary(result: Result) -> str:
    """Say in words what came out of a fit."""
    report = result.report
    height, width = report["kernel_size"]
    lines = [
        f"{report['stop_reason'].capitalize()}, {duration(report['seconds'])}.",
        f"Kernel {height} x {width} px: {report['kernel_size_reason']}.",
        *report["warnings"],
    ]
    return "\n".join(lines)
