"""How smooth the viewer stays during a fit, and what the viewer costs the fit.

Usage, on an idle machine; where there is no display::

    xvfb-run -a -s "-screen 0 1600x1000x24" python benchmarks/event_loop.py --json event_loop.json

A timer of the real viewer asks to be called every 5 ms while a fit runs with the default number of
threads. The stall is how much later it is called: mouse and keyboard wait as long. The same fit
is then timed without a viewer in a process of its own, with the same number of threads and with all.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

TICK = 5  # ms
LIMITS = {"p99": 50.0, "max": 100.0}  # ms, and a fit at most a tenth slower than without a viewer
SLOWER = 0.10


def main() -> int:
    """Measure, print, and tell by the exit status whether the limits are held."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=256, help="side of the image in px")
    parser.add_argument("--kernel-size", type=int, default=21)
    parser.add_argument("--preset", default="balanced")
    parser.add_argument("--iterations", type=int, default=100)
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    parser.add_argument("--alone", type=int, help=argparse.SUPPRESS)  # threads of the run without a viewer
    arguments = parser.parse_args()
    if arguments.alone is not None:
        print(json.dumps(without_viewer(arguments)))
        return 0
    figures: dict[str, Any] = {
        "cores": os.cpu_count(),
        "machine": platform.processor(),
        "size": arguments.size,
    }
    figures |= in_the_viewer(arguments)
    for name, threads in (("alone", figures["threads"]), ("alone_all_cores", 0)):
        command = [sys.executable, *sys.argv, "--alone", str(threads)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        figures[name] = json.loads(output.splitlines()[-1])
    figures["slower"] = figures["step_ms"] / figures["alone"]["step_ms"] - 1
    text = json.dumps(figures, indent=1)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n", encoding="utf-8")
    stalls = figures["stall_ms"]
    return int(figures["slower"] > SLOWER or any(stalls[name] > limit for name, limit in LIMITS.items()))


def image_of(size: int) -> Any:
    """Blurred image of the sample photograph, of this side length."""
    from napari_vdip.samples import load

    blurred = load("photograph").blurred
    return np.pad(blurred, [(0, max(0, size - side)) for side in blurred.shape], "reflect")[:size, :size]


def in_the_viewer(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run in the real viewer; stalls of its event loop in ms, and the time of a step."""
    import napari
    from qtpy.QtCore import Qt, QTimer
    from qtpy.QtWidgets import QApplication

    viewer = napari.Viewer(show=True)
    viewer.add_image(image_of(arguments.size), name="image")
    _, widget = viewer.window.add_plugin_dock_widget("napari-vdip", "Blind deconvolution (VDIP)")
    widget.kernel_size.value = arguments.kernel_size
    widget.preset.value = arguments.preset
    widget.iterations.value = arguments.iterations
    timer, ticks = QTimer(), [0.0]
    timer.setTimerType(Qt.TimerType.PreciseTimer)
    timer.timeout.connect(lambda: ticks.append(time.perf_counter()))

    def wait(done: Callable[[], bool]) -> None:
        while not done():
            QApplication.processEvents()
            time.sleep(0.0005)

    wait(lambda: widget.run.enabled)
    widget.run.native.click()
    wait(lambda: "step" in widget.status.text())  # importing torch is not a fit
    timer.start(TICK)
    ticks[:] = [time.perf_counter()]
    wait(lambda: widget.run.enabled)
    timer.stop()
    stalls = np.maximum(np.diff(ticks) * 1e3 - TICK, 0)
    report = viewer.layers["image deblurred"].metadata["napari-vdip"]
    viewer.close()
    return {
        "threads": report["options"]["threads"],
        "ticks": len(stalls),
        "stall_ms": {
            "p50": round(float(np.percentile(stalls, 50)), 2),
            "p99": round(float(np.percentile(stalls, 99)), 2),
            "max": round(float(stalls.max()), 2),
        },
        "step_ms": step_time(report),
    }


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
