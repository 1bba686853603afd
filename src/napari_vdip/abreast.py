"""Several fits at once, each in a thread of its own: on a GPU, most of which a small image leaves idle.

On the processor a fit has all threads that it is worth, and the next one begins when it has ended.
"""

from __future__ import annotations

import math
import queue
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_vdip import devices
from napari_vdip.options import PRESETS
from napari_vdip.placement import placed
from napari_vdip.result import Progress, Result

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from napari_vdip.options import Options

    Told = tuple[int, Progress | Result]

_MOST = 4  # with more, the thread that hands out the steps is what limits
_FILLED = 512 * 512  # px that a GPU has work for (docs/benchmarks/gpu.md)


@dataclass(frozen=True)
class Turn:
    """One fit.

    Attributes
    ----------
    number : int
        Goes with what is told of it.
    begin : callable
        Makes the generator of its progress, which returns the result.
    waits : bool
        Whether all turns before it have to be over.
    """

    number: int
    begin: Callable[[], Generator[Progress, None, Result]]
    waits: bool


def width(options: Options, shape: tuple[int, int]) -> int:
    """Count the fits of slices of this shape, (H, W), that are made at once."""
    device, _, _ = placed(options)
    if device.type != "cuda":
        return 1
    preset, pixels = PRESETS[options.preset], math.prod(shape)
    room = devices.room(str(device), preset.channels, pixels) // preset.starts
    return max(1, min(_MOST, _FILLED // pixels, room))


def run(turns: Sequence[Turn], width: int) -> Generator[Told, None, None]:
    """Do all turns; they begin in their order, `width` of them at once.

    Yields
    ------
    (int, Progress or Result)
        Number of a turn, and how far it is, or its result, which comes last. While nobody asks, the
        turns wait. Whatever a turn raises is raised here, and ends the others.
    """
    if width == 1:
        for turn in turns:
            yield from _told(turn)
        return
    waiting, running, over = deque(turns), 0, threading.Event()
    news: queue.Queue[Told | BaseException] = queue.Queue(1)
    with ThreadPoolExecutor(width) as pool:
        begun: list[Future[None]] = []
        try:
            while waiting or running:
                while waiting and running < width and not (waiting[0].waits and running):
                    begun.append(pool.submit(_tell, waiting.popleft(), news, over))
                    running += 1
                told = news.get()
                if isinstance(told, BaseException):
                    raise told
                running -= isinstance(told[1], Result)
                yield told
        finally:
            over.set()
            while not all(future.done() for future in begun):
                try:
                    news.get(timeout=0.02)
                except queue.Empty:
                    continue


def _told(turn: Turn) -> Generator[Told, None, None]:
    """Do one turn."""
    fit = turn.begin()
    while True:
        try:
            progress = next(fit)
        except StopIteration as end:
            yield turn.number, end.value
            return
        yield turn.number, progress


def _tell(turn: Turn, news: queue.Queue[Told | BaseException], over: threading.Event) -> None:
    """Do one turn in this thread, until it or all is over."""
    try:
        for told in _told(turn):
            news.put(told)
            if over.is_set():
                return
    except BaseException as error:  # raised again where `run` is asked
        news.put(error)
