"""The dock widget: layout and enabling only."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from magicgui.widgets import Container, Widget
from napari.utils.notifications import notification_manager, show_error, show_warning
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QHBoxLayout, QLabel, QProgressBar, QToolButton

from napari_vdip import optics
from napari_vdip._napari import copying, form, layers, loading, pixels, region, scrolling
from napari_vdip._napari.advice import Advice
from napari_vdip._napari.buttons import Buttons, Offers
from napari_vdip._napari.job import Job
from napari_vdip._napari.keeping import Keeping
from napari_vdip._napari.reuse import Task
from napari_vdip._napari.run import duration, message, with_threads
from napari_vdip._napari.setup import Setup
from napari_vdip._napari.views import Views
from napari_vdip._napari.where import Where
from napari_vdip.errors import VdipError
from napari_vdip.options import Options
from napari_vdip.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import napari
    from napari.layers import Image, Layer

    from napari_vdip.jobs.sheet import Keep
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
        self._job: Job | None = None  # the last one: at work, stopped, or done
        self._jobs: weakref.WeakKeyDictionary[Layer, Job] = weakref.WeakKeyDictionary()
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
        self._where = Where(viewer, self._layers("Shapes"))
        self._setup = Setup(viewer, self._image_box, self._options, self._where)
        self._keeping = Keeping(self._image_box)
        self._buttons = Buttons(self._keeping.resume)
        basic = [
            option
            for option in self._options.values()
            if option not in self._advanced and option not in self._setup.fields
        ]
        above = [
            self._image_box,
            *self._setup.fields,
            self._where.region,
            self._where.region_layer,
            *basic,
            self._where.results,
        ]
        self._load_button = loading.button()
        self._advanced.insert(self._advanced.index(self._options["kernel"]) + 1, self._load_button)
        self._advanced.insert(self._advanced.index(self._options["kernel_mode"]) + 1, self._keeping.folder)
        buttons = [*self._buttons.all, *self._setup.buttons]
        super().__init__(widgets=[*above, *self._advanced, *buttons])
        self._kernel_note = self._told = ""
        self.views, self.advice = Views(viewer), Advice(self._try)
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
            self._where.refresh()
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
        self._where.refresh()
        self.outlook = self._setup.outlook
        layout.addWidget(self.outlook)
        self._buttons.arrange(layout)
        self._setup.arrange_buttons(layout)
        self.progress_bar = QProgressBar()
        self.progress_bar.setVisible(False)
        self.status = QLabel()
        self.status.setWordWrap(True)
        self.status.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        row = QHBoxLayout()
        row.setContentsMargins(5, 0, 0, 0)  # where the buttons begin
        row.addWidget(self.progress_bar)
        layout.addLayout(row)
        for shown in (self.status, self.advice, self.views):
            layout.addWidget(shown)
        self._area = scrolling.make_scrollable(self.native)

    def _unfold(self, unfolded: bool) -> None:
        self.fold.setArrowType(Qt.ArrowType.DownArrow if unfolded else Qt.ArrowType.RightArrow)
        for option in self._advanced:
            option.visible = unfolded

    def _connect(self) -> None:
        buttons = self._buttons
        buttons.run.changed.connect(lambda: self._start())
        buttons.stop.changed.connect(self._stop)
        buttons.resume.changed.connect(self._continue)
        buttons.undo.changed.connect(self._undo)
        buttons.resume_job.changed.connect(lambda: self._start(resume=True))
        self._keeping.folder.changed.connect(self._enable)
        buttons.apply_kernel.changed.connect(lambda: self._reuse(Task.for_image))
        buttons.all_slices.changed.connect(lambda: self._reuse(Task.for_slices))
        self._load_button.changed.connect(self._load_kernel)
        self.views.kernel.use.clicked.connect(self._use_kernel)
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
        self.views.close_down()
        self._setup.close()
        if self._job is not None:
            self._job.abandon()
            self._job = None

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
        job = self._job
        part, slices = job.found.leaves() if job and job.found else (False, False)
        self._buttons.show(
            Offers(
                image=self._image_box.value is not None,
                running=self._running,
                stopping=job is not None and job.stopping,
                paused=job is not None and job.paused,
                undo=job is not None and job.undoable and not job.undone,
                redo=job is not None and job.undoable and job.undone,
                kernel_for_image=part,
                kernel_for_slices=slices,
                kept=not self._running and self._keeping.look(),
            )
        )
        self.progress_bar.setVisible(self._running)
        self._options["kernel_fixed"].enabled = self._options["kernel"].value is not None

    @property
    def _running(self) -> bool:
        return self._job is not None and self._job.running

    def _start(self, resume: bool = False) -> None:
        image = self._image_box.value
        if image is None or self._running:
            return
        try:
            options = self._read(image)
            index = self._setup.index(image, options)
            axes = region.spatial_axes(image, options.channel_axis)
            self._setup.keep()
            keep = self._keeping.keep(resume, self._options["threads"].value)
            self._launch(image, Task(weakref.ref(image), options, index, axes), keep)
        except VdipError as error:
            self._failed(error)

    def _launch(self, image: Image, task: Task, keep: Keep | None = None) -> None:
        """Start a job, in place of one that waits to go on."""
        job = Job(
            self._viewer,
            image,
            task,
            keep=keep,
            last=self._jobs.get(image) if self._where.replaces else None,
            on_progress=self._progressed,
            on_result=self._reached,
            on_error=self._failed,
            on_end=self._ended,
        )
        if self._job is not None:
            self._job.release()
        self.advice.clear()
        self.views.begin(image.name, pixels.size_of(image, task.axes))
        self._job = self._jobs[image] = job
        self._go(job, "starting")

    def _go(self, job: Job, word: str) -> None:
        self.progress_bar.setRange(0, 0)
        self.status.setText(word)
        self.views.start()
        job.start()
        self._enable()
        self._area.ensureWidgetVisible(self.status)  # in a low window it may be below the fold

    def _continue(self) -> None:
        if self._job is not None and self._job.paused:
            self._go(self._job, "going on")

    def _stop(self) -> None:
        if self._job is not None and self._job.running:
            self._job.stop()
            self.status.setText("stopping")
            self._enable()

    def _undo(self) -> None:
        job = self._job
        if job is None or job.running:
            return
        job.undo()
        if job.undone:
            self._told = self.status.text()
            self.status.setText("Undone: the layers are as before the run. Redo brings its result back.")
        else:
            self.status.setText(self._told)
        self.advice.setVisible(bool(self.advice.buttons) and not job.undone)
        self.views.follow()
        self._enable()

    def _reuse(self, widened: Callable[[Task, Any], Task]) -> None:
        """Run on more of the image with the kernel that was found."""
        found = None if self._job is None else self._job.found
        image = None if found is None else found.task.image()
        if found is not None and image is not None and not self._running:
            self._kernel_note = ""
            self._launch(image, widened(found.task, found.kernel))

    def _read(self, image: Image) -> Options:
        """Options from the form and the layers."""
        values = {name: option.value for name, option in self._options.items()}
        self._kernel_note = ""
        axes = region.spatial_axes(image, values["channel_axis"])
        if values["kernel"] is not None:
            values["kernel"], self._kernel_note = pixels.kernel_for(values["kernel"], image, axes)
        if values["mask"] is not None:
            values["mask"] = layers.to_mask(values["mask"])
        if values["defects"]:
            values["mask"], note = layers.with_saturated(image, values["mask"])
            self._kernel_note = "; ".join(filter(None, (self._kernel_note, note)))
        options = Options.from_keywords(rgb=bool(image.rgb), **values)
        return with_threads(optics.with_pixel_size(options, pixels.size_of(image, axes)))

    def _progressed(self, progress: Progress) -> None:
        bar = self.progress_bar
        bar.setUpdatesEnabled(False)  # else it draws at once, and all else with it that waits to be drawn
        bar.setRange(0, progress.steps)
        bar.setValue(progress.step)
        bar.setUpdatesEnabled(True)
        if self._job is not None and not self._job.stopping:
            self.status.setText(message(progress))
        self.views.offer(progress)

    def _ended(self) -> None:
        self.views.end()
        self._enable()

    def _reached(self, result: Result | None) -> None:
        if result is None:
            self.status.setText("Stopped before the first step: there is nothing to show yet.")
            return
        if self._kernel_note:
            result.report["kernel_note"] = self._kernel_note
        self.views.finish(result)
        self.advice.show_findings(result.report.get("findings", ()))
        self._setup.learn(result)
        paused = self._job is not None and self._job.paused
        self.status.setText(summary(result) + ("\nContinue goes on from here." if paused else ""))
        if result.report["warnings"]:
            show_warning("\n".join(result.report["warnings"]))

    def _try(self, remedy: Mapping[str, Any]) -> None:
        """Run again with some options changed."""
        for name, value in remedy.items():
            self._options[name].value = value
        self._start()

    def _load_kernel(self) -> None:
        """Read a measured PSF from a file, as a layer, and choose it."""
        try:
            loaded = loading.ask(self._viewer, self.native, self._image_box.value)
        except VdipError as error:
            self._failed(error)
            return
        if loaded is not None:
            self._choose_kernel(*loaded)

    def _use_kernel(self) -> None:
        """Choose the kernel that is shown."""
        layer = self.views.kernel_layer()
        if layer is None:
            self.status.setText("The kernel's layer is no longer in the viewer: press Undo, or run again.")
        else:
            self._choose_kernel(layer)

    def _choose_kernel(self, layer: Layer, note: str = "") -> None:
        self._options["kernel"].value = layer
        self._options["kernel_size"].value = "auto"  # the kernel has a size of its own
        self.status.setText(f"{note}The next run takes {layer.name} as its kernel (Advanced: kernel).")

    def _copy(self, what: str, write: Callable[[Recipe], str]) -> None:
        image = self._image_box.value
        if image is None:
            self.status.setText("There is nothing to copy yet: open an image first.")
            return
        try:
            options = self._read(image)
            arrays = {name: self._options[name].value for name in form.LAYER_KINDS}
            recipe = copying.recipe(image, self._setup.index(image, options), options, arrays)
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


def summary(result: Result) -> str:
    """Say in words what came out of a fit."""
    report = result.report
    height, width = report["kernel_size"]
    lines = [
        f"{report['stop_reason'].capitalize()}, {duration(report['seconds'])}.",
        f"Kernel {height} x {width} px: {report['kernel_size_reason']}.",
        *([f"Note: {report['kernel_note']}."] if "kernel_note" in report else []),
        *([f"Finished slices are kept in {report['kept_in']}."] if "kept_in" in report else []),
        *(told[:1].upper() + told[1:] for told in report["warnings"]),
    ]
    return "\n".join(lines)
