"""Closing the viewer during a run, in a process of its own: the process ends."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time

import pytest

SETUP = """
import napari, numpy as np
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication
from napari_vdip._napari.widget import DeblurWidget

viewer = napari.Viewer(show=True)
viewer.add_image(np.random.default_rng(0).random((SIDE, SIDE)))
widget = DeblurWidget(viewer)
viewer.window.add_dock_widget(widget)
widget.kernel_size.value = KERNEL_SIZE
widget.compile.value = "off"
widget.threads.value = 1
widget.iterations.value = 100_000
widget.run.native.click()

def working():
    return "step" in widget.status.text()

def close():
    print("closed during a run:", widget.stop.enabled, flush=True)
    viewer.close()
"""

IN_THE_EVENT_LOOP = """
def look():
    close() if working() else QTimer.singleShot(100, look)

look()
napari.run()
"""

IN_A_SCRIPT = """
while not working():
    QApplication.processEvents()
close()
"""

WITH_LAYERS_IN_VIEW = """
while len(viewer.layers) < 4 or not working():
    QApplication.processEvents()
close()
"""

WHILE_IT_WAITS = """
while not working():
    QApplication.processEvents()
widget.stop.native.click()
while not widget.run.enabled:
    QApplication.processEvents()
print("closed during a run:", widget.resume.enabled, flush=True)
"""

WITHOUT_CLOSING = """
while not working():
    QApplication.processEvents()
print("closed during a run:", widget.stop.enabled, flush=True)
"""


LONG_STEPS, SHORT_STEPS = "SIDE, KERNEL_SIZE = 256, 21\n", "SIDE, KERNEL_SIZE = 64, 5\n"


@pytest.mark.parametrize(
    ("size", "ending"),
    [
        (LONG_STEPS, IN_THE_EVENT_LOOP),
        (SHORT_STEPS, IN_A_SCRIPT),
        (LONG_STEPS, WITHOUT_CLOSING),
        (SHORT_STEPS, WITH_LAYERS_IN_VIEW),
        (SHORT_STEPS, WHILE_IT_WAITS),
    ],
    ids=["loop", "script", "exit", "preview", "paused"],
)
def test_the_process_ends(size, ending):
    process = subprocess.Popen(
        [sys.executable, "-c", size + textwrap.dedent(SETUP + ending)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "closed during a run: True\n"
        closed = time.perf_counter()
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 0, errors
        assert "Traceback" not in errors
        assert time.perf_counter() - closed < 15
    finally:
        process.kill()
