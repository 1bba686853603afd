"""A run: the fit in a thread of its own, and what it tells the main thread. No viewer, no layout.

A worker of napari is a generator. It emits ``yielded`` while it works and then one of
``returned``, ``aborted`` (after ``quit()``, seen at the next yield) and ``errored``; ``finished``
comes last, except after a RuntimeError, which it would swallow: hence `Fit.steps`.
"""

from __future__ import annotations

import atexit
import dataclasses
import logging
import math
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari import Viewer
from napari.qt.threading import create_worker
from napari.utils import progress as napari_progress
from qtpy.QtCore import QCoreApplication, QThreadPool
from superqt.utils import GeneratorWorker

from napari_vdip.errors import VdipError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from napari_vdip.options import Options
    from napari_vdip.result import Progress, Result

_logger = logging.getLogger(__name__)

_EXIT_WAIT = 5000  # ms that the process waits for a run at its end


@dataclass(frozen=True)
class Fit:
    """What a worker does. Its text is what napari shows when it is closed during the run.

    Attributes
    ----------
    data : array
        Image as the layer holds it: numpy, dask, zarr, ...; read in the worker's thread.
    options : Options
        How to deblur it.
    name : str
        Name of the layer.
    """

    data: Any
    options: Options
    name: str

    def __str__(self) -> str:
        return f"deblurring of {self.name}"

    def steps(self) -> Generator[Progress, None, Result]:
        """Fit; a generator for the worker's thread.

        Raises
        ------
        VdipError
            For bad input, and in place of every RuntimeError: a worker swallows those.
        """
        from napari_vdip import stack  # late: loads torch

        try:
            return (yield from stack.fit(self.data, self.options))
        except RuntimeError as error:
            raise VdipError(
                f"the fit failed: {error}. Try a smaller image, another device or preset; if it fails "
                "again, please report it"
            ) from error


class FitWorker(GeneratorWorker["Progress", None, "Result"]):
    """Generator worker of a `Fit`. When it was quit, it also ends what the fit has begun.

    It is superqt's worker and not napari's, which would show each error and each Python
    warning in a pop-up of its own.
    """

    def __init__(self, fit: Fit) -> None:
        steps = fit.steps()

        def forward() -> Generator[Progress, None, Result]:
            return (yield from steps)

        super().__init__(forward)
        self._steps = steps

    def work(self) -> Any:
        """Run until the end, an error or a quit, in the worker's thread."""
        try:
            return super().work()
        finally:
            self._steps.close()


class Run:
    """One run and its callbacks, all of them called in the main thread.

    Parameters
    ----------
    fit : Fit
        What to do.
    on_progress : callable
        Called with each Progress.
    on_result : callable
        Called with the Result when the fit is done, or with what it has reached when it was stopped
        (None if it was stopped before it reached anything).
    on_error : callable
        Called with the exception if it failed.
    on_end : callable
        Called once after all others, whatever happened.
    """

    def __init__(
        self,
        fit: Fit,
        *,
        on_progress: Callable[[Progress], None],
        on_result: Callable[[Result | None], None],
        on_error: Callable[[Exception], None],
        on_end: Callable[[], None],
    ) -> None:
        self._on_progress, self._on_result = on_progress, on_result
        self._on_error, self._on_end = on_error, on_end
        self._last: Progress | None = None
        self._abandoned = False
        self._bar = Bar(fit.name)
        # _ignore_errors: otherwise superqt raises the error once more in the main thread.
        self._worker = create_worker(fit, _worker_class=FitWorker, _ignore_errors=True, _start_thread=False)
        self._worker.yielded.connect(self._yielded)
        self._worker.returned.connect(self._returned)
        self._worker.aborted.connect(self._aborted)
        self._worker.errored.connect(self._errored)
        self._worker.warned.connect(_log_warning)
        self._worker.finished.connect(self._finished)

    def start(self) -> None:
        """Start the thread."""
        atexit.register(self._wait)
        self._worker.start()

    def stop(self) -> None:
        """Ask for the end; it comes at the fit's next yield, with what has been reached."""
        self._worker.quit()

    def abandon(self) -> None:
        """End the run without another call back: its widget is being closed."""
        self._abandoned = True
        self._bar.close()
        self._worker.quit()

    def _wait(self) -> None:
        """At the end of the process: a thread that outlives the interpreter would crash or hang it.

        A viewer that is still open is closed: PyQt6 else takes its objects down in an order in
        which, with a worker among them, about every second exit crashed.
        """
        self.abandon()
        pool = QThreadPool.globalInstance()
        if pool is not None:
            pool.waitForDone(_EXIT_WAIT)
        Viewer.close_all()
        QCoreApplication.sendPostedEvents()

    def _yielded(self, progress: Progress) -> None:
        if not self._abandoned:
            self._last = progress
            self._on_progress(progress)
            self._bar.show(progress)  # last: it may handle events

    def _returned(self, result: Result) -> None:
        if not self._abandoned:
            self._on_result(result)

    def _aborted(self) -> None:
        if not self._abandoned:
            self._on_result(self._last.result if self._last else None)

    def _errored(self, error: Exception) -> None:
        if not self._abandoned:
            self._on_error(error)

    def _finished(self) -> None:
        atexit.unregister(self._wait)
        self._bar.close()
        if not self._abandoned:
            self._on_end()


class Bar:
    """Progress bar in napari's activity dialog, over all slices of a stack.

    A stack has no second bar nested in it: napari 0.9 with PyQt6 crashes (null pointers in
    ``findChildren``) when nested bars end while the activity dialog is closed. Each change of a
    bar lets napari handle events, so any call below may happen within another.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._bar: Any = None
        self._changing = self._closed = False

    def show(self, progress: Progress) -> None:
        """Show where a fit is."""
        if self._changing or self._closed:
            return
        self._changing = True
        try:
            self._change(progress)
        finally:
            self._changing = False
            if self._closed:
                self._remove()

    def close(self) -> None:
        """Remove the bar for good."""
        self._closed = True
        if not self._changing:
            self._remove()

    def _change(self, progress: Progress) -> None:
        if self._bar is None:
            self._bar = napari_progress(total=progress.steps, desc=f"deblurring {self._name}")
        if progress.slices > 1:
            at = f"slice {progress.slice_index + 1} of {progress.slices}"
            self._bar.set_description(f"deblurring {self._name}, {at}")
        self._bar.update(progress.step - self._bar.n)

    def _remove(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def with_threads(options: Options) -> Options:
    """Leave one core to the viewer where the number of threads was not given."""
    if options.threads is not None:
        return options
    return dataclasses.replace(options, threads=max(1, _cores() - 1))


def message(progress: Progress) -> str:
    """Say in words where a fit is: stage, slice, step, time left."""
    parts = [progress.stage]
    if progress.slices > 1:
        parts.append(f"slice {progress.slice_index + 1} of {progress.slices}")
    parts.append(f"step {progress.step:,} of {progress.steps:,}")
    if math.isfinite(progress.seconds_left):
        parts.append(f"{duration(progress.seconds_left)} left")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """Write a time as a clock would: ``0:07``, ``12:40``, ``1:02:03``."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _cores() -> int:
    """Cores that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _log_warning(warning: tuple[Any, ...]) -> None:
    """Keep a Python warning of the worker for those who read logs; what users need is in the report."""
    text, category, filename, line, *_ = warning
    _logger.warning("%s:%s: %s: %s", filename, line, category.__name__, text)
