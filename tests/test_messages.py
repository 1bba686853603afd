"""What the shell tells of a stack: once, not once a slice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile

from napari_vdip import cli
from napari_vdip.messages import ranges, summarised

if TYPE_CHECKING:
    from pathlib import Path


def test_what_many_slices_have_is_told_once() -> None:
    many = [f"slice {number}: {40 + number}% of the kernel lies on its border" for number in (0, 1, 2, 7)]
    other = "slice 2: the misfit has stayed at 3.5 times the noise"
    assert summarised(["kernel resampled", *many[:3], other, many[3]], 9) == [
        "kernel resampled",
        "4 of 9 slices (0-2, 7), the first one: 40% of the kernel lies on its border",
        other,
    ]
    assert summarised([], 3) == []


def test_many_ranges_are_cut() -> None:
    assert ranges(range(0, 40, 2)) == "0, 2, 4, 6, 8, 10, 12, 14, ..."
    assert ranges([5, 3, 4, 9, 3]) == "3-5, 9"


@pytest.mark.usefixtures("small_fit")
def test_a_stack_in_the_shell_has_no_line_a_slice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = np.random.default_rng(1).integers(0, 200, (6, 10, 12)).repeat(4, 1).repeat(4, 2)
    tifffile.imwrite("stack.tif", blocks.astype("u1"), photometric="minisblack")
    words = [
        "--kernel-size",
        "5",
        "--preset",
        "fast",
        "--iterations",
        "2",
        "--threads",
        "1",
        "--compile",
        "off",
    ]
    assert cli.main(["deblur", "stack.tif", *words, "-q", "--no-defects"]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert any(line.startswith("warning: 6 of 6 slices (0-5), the first one: ") for line in lines)
    assert len(lines) < 4
