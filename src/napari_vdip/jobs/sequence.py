"""The missing units of a job, one after the other, in this process."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari_vdip.jobs.job import Job
    from napari_vdip.result import Progress


@dataclass(frozen=True)
class Step:
    """How far a job is.

    Attributes
    ----------
    unit : int
        The unit at work.
    progress : Progress
        Counted over the whole job; its result is that of the unit alone.
    """

    unit: int
    progress: Progress


def run(job: Job) -> Generator[Step, None, None]:
    """Do the units that are missing; each is on the disk before the next one is begun.

    Yields
    ------
    Step
        As often as the fit tells of itself. The generator may be closed at any of them: the unit
        at work is then not kept.

    Raises
    ------
    VdipError
        As `Job.fit` and `Job.keep`.
    """
    from napari_vdip import stack  # torch, which those who import this module may not need

    todo, started = job.missing, time.perf_counter()
    costs = [stack.cost_of(visit, job.options) for visit in job.visits]
    total, ahead = sum(steps for steps, _ in costs), sum(costs[number][1] for number in todo)
    over = 0.0
    for number in todo:
        steps, cost = costs[number]
        before = total - sum(costs[other][0] for other in job.missing)
        fit = job.fit(number)
        while True:
            try:
                progress = next(fit)
            except StopIteration as end:
                job.keep(number, end.value)
                break
            if job.total > 1:
                elapsed = time.perf_counter() - started
                part = progress.step / progress.steps
                share = (over + part * cost) / ahead
                progress = replace(
                    progress,
                    step=max(1, before + int(part * steps + 1e-6)),
                    steps=total,
                    slice_index=job.visits[number].number,
                    slices=len(job.final),
                    seconds=elapsed,
                    seconds_left=elapsed / share - elapsed,
                )
            yield Step(number, progress)
        over += cost
