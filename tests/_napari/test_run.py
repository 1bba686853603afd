"""A run without a window: words, threads, errors, the end of what was begun."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from napari_vdip._napari import run
from napari_vdip.errors import InvalidInput, VdipError
from napari_vdip.options import Options
from napari_vdip.result import Progress


def progress(**changes):
    values = {
        "stage": "fit",
        "step": 120,
        "steps": 1630,
        "slice_index": 0,
        "slices": 1,
        "seconds": 3.0,
        "seconds_left": 65.0,
        "result": None,
    }
    return Progress(**values | changes)


def test_progress_in_words():
    assert run.message(progress()) == "fit, step 120 of 1,630, 1:05 left"
    assert run.message(progress(slices=3, slice_index=1)) == "fit, slice 2 of 3, step 120 of 1,630, 1:05 left"
    assert run.message(progress(seconds_left=float("nan"))) == "fit, step 120 of 1,630"
    assert run.message(progress(held=True)).splitlines()[1] == "Shown is the mean of the starts before."


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (3723, "1:02:03"), (-1, "0:00")])
def test_durations(seconds, text):
    assert run.duration(seconds) == text


def test_a_core_is_left_to_the_viewer(monkeypatch):
    monkeypatch.setattr(run, "_cores", lambda: 8)
    assert run.with_threads(Options()).threads == 7
    assert run.with_threads(Options(threads=8)).threads == 8
    monkeypatch.setattr(run, "_cores", lambda: 1)
    assert run.with_threads(Options()).threads == 1


def test_a_runtime_error_becomes_one_that_a_worker_tells(fake_fit):
    fake_fit.error = RuntimeError("shapes do not match")
    steps = run.Fit(np.ones((8, 8)), Options(), "cells").steps()
    next(steps)
    with pytest.raises(VdipError, match="shapes do not match") as caught:
        next(steps)
    assert not isinstance(caught.value, RuntimeError)


def test_errors_of_ours_are_not_changed(fake_fit):
    fake_fit.error = InvalidInput("the image is constant")
    steps = run.Fit(np.ones((8, 8)), Options(), "cells").steps()
    next(steps)
    with pytest.raises(InvalidInput, match=r"^the image is constant$"):
        next(steps)


def test_a_worker_that_is_quit_leaves_the_fit_to_the_next(fake_fit, qapp):
    steps, seen = run.Fit(np.ones((8, 8)), Options(), "cells").steps(), []
    worker = run.FitWorker("first", steps)
    worker.yielded.connect(lambda progress: (seen.append(progress.step), worker.quit()))
    worker.run()  # in this thread
    assert (seen, fake_fit.closed) == ([1], False)
    worker = run.FitWorker("second", steps)
    worker.yielded.connect(lambda progress: seen.append(progress.step))
    worker.run()
    assert (seen, fake_fit.closed) == ([1, 2, 3], True)


def test_a_worker_that_shall_discard_ends_the_fit(fake_fit, qapp):
    worker = run.FitWorker("title", run.Fit(np.ones((8, 8)), Options(), "cells").steps())
    worker.discard = True
    worker.yielded.connect(lambda _progress: worker.quit())
    worker.run()
    assert fake_fit.closed


def test_threads_take_short_turns_until_the_last_of_the_fits_has_ended(fake_fit, qapp):
    usual, seen = sys.getswitchinterval(), []
    inner = run.FitWorker("inner", run.Fit(np.ones((8, 8)), Options(), "stars").steps())

    def another(_progress):
        if not seen:
            inner.run()
        seen.append(sys.getswitchinterval())

    outer = run.FitWorker("outer", run.Fit(np.ones((8, 8)), Options(), "cells").steps())
    outer.yielded.connect(another)
    outer.run()
    assert len(seen) == 3
    assert max(seen) < usual / 5
    assert sys.getswitchinterval() == usual


def test_threads_take_the_usual_turns_after_an_error(fake_fit, qapp):
    usual = sys.getswitchinterval()
    fake_fit.error = InvalidInput("the image is constant")
    worker = run.FitWorker("title", run.Fit(np.ones((8, 8)), Options(), "cells").steps())
    worker.run()
    assert isinstance(worker.failure, InvalidInput)
    assert sys.getswitchinterval() == usual


def test_a_run_is_called_by_its_image():
    assert str(run.Fit(None, Options(), "cells")) == "deblurring of cells"
