"""The missing units of a job, one after the other or several at once, in this process."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from napari_vdip.result import Result

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
    """Do the units that are missing; each is on the disk as soon as it is done.

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
    from napari_vdip import abreast, stack  # torch, which those who import this module may not need

    todo, started = job.missing, time.perf_counter()
    costs = [stack.cost_of(visit, job.options) for visit in job.visits]
    total, ahead = sum(steps for steps, _ in costs), sum(costs[number][1] for number in todo)
    before = total - sum(costs[number][0] for number in todo)
    shares: dict[int, float] = {}
    at_once = abreast.width(job.options, job.layout.spatial_shape) if job.by_slices else 1
    turns = [
        abreast.Turn(number, partial(job.fit, number), bool(job.visits[number].sources)) for number in todo
    ]
    for number, told in abreast.run(turns, at_once):
        if isinstance(told, Result):
            shares[number] = 1.0
            job.keep(number, told)
            continue
        shares[number] = told.step / told.steps
        if job.total > 1:
            elapsed = time.perf_counter() - started
            share = sum(part * costs[other][1] for other, part in shares.items()) / ahead
            step = before + sum(int(part * costs[other][0] + 1e-6) for other, part in shares.items())
            told = replace(
                told,
                step=max(1, step),
                steps=total,
                slice_index=job.visits[number].number,
                slices=len(job.final),
                seconds=elapsed,
                seconds_left=elapsed / share - elapsed,
            )
        yield Step(number, told)
