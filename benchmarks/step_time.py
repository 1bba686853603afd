"""Time a step of each stage of a preset, and extrapolate to its whole schedule.

python benchmarks/step_time.py paper --size 255 --kernel-size 17 --steps 15
"""

from __future__ import annotations

import argparse

import torch

from napari_vdip.benchmark.steps import time_stages
from napari_vdip.options import PRESETS, Options


def main() -> None:
    """Print the median time of a step for each stage, and the sum over the schedule."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("preset", choices=list(PRESETS))
    parser.add_argument("--size", type=int, default=255)
    parser.add_argument("--kernel-size", type=int, default=17)
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()
    options = Options(preset=given.preset, device=given.device, threads=given.threads)
    stages = time_stages(options, (given.size, given.size), (given.kernel_size,) * 2, given.steps)
    for stage in stages:
        print(f"{stage.stage}: {stage.steps} steps of {1e3 * stage.seconds:.0f} ms")
    whole = sum(stage.steps * stage.seconds for stage in stages)
    print(f"whole schedule: {whole:.0f} s, {torch.get_num_threads()} threads")


if __name__ == "__main__":
    main()
