"""A kernel is looked for in smaller images first: by the ladder's climbs, a large one also by fits."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_vdip import coarse, ladder, pace
from napari_vdip.placement import threads_of, torch_threads
from napari_vdip.plan import SHOWN_EVERY, plan_of, steps_of
from napari_vdip.psf import centred
from napari_vdip.report import SMALLER, report_of
from napari_vdip.result import History, Progress, Result
from napari_vdip.starts import seed_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from napari_vdip.arrays import Frame
    from napari_vdip.plan import Setting

    Fit = Callable[[Frame, Setting, int], Generator[Progress, None, Result]]


def from_small(
    frame: Frame, setting: Setting, seed: int, fit: Fit
) -> Generator[Progress, None, Progress | None]:
    """Look for the kernel in smaller images first, where it is unknown.

    Returns
    -------
    Progress or None
        The last one, with the kernel to go on from, and the time and steps of all that was done.
    """
    shape = (frame.y.shape[1], frame.y.shape[2])
    unknown = setting.kernel is None and setting.near is None and setting.options.polishes
    if unknown and pace.climbs_first(setting.options):
        if pace.has_ladder(setting.kernel_size, shape):
            return (yield from _from_ladder(frame, setting, seed))
    elif unknown and pace.begins_small(setting.kernel_size, shape):
        return (yield from _from_half(frame, setting, seed, fit))
    return None


def _from_ladder(frame: Frame, setting: Setting, seed: int) -> Generator[Progress, None, Progress]:
    """Look for a kernel by many climbs, see `ladder`."""
    threads, shape = threads_of(setting.options.threads, frame), (frame.y.shape[1], frame.y.shape[2])
    own = steps_of(plan_of(setting, *frame.y.shape), setting)
    work = sum(rung.work for rung in pace.rungs(setting.kernel_size, shape))
    climbs = ladder.climb(frame, setting.kernel_size, setting.device, seed)
    course: list[tuple[float, float, float, float]] = []  # energy, misfit, kernel's change, time
    before = np.full(setting.kernel_size, 1.0 / math.prod(setting.kernel_size), dtype=np.float32)
    differences = frame.y - frame.grey().y  # of colours, which the climbs do not look at
    first: tuple[float, float] | None = None  # share and time of what is done first
    begun, shown, progress = time.perf_counter(), 0.0, None
    while True:
        with torch_threads(threads):
            try:
                seen = next(climbs)
            except StopIteration as end:
                assert progress is not None
                return replace(progress, result=replace(progress.result, kernel=end.value))
        seconds = time.perf_counter() - begun
        # What is done for the first time takes longer.
        first = first or (seen.share, seconds)
        since, share = seconds - first[1], seen.share - first[0]
        if seen.done > len(course):
            course.append((seen.energy, seen.misfit, float(np.abs(seen.kernel - before).sum()), seconds))
            before = seen.kernel
        if seconds - shown < SHOWN_EVERY and seen.done < seen.steps:
            continue
        # The step at work counts, else there would be nothing to see in the first seconds: to stacks and
        # tiles an image without a step is one that was not touched.
        step = min(seen.done + 1, seen.steps)
        columns = np.array(course).reshape(-1, 4).T
        history = History(
            steps=np.arange(len(course)),
            objective=columns[0].astype(np.float32),
            misfit=columns[1].astype(np.float32) * np.float32(frame.scale),
            kernel_change=columns[2].astype(np.float32),
            seconds=columns[3],
        )
        image, std = (coarse.enlarged(planes[0], shape) for planes in (seen.image, seen.std))
        progress = Progress(
            stage=(
                "kernel in a smaller image"
                if seen.rungs == 1
                else f"kernel, size {seen.rung + 1} of {seen.rungs}"
            ),
            step=step,
            steps=seen.steps + own,
            slice_index=0,
            slices=1,
            seconds=seconds,
            seconds_left=since / share * (1.0 - seen.share + own / work) if share > 0.0 else math.nan,
            result=Result(
                frame.image(differences + image),
                frame.uncertainty(np.broadcast_to(std, frame.y.shape)),
                centred(seen.kernel).kernel,
                history,
                report_of(frame, setting, seed, seconds, (step, seen.steps + own), SMALLER),
            ),
        )
        left = time.perf_counter()
        yield progress
        begun += time.perf_counter() - left
        shown = seconds


def _from_half(frame: Frame, setting: Setting, seed: int, fit: Fit) -> Generator[Progress, None, Progress]:
    """Fit the image at half its size first.

    Where that one begins from nothing, several starts are made, of which the one that explains the
    image best goes on: at this size they cost little, and a wrong kernel is not mended later.
    """
    shape = (frame.y.shape[1], frame.y.shape[2])
    smaller = replace(setting, kernel_size=pace.half_size(setting.kernel_size), keep_network=False)
    smaller = replace(smaller, options=replace(setting.options, preset="fast", kernel_draws=0))
    own = steps_of(plan_of(setting, *frame.y.shape), setting)
    half = coarse.half(frame)
    starts = pace.starts_of(smaller.kernel_size, (half.y.shape[1], half.y.shape[2]))
    best: Progress | None = None
    before, passed = 0, 0.0
    for number in range(starts):
        for progress in fit(half, smaller, seed_of(seed, number)):
            done, seconds = before + progress.step, passed + progress.seconds
            ahead = starts * progress.steps - done
            shown = replace(
                progress,
                stage=f"half the size, {_which(number, starts)}{progress.stage}",
                step=done,
                steps=done + ahead + own,
                seconds=seconds,
                # A step of this one has four times the pixels.
                seconds_left=seconds / done * (ahead + 4 * own),
                result=coarse.doubled(progress.result, shape, setting.kernel_size, setting.options),
            )
            yield shown
        before, passed = done, seconds
        if best is None or shown.result.history.misfit[-1] < best.result.history.misfit[-1]:
            best = shown
    assert best is not None
    return replace(best, step=before, seconds=passed)


def _which(number: int, count: int) -> str:
    return f"start {number + 1} of {count}: " if count > 1 else ""
