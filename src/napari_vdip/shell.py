"""A fit as the shell runs it: progress on standard error, Ctrl-C that keeps what was reached, files."""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
import threading
import time
from typing import TYPE_CHECKING, Any

from napari_vdip import files
from napari_vdip.errors import InvalidInput
from napari_vdip.jobs.results import outputs_of, write_report

if TYPE_CHECKING:
    from pathlib import Path
    from types import FrameType, TracebackType

    import numpy.typing as npt

    from napari_vdip.options import Options
    from napari_vdip.result import Progress, Result

_LINE_EVERY = 10.0  # seconds, where standard error is no terminal


class Interrupt:
    """While entered, the first Ctrl-C only sets `asked`; the second one raises KeyboardInterrupt."""

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> Interrupt:
        self._before: Any = None
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


class Meter:
    """Progress of a fit: a bar on a terminal, a line every ten seconds elsewhere, nothing if quiet."""

    def __init__(self, label: str, quiet: bool) -> None:
        self._label = label
        self._quiet = quiet
        self._bar: Any = None
        self._told = time.monotonic()

    def show(self, progress: Progress) -> None:
        """Tell how far the fit is."""
        stage = progress.stage
        if progress.slices > 1:
            stage = f"slice {progress.slice_index + 1} of {progress.slices}, {stage}"
        self.tell(stage, progress.step, progress.steps, progress.seconds_left)

    def tell(self, stage: str, step: int, steps: int, seconds_left: float) -> None:
        """Tell what is done, how much of it, and how long the rest takes."""
        if self._quiet:
            return
        left = _duration(seconds_left)
        if sys.stderr.isatty():
            if self._bar is None:
                from tqdm import tqdm  # type: ignore[import-untyped]

                form = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]"
                # tqdm is mute on a terminal that says it has 0 rows, as some containers' do
                size = {"ncols": shutil.get_terminal_size((100, 24)).columns, "nrows": 20}
                self._bar = tqdm(total=steps, bar_format=form, leave=False, **size)
            self._bar.set_description_str(f"{self._label} ({stage})", refresh=False)
            self._bar.set_postfix_str(f"{left} left", refresh=False)
            self._bar.n, self._bar.total = step, steps
            self._bar.refresh()
        elif time.monotonic() - self._told >= _LINE_EVERY:
            self._told = time.monotonic()
            line = f"{self._label}: {stage}, step {step} of {steps} ({step / steps:.0%}), {left} left"
            print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()


def run(
    image: npt.NDArray[Any], options: Options, label: str, quiet: bool, interrupt: Interrupt
) -> Result | None:
    """Deblur an image; what was reached if interrupted, None if that was before the first step.

    Raises
    ------
    VdipError
        As `napari_vdip.stack.fit` does.
    """
    from napari_vdip.stack import fit

    steps = fit(image, options)
    reached: Progress | None = None
    meter = Meter(label, quiet)
    try:
        while not interrupt.asked:
            reached = next(steps)
            meter.show(reached)
    except StopIteration as end:
        result: Result = end.value
        return result
    finally:
        meter.close()
        steps.close()
    return reached.result if reached else None


def save(result: Result, image: files.ImageFile, folder: Path, stem: str) -> list[Path]:
    """Write deblurred image, kernel, uncertainty and report; their paths.

    Raises
    ------
    OSError
        If the disk is full or read-only.
    """
    paths = outputs_of(folder, stem)
    for path, data in zip(paths, (result.image, result.kernel, result.uncertainty), strict=False):
        files.write(path, data, image)
    write_report(paths[-1], image, result.report)
    return paths


def ready(folder: Path) -> None:
    """Make the folder for the results and try to write to it, before hours are spent on them.

    Raises
    ------
    InvalidInput
        If it is a file, or cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = error.strerror or str(error)
        raise InvalidInput(
            f"cannot write to the folder {folder}: {reason}; choose another --output"
        ) from error


def _duration(seconds: float) -> str:
    """Write a time as 1:05 or 2:01:05."""
    if not 0 <= seconds < 1e7:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
