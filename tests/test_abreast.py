"""Several fits at once: their order, what waits, how they end; a GPU is pretended."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from napari_vdip import Options, abreast, devices
from napari_vdip.errors import Diverged
from napari_vdip.result import History, Progress, Result

NOTHING = np.zeros((1, 1), dtype=np.float32)


def result(number):
    return Result(NOTHING, NOTHING, NOTHING, History.joined([]), {"number": number})


class Fits:
    """Turns that note what is at work; each tells twice of itself."""

    def __init__(self, count, waits=(), fails=None):
        self.at_work, self.most, self.order, self.closed = set(), 0, [], []
        self.fails, self.lock = fails, threading.Lock()
        self.turns = [abreast.Turn(n, lambda n=n: self.fit(n), n in waits) for n in range(count)]

    def fit(self, number):
        with self.lock:
            self.at_work.add(number)
            self.order.append((number, frozenset(self.at_work)))
            self.most = max(self.most, len(self.at_work))
        try:
            for step in (1, 2):
                time.sleep(0.02)
                if number == self.fails:
                    raise Diverged(f"turn {number} failed")
                yield Progress("fit", step, 2, 0, 1, 0.0, 0.0, result(number))
            return result(number)
        finally:
            with self.lock:
                self.at_work.discard(number)
                self.closed.append(number)


@pytest.mark.parametrize("width", [1, 3])
def test_each_turn_tells_of_itself_and_then_of_its_result(width):
    fits = Fits(7)
    told = list(abreast.run(fits.turns, width))
    assert fits.most == width
    assert [number for number, _ in fits.order] == list(range(7))
    for number in range(7):
        own = [value for of, value in told if of == number]
        assert [value.step for value in own[:-1]] == [1, 2]
        assert own[-1].report == {"number": number}


def test_a_turn_that_waits_begins_when_those_before_it_are_over():
    fits = Fits(6, waits={2, 4})
    list(abreast.run(fits.turns, 3))
    together = dict(fits.order)
    assert together[2] == {2}
    assert together[4] == {4}
    assert fits.most == 2


@pytest.mark.parametrize("width", [1, 3])
def test_an_error_ends_all_and_is_raised_where_one_asks(width):
    fits = Fits(6, fails=1)
    with pytest.raises(Diverged, match="turn 1 failed"):
        list(abreast.run(fits.turns, width))
    assert not fits.at_work
    assert max(fits.closed) <= width


@pytest.mark.parametrize("width", [1, 3])
def test_leaving_it_leaves_no_thread_and_nothing_at_work(width):
    before, fits = threading.active_count(), Fits(9)
    steps = abreast.run(fits.turns, width)
    next(steps)
    steps.close()
    assert not fits.at_work
    assert threading.active_count() == before
    assert len(fits.closed) <= width


def test_turns_wait_while_nobody_asks():
    fits = Fits(9)
    steps = abreast.run(fits.turns, 2)
    next(steps)
    time.sleep(0.3)
    assert len(fits.order) <= 2
    assert not fits.closed
    steps.close()


@pytest.mark.parametrize(
    ("shape", "preset", "free", "expected"),
    [
        ((256, 256), "balanced", 80e9, 4),
        ((360, 360), "balanced", 80e9, 2),
        ((1024, 1024), "balanced", 80e9, 1),
        ((256, 256), "balanced", 3e9, 3),
        ((256, 256), "balanced", 0.1e9, 1),
        ((256, 256), "best", 12e9, 2),  # each makes five starts at once
    ],
)
def test_a_gpu_takes_as_many_as_it_has_work_and_memory_for(monkeypatch, shape, preset, free, expected):
    monkeypatch.setattr(abreast, "placed", lambda options: (torch.device("cuda"), "script", None))
    monkeypatch.setattr(devices, "find", lambda name: SimpleNamespace(free_bytes=free))
    assert abreast.width(Options(preset=preset), shape) == expected


def test_on_the_processor_slices_go_one_after_the_other():
    assert abreast.width(Options(device="cpu"), (64, 64)) == 1
