"""How smooth the viewer stays during a fit, and what the viewer costs the fit.

Usage, on an idle machine; where there is no display::

    xvfb-run -a -s "-screen 0 1600x1000x24" python benchmarks/event_loop.py --json event_loop.json

A timer of the real viewer asks to be called every 5 ms from the press on Run to the end of a fit with the
default number of threads, while the tabs with kernel, curve and uncertainty come to the front in turn. The
stall is how much later it is called: mouse and keyboard wait as long. The same is measured for some seconds
before the fit, which tells what the machine's other work does, and so does the share of each stall in which
the main thread was at work itself ("work"). The fit is then timed without a viewer in a process of its own,
with the same number of threads and with all.

``--stacks 40`` prints where the main thread was in each stall of more than 40 ms.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

TICK = 5  # ms
LIMITS = {"p99": 50.0, "max": 100.0}  # ms, and a fit at most a tenth slower than without a viewer
SLOWER = 0.10
BEFORE = 5.0  # s of the viewer at rest, to compare with
TABS = (0, 1, 2, 1, 0)  # kernel, curve, uncertainty and back, each for as long


def main() -> int:
    """Measure, print, and tell by the exit status whether the limits are held."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=256, help="side of the image in px")
    parser.add_argument("--kernel-size", type=int, default=21)
    parser.add_argument("--preset", default="balanced")
    parser.add_argument("--iterations", type=int, default=240)
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    parser.add_argument("--stacks", type=float, help="print what happens in stalls of more than this, in ms")
    parser.add_argument("--viewer-only", action="store_true", help="leave out the fits without a viewer")
    parser.add_argument("--alone", type=int, help=argparse.SUPPRESS)  # threads of the run without a viewer
    arguments = parser.parse_args()
    if arguments.alone is not None:
        print(json.dumps(without_viewer(arguments)))
        return 0
    figures: dict[str, Any] = {
        "cores": os.cpu_count(),
        "machine": platform.processor(),
        "size": arguments.size,
        "load_before": round(os.getloadavg()[0], 1),
    }
    figures |= in_the_viewer(arguments)
    alone = [] if arguments.viewer_only else [("alone", figures["threads"]), ("alone_all_cores", 0)]
    for name, threads in alone:
        command = [sys.executable, *sys.argv, "--alone", str(threads)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        figures[name] = json.loads(output.splitlines()[-1])
    if alone:
        figures["slower"] = figures["step_ms"] / figures["alone"]["step_ms"] - 1
    text = json.dumps(figures, indent=1)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n", encoding="utf-8")
    stalls = figures["stall_ms"]
    return int(
        figures.get("slower", 0.0) > SLOWER or any(stalls[name] > limit for name, limit in LIMITS.items())
    )


def image_of(size: int) -> Any:
    """Blurred image of the sample photograph, of this side length."""
    from napari_vdip.samples import load

    blurred = load("photograph").blurred
    return np.pad(blurred, [(0, max(0, size - side)) for side in blurred.shape], "reflect")[:size, :size]


def in_the_viewer(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run in the real viewer; stalls of its event loop in ms, and the time of a step."""
    # The settings of a first start, not those of the last run; read when napari is imported.
    os.environ["NAPARI_CONFIG"] = str(Path(tempfile.mkdtemp()) / "settings.yaml")
    import napari
    from qtpy.QtCore import QEventLoop, Qt, QTimer

    viewer = napari.Viewer(show=True)
    viewer.add_image(image_of(arguments.size), name="image")
    _, widget = viewer.window.add_plugin_dock_widget("napari-vdip", "Blind deconvolution (VDIP)")
    widget.kernel_size.value = arguments.kernel_size
    widget.preset.value = arguments.preset
    widget.iterations.value = arguments.iterations
    timer, ticks, work = QTimer(), [0.0], [0.0]
    timer.setTimerType(Qt.TimerType.PreciseTimer)
    timer.timeout.connect(lambda: (ticks.append(time.perf_counter()), work.append(time.thread_time())))
    watch = Watch(ticks, arguments.stacks)

    def wait(done: Callable[[], bool]) -> None:
        """Let the event loop run as napari does, until it is done; it is asked ten times a second."""
        loop, asking = QEventLoop(), QTimer()
        asking.timeout.connect(lambda: loop.quit() if done() else None)
        asking.start(100)
        loop.exec()

    def measure(done: Callable[[], bool]) -> dict[str, dict[str, float]]:
        timer.start(TICK)
        ticks[:], work[:] = [time.perf_counter()], [time.thread_time()]
        wait(done)
        timer.stop()
        stalls = np.maximum(np.diff(ticks) * 1e3 - TICK, 0)
        return {"stall": summary(stalls), "work": summary(np.diff(work) * 1e3)}

    def done() -> bool:
        """Whether the run is over; meanwhile brings the next tab to the front."""
        share = widget.progress_bar.value() / max(1, widget.progress_bar.maximum())
        widget.views.tabs.setCurrentIndex(TABS[min(int(share * len(TABS)), len(TABS) - 1)])
        return bool(widget.run.enabled)

    wait(lambda: widget.run.enabled)
    opened = time.monotonic() + BEFORE
    wait(lambda: time.monotonic() > opened)
    end = time.monotonic() + BEFORE
    before = measure(lambda: time.monotonic() > end)
    widget.run.native.click()
    watch.start()
    during = measure(done)
    watch.stop()
    report = viewer.layers["image deblurred"].metadata["napari-vdip"]
    viewer.close()
    return {
        "load_after": round(os.getloadavg()[0], 1),
        "threads": report["options"]["threads"],
        "ticks": len(ticks) - 1,
        "stall_ms": during["stall"],
        "work_ms": during["work"],
        "before": before,
        "step_ms": step_time(report),
    }


def summary(stalls: Any) -> dict[str, float]:
    """Percentiles of stalls in ms."""
    figures = {f"p{share}": round(float(np.percentile(stalls, share)), 2) for share in (50, 90, 99)}
    return figures | {"max": round(float(stalls.max()), 2)}


class Watch(threading.Thread):
    """Looks where the main thread is when it has not ticked for a while.

    Parameters
    ----------
    ticks : list of float
        Times of the ticks, the last one at the end.
    limit : float or None
        Stalls in ms from which on one looks; None: does nothing.
    """

    def __init__(self, ticks: list[float], limit: float | None) -> None:
        super().__init__(daemon=True)
        self._ticks, self._limit = ticks, limit
        self._main, self._over = threading.get_ident(), False
        self.seen: Counter[str] = Counter()

    def run(self) -> None:
        """Look every 2 ms."""
        while not self._over and self._limit is not None:
            time.sleep(0.002)
            if 1e3 * (time.perf_counter() - self._ticks[-1]) > self._limit:
                frames = traceback.extract_stack(sys._current_frames()[self._main])
                places = [f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in frames]
                self.seen[" > ".join(places[3:][-14:])] += 1

    def stop(self) -> None:
        """Print what was seen, the most frequent first."""
        self._over = True
        for stack, times in self.seen.most_common(12):
            print(times, stack, file=sys.stderr)


def without_viewer(arguments: argparse.Namespace) -> dict[str, Any]:
    """Time the same fit as a script would run it; 0 threads: the default of scripts."""
    from napari_vdip import deblur

    result = deblur(
        image_of(arguments.size),
        kernel_size=arguments.kernel_size,
        preset=arguments.preset,
        iterations=arguments.iterations,
        threads=arguments.alone or None,
    )
    return {"threads": arguments.alone or os.cpu_count(), "step_ms": step_time(result.report)}


def step_time(report: dict[str, Any]) -> float:
    """Mean time of a step in ms, as the fit itself tells it."""
    return round(1e3 * report["seconds"] / report["steps"], 2)


if __name__ == "__main__":
    sys.exit(main())
