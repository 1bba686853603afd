"""Fitted models in napari: the menu entry writes one, File > Open reads it as layers."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Image
from qtpy.QtWidgets import QFileDialog

from napari_vdip import deblur, modelfile
from napari_vdip._napari import model_reader
from napari_vdip.errors import InvalidInput

QUICK = {
    "kernel_size": 5,
    "preset": "fast",
    "iterations": 5,
    "threads": 1,
    "compile": "off",
    "kernel_draws": 0,
}

# What is tested here does not depend on how good a fit is.
pytestmark = pytest.mark.usefixtures("small_fits")
ENTRY = "Save fitted model (VDIP)..."
GREY = np.random.default_rng(5).integers(0, 4000, (40, 48), dtype=np.uint16)


def entry(viewer, name):
    """Find a menu entry by its text, in File > IO Utilities."""
    menu = viewer.window.file_menu
    (utilities,) = [
        action.menu() for action in menu.actions() if action.text().replace("&", "") == "IO Utilities"
    ]
    utilities.aboutToShow.emit()
    (action,) = [action for action in utilities.actions() if action.text().startswith(name)]
    return action


@pytest.fixture
def chosen(monkeypatch):
    """Answer the file dialog; what it was opened with is recorded."""

    class Dialog:
        answer = ("", "TorchScript (*.pt)")
        offered = None

        def __call__(self, _parent, _title, offered, kinds):
            self.offered = offered
            assert "*.pt" in kinds
            assert "*.onnx" in kinds
            return self.answer

    dialog = Dialog()
    monkeypatch.setattr(QFileDialog, "getSaveFileName", dialog)
    return dialog


@pytest.fixture
def run(viewer, open_dock, qtbot):
    """Run a fit of a layer in the dock, to its end."""
    dock = open_dock()

    def run_(layer):
        viewer.layers.selection.active = layer
        dock.image.value = layer
        dock.kernel_size.value, dock.preset.value, dock.iterations.value = 5, "fast", 5
        dock.threads.value, dock.compile.value = 1, "off"
        dock.run.native.click()
        qtbot.waitUntil(lambda: dock.run.enabled and "Finished" in dock.status.text(), timeout=60_000)
        return dock

    return run_


@pytest.mark.parametrize("role", ["deblurred", "kernel", "uncertainty"])
def test_the_menu_saves_what_the_layers_show_and_napari_opens_it(
    role, viewer, run, chosen, notified, tmp_path
):
    layer = viewer.add_image(GREY, name="cells", scale=(0.1, 0.2), units=("um", "um"))
    run(layer)
    viewer.layers.selection.active = viewer.layers[f"cells {role}"]
    chosen.answer = (str(tmp_path / "cells"), "TorchScript (*.pt)")  # without an extension
    entry(viewer, ENTRY).trigger()
    assert chosen.offered == "cells deblurred.pt"
    assert [note.message for note in notified()][-1] == f"Saved {tmp_path / 'cells.pt'}"

    shown = {name: viewer.layers[f"cells {name}"] for name in ("deblurred", "kernel", "uncertainty")}
    viewer.open(tmp_path / "cells.pt", plugin="napari-vdip")
    for name, before in shown.items():
        after = next(layer for layer in reversed(viewer.layers) if layer.name.startswith(f"cells {name}"))
        assert after is not before
        np.testing.assert_allclose(after.data, before.data, atol=1e-4 * np.ptp(before.data))
        np.testing.assert_allclose(after.scale, before.scale)
        assert after.units == before.units
        assert after.visible == before.visible


def test_after_undo_the_result_that_is_shown_again_is_saved(viewer, run, chosen, tmp_path):
    layer = viewer.add_image(GREY, name="cells")
    dock = run(layer)
    first = viewer.layers["cells deblurred"].data.copy()
    dock.results.value = "replace the last ones"
    dock.seed.value = 1
    run(layer)
    assert not np.allclose(viewer.layers["cells deblurred"].data, first)
    dock.undo.native.click()
    viewer.layers.selection.active = viewer.layers["cells deblurred"]
    chosen.answer = (str(tmp_path / "first.pt"), "")
    entry(viewer, ENTRY).trigger()
    np.testing.assert_allclose(modelfile.load(tmp_path / "first.pt").result.image, first, atol=1e-3)


def test_what_has_no_model_is_told(viewer, run, chosen, notified, tmp_path):
    layer = viewer.add_image(GREY, name="cells")
    viewer.layers.selection.active = layer
    entry(viewer, ENTRY).trigger()
    assert "select the deblurred image" in notified()[-1].message
    run(layer)
    viewer.layers.remove("cells deblurred")
    viewer.layers.selection.active = viewer.layers["cells kernel"]
    entry(viewer, ENTRY).trigger()
    assert "the network behind 'cells kernel' is not there" in notified()[-1].message
    assert chosen.offered is None


def test_a_stack_of_layers_has_no_model(viewer, run, chosen, notified, tmp_path):
    layer = viewer.add_image(np.stack([GREY, GREY]), name="stack")
    run(layer)
    viewer.layers.selection.active = viewer.layers["stack deblurred"]
    chosen.answer = (str(tmp_path / "stack.pt"), "")
    entry(viewer, ENTRY).trigger()
    assert "deblur one slice to save its model" in notified()[-1].message
    assert not (tmp_path / "stack.pt").exists()


def test_a_dialog_that_is_closed_writes_nothing(viewer, run, chosen, notified, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(viewer.add_image(GREY, name="cells"))
    before = len(notified())
    entry(viewer, ENTRY).trigger()
    assert chosen.offered == "cells deblurred.pt"
    assert not list(tmp_path.glob("*.pt"))
    assert len(notified()) == before


@pytest.mark.parametrize("name", ["model.pt", "model.onnx"])
def test_a_model_in_colour_opens_with_one_uncertainty(name, viewer, tmp_path):
    image = np.random.default_rng(5).integers(0, 255, (40, 48, 3), dtype=np.uint8)
    result = deblur(image, rgb=True, **QUICK)
    result.save_model(tmp_path / name)
    viewer.open(tmp_path / name, plugin="napari-vdip")
    assert viewer.layers["model deblurred"].rgb
    assert viewer.layers["model uncertainty"].data.shape == (40, 48)
    assert not viewer.layers["model uncertainty"].visible


def test_a_unit_that_napari_does_not_know_is_left_out(tmp_path):
    deblur(GREY, **QUICK).save_model(tmp_path / "m.pt", {"Y": (2.0, "parrots"), "X": (2.0, "parrots")})
    layers = [Image(data, **keywords) for data, keywords, _ in model_reader.read(str(tmp_path / "m.pt"))]
    assert [tuple(layer.scale) for layer in layers] == [(1, 1)] * 3


def test_a_foreign_file_is_told(viewer, tmp_path):
    (tmp_path / "other.pt").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(InvalidInput, match=r"other\.pt is damaged or no fitted model"):
        viewer.open(tmp_path / "other.pt", plugin="napari-vdip")


def test_models_do_not_make_a_stack(viewer, tmp_path):
    for name in ("a.pt", "b.pt"):
        (tmp_path / name).touch()
    with pytest.raises(InvalidInput, match="one by one"):
        viewer.open([tmp_path / "a.pt", tmp_path / "b.pt"], stack=True, plugin="napari-vdip")
