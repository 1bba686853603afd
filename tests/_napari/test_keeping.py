"""Slices that are kept on the disk, and a later session in the viewer that goes on with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from test_widget import blobs, is_back, names, offered, press, quick

from napari_vdip import deblur

if TYPE_CHECKING:
    from pathlib import Path

STACK = blobs(3, 40, 48)
OPTIONS = {
    "kernel_size": 5,
    "preset": "fast",
    "iterations": 5,
    "compile": "off",
    "threads": 1,
    "kernel_draws": 0,
}

# What is tested here does not depend on how good a fit is.
pytestmark = pytest.mark.usefixtures("small_fits")


def units(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (folder / "cells_job").glob("unit_*.npz")}


def ended(widget, qtbot):
    qtbot.waitUntil(lambda: is_back(widget), timeout=120_000)


@pytest.fixture
def session(viewer, open_dock, tmp_path):
    """Open the dock on a stack, with a folder to keep its slices in."""

    def begin(name="cells"):
        if name not in viewer.layers:
            viewer.add_image(STACK, name=name, scale=(3, 2, 2))
        widget = open_dock()
        widget.image.value = viewer.layers[name]
        quick(widget)
        return widget

    return begin


def cut_short(widget, viewer, qtbot, folder, done=1):
    """Keep slices, and close the dock when some of them are done."""
    widget.job_folder.value = folder
    press(widget.run)
    qtbot.waitUntil(lambda: len(units(folder)) >= done, timeout=60_000)
    press(widget.stop)
    ended(widget, qtbot)
    viewer.window.remove_dock_widget(widget.native)
    return units(folder)


def test_a_later_session_goes_on_with_one_click(session, viewer, qtbot, tmp_path):
    before = cut_short(session(), viewer, qtbot, tmp_path)
    assert 1 <= len(before) < 3
    for layer in list(viewer.layers)[1:]:
        viewer.layers.remove(layer)
    widget = session()
    assert widget.job_folder.value == tmp_path  # remembered
    assert offered(widget.resume_job)
    assert widget.resume_job.text == f"Resume: {len(before)} of 3 slices are kept"
    press(widget.resume_job)
    ended(widget, qtbot)
    assert widget.status.text().startswith("Finished")
    assert f"Finished slices are kept in {tmp_path / 'cells_job'}" in widget.status.text()
    after = units(tmp_path)
    assert len(after) == 3
    assert before.items() <= after.items()  # what was finished was not done again
    whole = deblur(STACK, **OPTIONS)
    assert names(viewer) == ["cells", "cells deblurred", "cells kernel", "cells uncertainty"]
    for role, array in (
        ("deblurred", whole.image),
        ("kernel", whole.kernel),
        ("uncertainty", whole.uncertainty),
    ):
        np.testing.assert_array_equal(viewer.layers[f"cells {role}"].data, array)
    np.testing.assert_array_equal(viewer.layers["cells deblurred"].scale, [3, 2, 2])
    assert not viewer.layers["cells deblurred"].metadata["napari-vdip"]["partial"]


def test_slices_appear_as_they_are_done(session, viewer, qtbot, tmp_path):
    widget = session()
    widget.iterations.value = 60
    widget.job_folder.value = tmp_path
    press(widget.run)
    qtbot.waitUntil(lambda: len(units(tmp_path)) == 1, timeout=60_000)
    qtbot.waitUntil(
        lambda: (
            "cells deblurred" in viewer.layers
            and bool(np.isfinite(viewer.layers["cells deblurred"].data[0]).all())
        ),
        timeout=20_000,
    )
    assert np.isnan(viewer.layers["cells deblurred"].data[2]).all()
    assert "slice " in widget.status.text()
    press(widget.stop)
    ended(widget, qtbot)
    assert "of 3 slices done" in widget.status.text()


def test_other_settings_are_refused_in_words(session, viewer, qtbot, tmp_path, notified):
    before = cut_short(session(), viewer, qtbot, tmp_path)
    shown = names(viewer)
    widget = session()
    widget.seed.value = 5
    widget.kernel_size.value = 7
    press(widget.resume_job)
    ended(widget, qtbot)
    for told in ("kernel_size was 5, is now 7", "seed was 0, is now 5", "choose another folder"):
        assert told in widget.status.text()
    assert "--" not in widget.status.text()
    assert names(viewer) == shown
    assert units(tmp_path) == before
    widget.seed.value = 0
    widget.kernel_size.value = 5
    press(widget.resume_job)
    ended(widget, qtbot)
    assert widget.status.text().startswith("Finished")


def test_run_throws_nothing_away(session, viewer, qtbot, tmp_path):
    before = cut_short(session(), viewer, qtbot, tmp_path)
    widget = session()
    press(widget.run)
    ended(widget, qtbot)
    assert "finished slice(s) of an earlier run; to go on with it press Resume" in widget.status.text()
    assert units(tmp_path) == before


def test_another_image_of_the_same_name_is_refused(session, viewer, qtbot, tmp_path):
    cut_short(session(), viewer, qtbot, tmp_path)
    viewer.layers.remove("cells")
    viewer.add_image(STACK + 1, name="cells")
    widget = session()
    press(widget.resume_job)
    ended(widget, qtbot)
    assert "the input has another content" in widget.status.text()


def test_a_job_of_the_shell_is_told_from_one_of_the_viewer(session, viewer, qtbot, tmp_path):
    import tifffile

    from napari_vdip import cli

    cut_short(session(), viewer, qtbot, tmp_path)
    tifffile.imwrite(tmp_path / "cells.tif", STACK, photometric="minisblack")
    words = ["deblur", str(tmp_path / "cells.tif"), "-q", "-o", str(tmp_path), "--resume", "--preset", "fast"]
    words += [
        "--kernel-size",
        "5",
        "--iterations",
        "5",
        "--compile",
        "off",
        "--threads",
        "1",
        "--kernel-draws",
        "0",
    ]
    assert cli.main(words) == 2


def test_nothing_is_offered_where_nothing_is_kept(session, viewer, qtbot, tmp_path):
    widget = session()
    assert not offered(widget.resume_job)
    widget.job_folder.value = tmp_path
    assert not offered(widget.resume_job)
    (tmp_path / "cells_job").mkdir()
    (tmp_path / "cells_job" / "job.json").write_text("{}")
    widget.job_folder.value = tmp_path / "elsewhere"
    widget.job_folder.value = tmp_path
    assert not offered(widget.resume_job)


def test_what_else_is_in_the_folder_stays(session, viewer, qtbot, tmp_path):
    """A run that is given up before its first slice is done takes away what it made, and nothing else."""
    (tmp_path / "thesis.txt").write_text("years of work")
    widget = session()
    widget.iterations.value = 100_000
    widget.job_folder.value = tmp_path
    press(widget.run)
    qtbot.waitUntil(lambda: "cells kernel" in viewer.layers, timeout=60_000)
    press(widget.stop)
    ended(widget, qtbot)
    viewer.window.remove_dock_widget(widget.native)
    qtbot.waitUntil(lambda: not (tmp_path / "cells_job").exists(), timeout=20_000)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_shared_kernel_is_kept_slice_by_slice_too(session, viewer, qtbot, tmp_path):
    widget = session()
    widget.kernel_mode.value = "shared"
    before = cut_short(widget, viewer, qtbot, tmp_path)
    widget = session()
    widget.kernel_mode.value = "shared"
    press(widget.resume_job)
    ended(widget, qtbot)
    assert before.items() <= units(tmp_path).items()
    whole = deblur(STACK, kernel_mode="shared", **OPTIONS)
    np.testing.assert_array_equal(viewer.layers["cells deblurred [1]"].data, whole.image)


def test_a_folder_that_cannot_be_written_is_told(session, viewer, qtbot, tmp_path):
    (tmp_path / "file").write_text("")
    widget = session()
    widget.job_folder.value = tmp_path / "file"
    press(widget.run)
    ended(widget, qtbot)
    assert "cannot write to" in widget.status.text()
    assert "choose another folder" in widget.status.text()
