"""Time a step of each stage of a preset, and extrapolate to its whole schedule.

python benchmarks/step_time.py paper --size 255 --kernel-size 17 --steps 15
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from napari_vdip.core.compile import runner
from napari_vdip.options import PRESETS, Options
from napari_vdip.solve import STAGES, Setting, device_of, plan_of


def main() -> None:
    """Print the median time of a step for each stage, and the sum over the schedule."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("preset", choices=list(PRESETS))
    parser.add_argument("--size", type=int, default=255)
    parser.add_argument("--kernel-size", type=int, default=17)
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()
    size = (given.kernel_size, given.kernel_size)
    setting = Setting(Options(preset=given.preset), device_of(given.device), "script", size, "given", None)
    plan = plan_of(setting, 1, given.size, given.size)
    whole = 0.0
    for stage, steps in enumerate((plan.prefit, plan.bound, plan.ssim, plan.profile)):
        if steps == 0:
            continue
        # The same program with a schedule of this stage alone; `profile` also shapes the network.
        counts = [0, 0, 0, 0]
        counts[stage] = given.steps + 3
        alone = plan._replace(prefit=counts[0], bound=counts[1], ssim=counts[2], profile=counts[3])
        loop = runner(alone, setting.device, setting.way)
        program = loop.program
        y = torch.rand(1, given.size, given.size, generator=torch.Generator().manual_seed(0)).to(
            setting.device
        )
        kernel = torch.full_like(program.kernel, 1.0 / program.kernel.numel())
        noise, seed = torch.full_like(program.noise_var, 1e-4), torch.zeros_like(program.seed)
        program.start(y, torch.ones_like(y), noise, kernel, seed)
        loop.run(3)
        times = []
        for _ in range(given.steps):
            started = time.perf_counter()
            loop.run(1)
            times.append(time.perf_counter() - started)
        step = statistics.median(times)
        whole += steps * step
        print(f"{STAGES[stage]}: {steps} steps of {1e3 * step:.0f} ms")
    print(f"whole schedule: {whole:.0f} s, {torch.get_num_threads()} threads")


if __name__ == "__main__":
    main()
