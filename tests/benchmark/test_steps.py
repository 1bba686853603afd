"""Times of steps: one entry for each stage that a preset has, with its number of steps."""

from __future__ import annotations

import torch

from napari_vdip.benchmark.steps import time_stages
from napari_vdip.options import Options


def test_each_stage_of_paper_is_timed():
    before = torch.get_num_threads()
    found = time_stages(Options(preset="paper", compile="off", threads=1), (24, 26), (5, 5), 1)
    torch.set_num_threads(before)
    assert [(stage.stage, stage.steps) for stage in found] == [
        ("pre-fit", 500),
        ("bound", 2000),
        ("SSIM", 3000),
    ]
    assert all(0.0 < stage.seconds < 10.0 for stage in found)


def test_a_stage_that_a_preset_does_not_have_is_left_out():
    found = time_stages(Options(preset="fast", compile="off", iterations=7), (24, 26), (5, 5), 1)
    assert sum(stage.steps for stage in found) == 7 + 7
