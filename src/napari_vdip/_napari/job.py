"""A deblurring in a viewer: its task, its run and its layers, from Run to Undo. No layout, no words."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from napari_vdip._napari import layers, region
from napari_vdip._napari.preview import Preview
from napari_vdip._napari.reuse import Found
from napari_vdip._napari.run import Fit, Run

if TYPE_CHECKING:
    from collections.abc import Callable

    import napari
    from napari.layers import Image

    from napari_vdip._napari.reuse import Task
    from napari_vdip.jobs.sheet import Keep
    from napari_vdip.result import Progress, Result


class Job:
    """One deblurring.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    image : Image
        The layer.
    task : Task
        What to do with it.
    keep : Keep, optional
        Where finished slices are kept.
    last : Job, optional
        An earlier one on the same layer, whose layers take the new results.
    on_progress, on_result, on_error, on_end : callable
        As of `Run`; called when the layers show the news.

    Attributes
    ----------
    running, stopping : bool
        Whether the fit is at work, and whether it has been asked to stop.
    found : Found or None
        The kernel, when there is one that other parts of the image can use.

    Raises
    ------
    VdipError
        If the task's mask does not fit the layer.
    """

    def __init__(
        self,
        viewer: napari.viewer.Viewer,
        image: Image,
        task: Task,
        *,
        keep: Keep | None,
        last: Job | None,
        on_progress: Callable[[Progress], None],
        on_result: Callable[[Result | None], None],
        on_error: Callable[[Exception], None],
        on_end: Callable[[], None],
    ) -> None:
        self._task = task
        self._on_progress, self._on_result = on_progress, on_result
        self._on_error, self._on_end = on_error, on_end
        self.running = self.stopping = self._void = False
        self.found: Found | None = None
        data = layers.full_resolution(image)
        mask = region.cut_mask(task.options.mask, data.shape, task.axes, task.index)
        options = dataclasses.replace(task.options, mask=mask)
        source = region.moved(layers.record(image, options.channel_axis), task.index, data.shape, task.axes)
        self._preview: Preview = Preview(viewer, source, last._preview if last else None)
        self._run = Run(
            Fit(region.cut(data, task.index), options, source.name, keep),
            on_progress=self._progressed,
            on_result=self._reached,
            on_error=self._failed,
            on_end=self._ended,
        )

    @property
    def paused(self) -> bool:
        """Whether it was stopped and can go on."""
        return self._run.suspended

    @property
    def undoable(self) -> bool:
        """Whether there is something to be undone, or to be done again."""
        return bool(self._preview.change) and not self._void

    @property
    def undone(self) -> bool:
        """Whether the layers are as they were before."""
        return self._preview.change.undone

    def start(self) -> None:
        """Begin, or go on where it was stopped."""
        self._preview.change.redo()
        self.running, self.stopping = True, False
        self._run.start()

    def stop(self) -> None:
        """Ask for a halt."""
        self.stopping = True
        self._run.stop()

    def undo(self) -> None:
        """Set the layers to what they were before, or back again."""
        change = self._preview.change
        if change.undone:
            change.redo()
        else:
            change.undo()

    def release(self) -> None:
        """Give up what waits to go on, and the way back: another job begins."""
        self._run.close()
        self._preview.change.forget()
        self.found = None

    def abandon(self) -> None:
        """End without a word; the layers stay as they are."""
        self._preview.stop()
        self._preview.change.halt()
        self._run.abandon()

    def _progressed(self, progress: Progress) -> None:
        if not self.stopping:
            self._preview.offer(progress)
        self._on_progress(progress)

    def _reached(self, result: Result | None) -> None:
        if result is not None:
            self._preview.finish(result)
            self.found = Found.by(self._task, result)
        self._on_result(result)

    def _failed(self, error: Exception) -> None:
        """Keep the slices that were done; of a single image nothing is left to be seen."""
        last = self._run.last
        if last is not None and last.slice_index > 0:
            self._preview.finish(last.result)
        else:
            self._preview.stop()
            self._preview.change.undo()
            self._void = True
        self._on_error(error)

    def _ended(self) -> None:
        self.running = self.stopping = False
        self._on_end()
