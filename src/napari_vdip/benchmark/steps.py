"""How long a step of each stage of a preset takes, and the whole schedule of such steps."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from napari_vdip import heap
from napari_vdip.placement import placed
from napari_vdip.plan import Setting, plan_of
from napari_vdip.solve import STAGES, loop_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_vdip.core.compile import Runner
    from napari_vdip.options import Options

_WARM_UP = 2  # the first steps allocate; on CUDA they come before the capture of the graph, too
_WARM_UP_CUDA = 5


@dataclass(frozen=True)
class StageTime:
    """Time of one stage.

    Attributes
    ----------
    stage : str
        Its name for people.
    steps : int
        How many the schedule has.
    seconds : float
        Of one step: the median of those timed.
    """

    stage: str
    steps: int
    seconds: float


@dataclass(frozen=True)
class Stage:
    """A stage that is ready to be timed.

    Attributes
    ----------
    name : str
        For people.
    steps : int
        How many the schedule has.
    loop : Runner
        Its program, warm.
    """

    name: str
    steps: int
    loop: Runner


def warm_stages(
    options: Options, shape: tuple[int, int], kernel_size: tuple[int, int], steps: int
) -> Iterator[Stage]:
    """Make a program for each stage that a preset has, on noise, and do its first steps.

    Parameters
    ----------
    options : Options
        Preset, method, device, way of compiling, iterations.
    shape, kernel_size : (int, int)
        Height and width, in px.
    steps : int
        How many steps each program has left.

    Yields
    ------
    Stage

    Raises
    ------
    DeviceUnavailable
        If the device does not exist.
    """
    device, way, place = placed(options)
    setting = Setting(options, device, way, kernel_size, "given", None, place=place)
    plan = plan_of(setting, 1, *shape)
    names = ("prefit", "bound", "ssim", "profile", "climb", "last_climb", "polish")
    counts = {name: getattr(plan, name) for name in names}
    warm = _WARM_UP_CUDA if device.type == "cuda" else _WARM_UP
    titles = dict(zip(counts, (*STAGES[:4], *STAGES[6:8], STAGES[4]), strict=True))
    for name, planned in counts.items():
        if planned == 0:
            continue
        # The same program without the stages before this one; those after it stay in the plan, for
        # they have a say in what the program is built from.
        later = list(counts)[list(counts).index(name) :]
        counted: dict[str, Any] = {other: counts[other] if other in later else 0 for other in counts}
        counted[name] = warm + steps
        # After a search the polish holds the kernel.
        held = plan.hold_kernel or (name == "polish" and plan.climb > 0)
        loop = loop_of(plan._replace(hold_kernel=held, **counted), setting)
        program = loop.program
        y = torch.rand(1, *shape, generator=torch.Generator().manual_seed(0)).to(device)
        kernel = torch.full_like(program.kernel, 1.0 / program.kernel.numel())
        noise, seed = torch.full_like(program.noise_var, 1e-4), torch.zeros_like(program.seed)
        program.start(y, torch.ones_like(y), noise, kernel, seed)
        loop.run(warm)
        yield Stage(titles[name], planned, loop)


def time_stages(
    options: Options, shape: tuple[int, int], kernel_size: tuple[int, int], steps: int
) -> list[StageTime]:
    """Time some steps of each stage that a preset has, on noise.

    Parameters
    ----------
    options, shape, kernel_size
        As for `warm_stages`; the process keeps the number of threads that `options` has.
    steps : int
        How many of each stage are timed, after a few that are not.

    Raises
    ------
    DeviceUnavailable
        If the device does not exist.
    """
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    found = []
    with heap.kept():
        for stage in warm_stages(options, shape, kernel_size, steps):
            times = []
            for _ in range(steps):
                started = time.perf_counter()
                stage.loop.run(1)
                times.append(time.perf_counter() - started)
            found.append(StageTime(stage.name, stage.steps, statistics.median(times)))
    return found
