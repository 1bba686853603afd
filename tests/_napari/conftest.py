"""What the tests of the window share: the dock in a real viewer, and a fit without torch."""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_vdip._napari import rhythm
from napari_vdip.result import History, Progress, Result

MANIFEST = Path(__file__).parents[2] / "src" / "napari_vdip" / "napari.yaml"


@dataclass
class FakeFit:
    """Stands in for `napari_vdip.stack.fit`: the same face, as long or as faulty as a test needs."""

    steps: int = 3
    pause: float = 0.01
    error: Exception | None = None
    warnings: tuple[str, ...] = ()
    kernel_shape: tuple[int, int] = (5, 7)
    image: Any = None
    options: Any = None
    stage: str = "fit"
    gain: float = 1.0
    std: float = 0.5
    grows: bool = False  # image and kernel get brighter with each step
    fails_at: int = 1  # step of `error`
    closed: bool = False
    open: int = 0  # fits that have begun and not ended

    def __call__(self, image, options):
        self.image, self.options, self.closed = image, options, False
        data = np.asarray(image)
        spatial = data.shape[:-1] if options.rgb else data.shape
        slices = int(np.prod(spatial[:-2], dtype=int))
        total = self.steps * slices
        self.open += 1
        try:
            for step in range(total):
                time.sleep(self.pause)
                if self.error is not None and step == self.fails_at:
                    raise self.error
                result = self.result(data, spatial, f"stopped at step {step + 1} of {total}", step)
                yield Progress(self.stage, step + 1, total, step // self.steps, slices, 1.0, 75.0, result)
            return self.result(data, spatial, "finished")
        finally:
            self.closed = True
            self.open -= 1

    def result(self, data, spatial, stop_reason, step=0):
        """Return the image itself as the result."""
        kernel = np.zeros((*spatial[:-2], *self.kernel_shape), np.float32)
        kernel[..., self.kernel_shape[0] // 2, self.kernel_shape[1] // 2] = 1
        factor = self.gain + self.grows * step
        kernel, image = kernel * factor, data.astype(np.float32) * np.float32(factor)
        report = {
            "options": self.options.as_dict(),
            "device": "cpu (fake)",
            "noise": self.options.noise,
            "steps": self.steps,
            "kernel_size": list(self.kernel_shape),
            "kernel_size_reason": "given",
            "stop_reason": stop_reason,
            "partial": stop_reason != "finished",
            "warnings": list(self.warnings),
            "seconds": 61.0,
        }
        nothing = np.zeros(0)
        return Result(image, np.full_like(image, self.std), kernel, History(*(nothing,) * 5), report)


@pytest.fixture
def fake_fit(monkeypatch):
    fit = FakeFit()
    monkeypatch.setattr("napari_vdip.stack.fit", fit)
    return fit


@pytest.fixture(scope="module", autouse=True)
def frozen():
    """Leave what all modules and the tests before have loaded out of the garbage collections to come.

    napari's fixture collects at the end of each viewer, and looked at a million objects of torch, napari
    and others each time. In between nothing need be collected.
    """
    gc.collect()
    gc.freeze()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture(autouse=True)
def small(small_fit):
    """Have small networks in any real fit: what a user sees does not depend on how good it is."""


@pytest.fixture(autouse=True)
def steady_rhythm(monkeypatch, request):
    """Renew what is seen twice a second however slow the drawing is; `real_rhythm` leaves it alone."""
    if request.node.get_closest_marker("real_rhythm") is None:
        monkeypatch.setattr("napari_vdip._napari.rhythm._LONGEST", rhythm.INTERVAL)


@pytest.fixture(autouse=True)
def napari_config(tmp_path, monkeypatch):
    """Keep processes that a test starts away from the settings of whoever runs the tests."""
    monkeypatch.setenv("NAPARI_CONFIG", str(tmp_path / "settings.yaml"))


@pytest.fixture
def plugin(npe2pm, plugin_settings):
    """Register the manifest of this source tree, and no other plugin, with the settings of a first start."""
    with npe2pm.tmp_plugin(manifest=str(MANIFEST)) as registered:
        yield registered


@pytest.fixture
def viewer(make_napari_viewer_proxy, plugin):
    """Real viewer that refuses to be written to from another thread."""
    return make_napari_viewer_proxy()


@pytest.fixture
def open_dock(viewer):
    """Open the dock widget as napari's console would."""

    def open_():
        return viewer.window.add_plugin_dock_widget("napari-vdip", "Blind deconvolution (VDIP)")[1]

    return open_


@pytest.fixture
def notified():
    """List the notifications that napari has shown since the test began."""
    from napari.utils.notifications import notification_manager

    before = len(notification_manager.records)
    return lambda: notification_manager.records[before:]
