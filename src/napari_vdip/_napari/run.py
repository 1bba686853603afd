"""A run: the fit in a thread of its own, and what it tells the main thread. No viewer, no layout.

A worker of napari is a generator. It emits ``yielded`` while it works and then ``returned``,
``aborted`` (after ``quit()``, seen at the next yield) or ``errored``; ``finished`` comes last, except
after a RuntimeError, which it would swallow: hence `Fit.steps`. What `FitWorker` fails of, it keeps
in place of an ``errored``. The fit is a generator of its own: a worker that was quit leaves it as it
is, and the next one goes on.
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
from qtpy.QtCore import QCoreApplication, QThreadPool
from superqt.utils import GeneratorWorker

from napari_vdip._napari import turns
from napari_vdip._napari.bar import Bar
from napari_vdip.errors import VdipError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from napari_vdip.jobs.sheet import Keep
    from napari_vdip.options import Options
    from napari_vdip.result import Progress, Result

_logger = logging.getLogger(__name__)

_EXIT_WAIT = 5000  # ms that the process waits for a run at its end


@dataclass(frozen=True)
class Fit:
    """What a run does. Its text is what napari shows when it is closed during the run.

    Attributes
    ----------
    data : array
        Image as the layer holds it: numpy, dask, zarr, ...; read in the worker's thread.
    options : Options
        How to deblur it.
    name : str
        Name of the layer.
    keep : Keep or None
        Where finished slices are kept; None: nowhere.
    """

    data: Any
    options: Options
    name: str
    keep: Keep | None = None

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
        from napari_vdip.jobs import sheet

        try:
            if self.keep is not None:
                return (yield from sheet.fit(self.data, self.options, self.name, self.keep))
            return (yield from stack.fit(self.data, self.options))
        except RuntimeError as error:
            raise VdipError(
                f"the fit failed: {error}. Try a smaller image, another device or preset; if it fails "
                "again, please report it"
            ) from error


class FitWorker(GeneratorWorker["Progress", None, "Result"]):
    """Drives a fit from where it is to its end, or until it is asked to quit.

    A fit that was quit is left as it is, for another worker to go on with, unless `discard` is
    set. The worker is superqt's and not napari's, which would show each error and each Python
    warning in a pop-up of its own.

    Parameters
    ----------
    title : object
        Its text is what napari shows when it is closed during the run.
    steps : generator of Progress
        The fit.

    Attributes
    ----------
    failure : Exception or None
        What it failed of. It is not emitted: napari 0.9 listens to ``errored`` with a function that takes no
        error, which PySide6 then tells in a pop-up of its own.
    """

    def __init__(self, title: object, steps: Generator[Progress, None, Result]) -> None:
        self.title = title
        self.discard = False
        self.failure: Exception | None = None
        self._steps: Generator[Progress, None, Result] | None = steps
        super().__init__(self._forward)

    def _forward(self) -> Generator[Progress, None, Result]:
        # Not ``yield from``: that would end the fit together with its worker.
        steps = self._steps
        assert steps is not None
        while True:
            try:
                progress = next(steps)
            except StopIteration as end:
                result: Result = end.value
                return result
            yield progress

    def work(self) -> Any:
        """Run until the end, an error or a quit, in the worker's thread."""
        try:
            with turns.short():
                return super().work()
        except Exception as error:
            self.failure = error
            return None
        finally:
            if self.discard and self._steps is not None:
                self._steps.close()
            # napari keeps every worker for as long as its window is open; the fit it shall not keep.
            self._steps = None
            self._gen.close()


class Run:
    """One run and its callbacks, all of them called in the main thread.

    It goes from `start` to `on_end`. If it was stopped on the way, the fit waits in memory, and
    a further `start` goes on with it, until `close`.

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
        self._name, self._title = fit.name, str(fit)
        self._steps = fit.steps()
        self._last: Progress | None = None
        self._bar: Bar | None = None
        self._worker: FitWorker | None = None
        self._abandoned = self._suspended = False

    @property
    def suspended(self) -> bool:
        """Whether it was stopped and can go on."""
        return self._suspended

    @property
    def last(self) -> Progress | None:
        """What was reported last; None before the first step and when nothing is kept any more."""
        return self._last

    def start(self) -> None:
        """Start the thread, or start another one that goes on where the last was stopped."""
        self._suspended = False
        self._bar = Bar(self._name)
        # _ignore_errors: otherwise superqt raises the error once more in the main thread.
        worker = create_worker(
            self._title, self._steps, _worker_class=FitWorker, _ignore_errors=True, _start_thread=False
        )
        worker.yielded.connect(self._yielded)
        worker.returned.connect(self._returned)
        worker.aborted.connect(self._aborted)
        worker.warned.connect(_log_warning)
        worker.finished.connect(self._finished)
        self._worker = worker
        atexit.register(self._wait)
        worker.start()

    def stop(self) -> None:
        """Ask for a halt; it comes at the fit's next yield, with what has been reached."""
        if self._worker is not None:
            self._worker.quit()

    def close(self) -> None:
        """Give up a fit that waits: its memory is free afterwards."""
        self._suspended = False
        self._steps.close()
        self._last = None
        atexit.unregister(self._wait)

    def abandon(self) -> None:
        """End the run without another call back: its widget is being closed."""
        self._abandoned = True
        if self._worker is None:
            self.close()
            return
        if self._bar is not None:
            self._bar.close()
        self._worker.discard = True
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
            if self._bar is not None:
                self._bar.show(progress)  # last: it may handle events

    def _returned(self, result: Result | None) -> None:
        if result is not None and not self._abandoned:
            self._on_result(result)

    def _aborted(self) -> None:
        if not self._abandoned:
            self._suspended = self._last is not None
            self._on_result(self._last.result if self._last else None)

    def _finished(self) -> None:
        failure = None if self._worker is None else self._worker.failure
        if failure is not None and not self._abandoned:
            self._on_error(failure)
        self._worker = None
        if self._bar is not None:
            self._bar.close()
        if self._abandoned or not self._suspended:
            self.close()
        if not self._abandoned:
            self._on_end()


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
    words = ", ".join(parts)
    return f"{words}\nShown is the mean of the starts before." if progress.held else words


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
