"""Tasks in processes of their own: answers, errors, crashes, and an end when nobody listens."""

from __future__ import annotations

import sys
import time

import psutil
import pytest

from napari_vdip.benchmark import processes
from napari_vdip.errors import OutOfMemory, VdipError

SAY = "import sys, json; task = json.loads(sys.stdin.readline()); print(json.dumps({'done': task}))"
SLEEP = "import time, sys; print('{\"share\": 0.5}', flush=True); time.sleep(60)"


@pytest.fixture
def worker(monkeypatch):
    """Let the processes run some code instead of a fit."""

    def set_to(code: str) -> None:
        monkeypatch.setattr(processes, "_COMMAND", [sys.executable, "-c", code])

    return set_to


def test_every_task_is_answered(worker):
    worker(SAY)
    events = list(processes.run([{"number": n} for n in range(5)], 2, 1))
    answers = {event.index: event.answer["number"] for event in events if event.over}
    assert answers == {n: n for n in range(5)}
    assert list(processes.run([], 2, None)) == []


def test_threads_are_told_before_torch_is_loaded(worker):
    worker('import os; print(\'{"done": {"n": "%s"}}\' % os.environ[\'OMP_NUM_THREADS\'])')
    assert processes.call({}, threads=3) == {"n": "3"}


def test_a_crash_tells_its_last_line_and_the_others_go_on(worker):
    worker(
        "import json, sys; task = json.loads(sys.stdin.readline())\n1 / task['by']\nprint('{\"done\": {}}')"
    )
    events = [event for event in processes.run([{"by": 0}, {"by": 1}], 1, None) if event.over]
    assert events[0].error == "its process ended with status 1: ZeroDivisionError: division by zero"
    assert (events[0].status, events[1].answer) == (2, {})


def test_a_killed_process_is_out_of_memory(worker):
    worker("import os; os.kill(os.getpid(), 9)")
    with pytest.raises(OutOfMemory, match="killed, most likely for want of memory"):
        processes.call({})


def test_an_error_of_the_worker_is_raised(worker):
    worker('print(\'{"error": "the image is constant", "status": 2}\')')
    with pytest.raises(VdipError, match="the image is constant"):
        processes.call({})


def test_half_a_line_is_no_answer(worker):
    worker("print('{\"done\": {\"ps', end='')")
    with pytest.raises(VdipError, match="ended with status 0: it said nothing"):
        processes.call({})


def test_closing_ends_what_runs(worker):
    worker(SLEEP)
    before = psutil.Process().children()
    running = processes.run([{}] * 4, 2, None)
    while next(running).share < 0.5:
        pass
    children = [child for child in psutil.Process().children() if child not in before]
    assert 1 <= len(children) <= 2
    started = time.monotonic()
    running.close()
    assert time.monotonic() - started < 5
    assert not any(child.is_running() for child in children)
