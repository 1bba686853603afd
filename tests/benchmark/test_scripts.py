"""The scripts under benchmarks/ run on small sizes, and go on after a break."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from napari_vdip.options import PRESETS

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def script(name: str, *words: object) -> str:
    command = [sys.executable, str(BENCHMARKS / name), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_scaling(tmp_path):
    common = ["--presets", "fast", "--size", 24, "--kernel-size", 5, "--steps", 1, "--threads", 1]
    first = script("scaling.py", *common, "--sizes", 24, "--kernel-sizes", 5, "--output", tmp_path)
    assert first.count("ms a step") == 1
    again = script("scaling.py", *common, "--sizes", 24, 48, "--kernel-sizes", 5, "--output", tmp_path)
    assert again.startswith("fast, 48 px, kernel 5 px: ")
    assert again.count("ms a step") == 1
    text = (tmp_path / "scaling.md").read_text()
    assert "| fast | 24 | " in text
    assert "1.00 (from 24 px)" in text
    assert (tmp_path / "scaling.png").stat().st_size > 20_000


def test_profile_and_step_time():
    words = ["fast", "--size", 24, "--kernel-size", 5, "--threads", 1]
    told = script("profile_step.py", *words, "--steps", 1)
    for group in ("convolution, forward", "convolution, backward", "batch norm", "SSIM filter", "Adam"):
        assert f"| {group}" in told
    told = script("step_time.py", *words, "--steps", 1)
    fast = PRESETS["fast"]
    planned = [("fit", fast.profile_steps), ("kernel", fast.climb_steps), ("kernel", fast.last_climb_steps)]
    planned += [("pre-fit", 30), ("polish", fast.polish_steps)]
    assert all(f"{name}: {count} steps of" in told for name, count in planned)


def test_a_soak_of_few_fits():
    told = script("soak_fits.py", "--fits", 2, "--warm-up", 0)
    assert told.count(" MiB, ") == 3
    assert " MiB a fit in the second half" in told
