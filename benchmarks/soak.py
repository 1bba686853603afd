"""Start and stop short runs in the real viewer, and look for what they leave behind.

Usage, where there is no display::

    xvfb-run -a -s "-screen 0 1600x1000x24" python benchmarks/soak.py --repeats 100

Each repeat starts a fit of a small image, stops it, goes on, stops it again and, every other
time, undoes it. Results replace those of the run before: napari 0.9 itself keeps about 2 MiB of each
layer that is removed, which is not what is looked for here. Prints memory and threads after warming up,
half-way and at the end; exit status 1 if something grew.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

# The settings of a first start, not those of the last run; read when napari is imported.
os.environ["NAPARI_CONFIG"] = str(Path(tempfile.mkdtemp()) / "settings.yaml")

import napari
import numpy as np
import psutil
from qtpy.QtCore import QThreadPool
from qtpy.QtWidgets import QApplication
from superqt.utils import WorkerBase

if TYPE_CHECKING:
    from collections.abc import Callable

WARM_UP = 5  # repeats after which caches, compilers and the window have what they need
GROWTH = 0.15  # MiB a repeat, in the second half, that the memory allocator may still settle by


def main() -> int:
    """Run, stop, go on, stop, undo; again and again."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--size", type=int, default=64, help="side of the image in px")
    arguments = parser.parse_args()
    viewer = napari.Viewer(show=True)
    random = np.random.default_rng(0)
    viewer.add_image(random.random((arguments.size, arguments.size), dtype=np.float32), name="cells")
    _, widget = viewer.window.add_plugin_dock_widget("napari-vdip", "Blind deconvolution (VDIP)")
    widget.kernel_size.value = 5
    widget.preset.value = "fast"
    widget.compile.value = "off"
    widget.iterations.value = 100_000
    widget.threads.value = 1
    widget.results.value = "replace the last ones"
    seen = soak(widget, arguments.repeats)
    grown = (seen[2][0] - seen[1][0]) / (arguments.repeats - arguments.repeats // 2)
    left = remains(viewer)
    for at, (memory, threads) in zip(("after warming up", "half-way", "at the end"), seen, strict=True):
        print(f"{at}: {memory:.1f} MiB, {threads} threads")
    print(f"{grown:+.3f} MiB a run in the second half; left behind: {left or 'nothing'}")
    viewer.close()
    return int(grown > GROWTH or seen[2][1] > seen[0][1] or bool(left))


def soak(widget: Any, repeats: int) -> list[tuple[float, int]]:
    """Repeat; returns memory in MiB and number of threads after warming up, half-way and at the end."""
    seen = []
    for number in range(-WARM_UP, repeats + 1):
        if number in (0, repeats // 2, repeats):
            seen.append(measure())
        if number < repeats:
            once(widget, undo=number % 2 == 1)
    return seen


def once(widget: Any, undo: bool) -> None:
    """Do what a user does who is not content."""
    for button in (widget.run, widget.resume):
        button.native.click()
        wait(lambda: widget.status.text().startswith(("pre-fit", "fit")))
        widget.stop.native.click()
        wait(lambda: widget.run.enabled)
    if undo:
        widget.undo.native.click()


def measure() -> tuple[float, int]:
    """Resident memory in MiB and number of threads, the garbage collected."""
    process = psutil.Process()
    settle(1.0)
    for _ in range(3):
        gc.collect()
    if sys.platform == "linux":  # what is free is given back: else the heap's own ups and downs are measured
        getattr(ctypes.CDLL(None), "malloc_trim", bool)(0)
    return process.memory_info().rss / 2**20, process.num_threads()


def remains(viewer: Any) -> list[str]:
    """List what should not be there when no fit is at work."""
    QThreadPool.globalInstance().waitForDone(2000)
    found = [f"worker {worker}" for worker in WorkerBase._worker_set]
    found += [f"bar {bar}" for bar in napari.utils.progress._all_instances]
    found += [f"thread {thread.name}" for thread in threading.enumerate() if "Dummy" in thread.name]
    if viewer.window._task_status_manager.is_busy():
        found.append("a busy task")
    return found


def settle(seconds: float) -> None:
    """Let the window handle its events for a while."""
    end = time.monotonic() + seconds
    wait(lambda: time.monotonic() > end)


def wait(done: Callable[[], bool]) -> None:
    """Handle the window's events until something is done."""
    while not done():
        QApplication.processEvents()
        time.sleep(0.002)


if __name__ == "__main__":
    sys.exit(main())
