"""Scripted = eager, loaded = not saved, and Python goes on while a scripted run is under way."""

from __future__ import annotations

import threading
import time

import pytest
import torch
from test_program import EVERY_WAY, PROFILE, started

from napari_vdip.core.compile import load, runner, save, scripting_available

pytestmark = pytest.mark.skipif(not scripting_available(), reason="this Python and torch have no TorchScript")


def begin(plan, way):
    driven = runner(plan, torch.device("cpu"), way)
    model = started(plan)
    driven.program.start(model.y, model.weight, model.noise_var, model.prior_kernel, model.seed)
    return driven


@EVERY_WAY
def test_scripted_equals_eager_step_for_step(plan):
    eager, scripted = begin(plan, "off"), begin(plan, "script")
    for step in range(12):
        eager.run(1)
        scripted.run(1)
        for name, value in eager.program.state_dict().items():
            torch.testing.assert_close(
                scripted.program.state_dict()[name], value, msg=lambda m, n=name, s=step: f"{n}, {s}: {m}"
            )


@pytest.mark.parametrize("plain", [True, False], ids=["plain executor", "default executor"])
def test_loaded_equals_not_saved(tmp_path, plain):
    """Bit for bit with the executor that the runner uses.

    torch's default one fuses and rounds in another order; weights whose gradient is zero but
    for rounding then move (Adam scales every gradient to the same size), to no effect on the
    outputs.
    """
    scripted = begin(PROFILE, "script")
    scripted.run(5)
    save(scripted.program, str(tmp_path / "loop.pt"))
    loaded = load(str(tmp_path / "loop.pt"))
    scripted.run(5)
    with torch.jit.optimized_execution(not plain):
        loaded.run(5)
    assert loaded.done == 10
    expected = scripted.program.state_dict()
    for name in expected if plain else ("mean", "std", "kernel", "log"):
        tolerance = 0 if plain else 1e-5
        torch.testing.assert_close(loaded.state_dict()[name], expected[name], rtol=tolerance, atol=tolerance)


def test_python_goes_on_meanwhile():
    """One call of some second; another thread that wakes every ms must not stand still."""
    scripted = begin(PROFILE._replace(profile=100_000), "script")
    scripted.run(3)
    start = time.perf_counter()
    scripted.run(20)
    steps = int(20 * 1.0 / (time.perf_counter() - start)) + 1
    worker = threading.Thread(target=scripted.run, args=(steps,))
    gaps, last = [], time.perf_counter()
    worker.start()
    while worker.is_alive():
        time.sleep(0.001)
        now = time.perf_counter()
        gaps.append(now - last)
        last = now
    worker.join()
    assert len(gaps) > 30
    assert max(gaps) < 0.2
