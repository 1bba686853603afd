"""The exported loop runs in a process that does not have this package."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch

from napari_vdip import Options
from napari_vdip.core import compile
from napari_vdip.errors import InvalidInput, InvalidOption
from napari_vdip.export import save_program

ELSEWHERE = textwrap.dedent(
    """
    import sys, warnings
    warnings.simplefilter("ignore", DeprecationWarning)
    sys.modules["napari_vdip"] = None  # importing it would fail
    import torch
    program = torch.jit.load(sys.argv[1])
    with torch.jit.optimized_execution(False):
        program.run(5)
    torch.save({"mean": program.mean, "kernel": program.kernel, "log": program.log}, sys.argv[2])
    """
)


@pytest.mark.parametrize("preset", ["fast", "paper"])
def test_a_saved_loop_goes_on_elsewhere_with_the_same_numbers(tmp_path, preset):
    path = tmp_path / "loop.pt"
    save_program(path, (24, 32), Options(kernel_size=5, preset=preset, iterations=40))
    program = compile.load(path)
    y = torch.rand(1, 24, 32, generator=torch.Generator().manual_seed(0))
    kernel = torch.full((5, 5), 1 / 25)
    program.start(y, torch.ones_like(y), torch.tensor(1e-4), kernel, torch.tensor(7))
    with torch.jit.optimized_execution(False):
        program.run(3)
        compile.save(program, path)
        program.run(5)
    out = tmp_path / "out.pt"
    subprocess.run([sys.executable, "-c", ELSEWHERE, path, out], check=True, timeout=120)
    there = torch.load(out, weights_only=True)
    assert program.log[7].abs().sum() > 0
    for name in ("mean", "kernel", "log"):
        np.testing.assert_allclose(there[name], getattr(program, name), rtol=1e-4, atol=1e-6, err_msg=name)


def test_export_needs_a_kernel_size_that_fits(tmp_path):
    with pytest.raises(InvalidOption, match="kernel_size"):
        save_program(tmp_path / "x.pt", (64, 64), Options())
    with pytest.raises(InvalidInput, match="16 x 64"):
        save_program(tmp_path / "x.pt", (16, 64), Options(kernel_size=31))
    assert list(tmp_path.iterdir()) == []
