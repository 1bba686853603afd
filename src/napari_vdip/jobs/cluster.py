"""Units on the workers of dask.distributed, on this machine or on many. The only user of that library.

A unit is a task. A worker opens the job from its folder, does the unit and puts it on the disk there
itself, so that nothing but numbers travels; the tasks of a worker that is lost are given to the others.
What comes out does not depend on who did what: all units have the threads that the job was begun with.
"""

from __future__ import annotations

import functools
import logging
import signal
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_vdip.errors import InvalidInput, InvalidOption, OutOfMemory, VdipError
from napari_vdip.jobs import job as jobs

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from types import TracebackType

    from napari_vdip.jobs.job import Job

_BEAT = 0.1  # seconds after which the caller is asked whether to go on
_CALL = 1.0  # seconds after which the workers are counted again
_AHEAD = 2  # tasks for each worker that are handed out at once: one at work, one waiting
_ANSWER = "15s"  # within which a scheduler has to answer
_DEVICE = "GPU"  # resource of workers; where they have it, a task takes one of it


@dataclass(frozen=True)
class Beat:
    """What has happened since the last one.

    Attributes
    ----------
    job, unit : Job or None, int
        The unit that ended, if any did.
    error : Exception or None
        Why it failed.
    workers : int
        Workers there are.
    lost : tuple of str
        Addresses of workers that are gone.
    """

    workers: int
    job: Job | None = None
    unit: int = -1
    error: BaseException | None = None
    lost: tuple[str, ...] = ()


class Cluster:
    """Workers to be used in a ``with`` statement; those that were started here are ended there.

    Parameters
    ----------
    workers : int, optional
        Processes to start on this machine.
    scheduler : str, optional
        Address of a scheduler that runs already: ``tcp://host:8786``, or the file that
        ``dask scheduler --scheduler-file`` writes.

    Raises
    ------
    InvalidOption
        If dask.distributed is not installed.
    InvalidInput
        If no scheduler answers there.
    """

    def __init__(self, workers: int | None = None, scheduler: str | None = None) -> None:
        try:
            import distributed
        except ImportError as error:
            raise InvalidOption(
                "work on several processes or machines needs one more package: "
                'pip install "napari-vdip[cluster]"'
            ) from error
        self._distributed: Any = distributed
        self._workers, self._scheduler = workers, scheduler
        self._own: Any = None
        self._known: set[str] = set()
        self._devices = False

    def __enter__(self) -> Cluster:
        if self._scheduler is None:
            self._own = self._distributed.LocalCluster(
                n_workers=self._workers,
                threads_per_worker=1,
                processes=True,
                memory_limit=None,  # torch's memory is not dask's to manage; the machine's own limits hold
                dashboard_address=None,
                silence_logs=logging.CRITICAL,  # a lost worker is told by `Beat.lost`
            )
            self._client = self._distributed.Client(self._own)
            self._client.register_plugin(_deaf(self._distributed))
            return self
        named = Path(self._scheduler).suffix == ".json"
        given = {"scheduler_file" if named else "address": self._scheduler, "timeout": _ANSWER}
        try:
            self._client = self._distributed.Client(**given)
        except (OSError, ValueError) as error:  # a timeout is an OSError
            raise InvalidInput(
                f"no dask scheduler answers at {self._scheduler}: {error}; start one by `dask scheduler`, "
                "and see that its address, port and version are right"
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()
        if self._own is not None:
            self._own.close()

    def run(self, tasks: Iterator[tuple[Job, int] | None]) -> Generator[Beat, None, None]:
        """Do units; not more of them are handed out than the workers soon get to.

        Parameters
        ----------
        tasks : iterator of (Job, int) or None
            The units; taken from it when there is a worker for them. None: those that are left wait for
            others.

        Yields
        ------
        Beat
            For each unit that ended, and ten times a second. If the generator is closed, what is
            under way is given up.
        """
        waiting: dict[Any, tuple[Job, int]] = {}
        ended = self._distributed.as_completed()
        more, called = True, -_CALL
        workers = 0
        lost: tuple[str, ...] = ()
        try:
            while more or waiting:
                if time.monotonic() - called >= _CALL:
                    workers, lost = self._roll_call()
                    called = time.monotonic()
                while more and len(waiting) < _AHEAD * max(1, workers):
                    try:
                        task = next(tasks)
                    except StopIteration:
                        more = False
                        break
                    if task is None:
                        break
                    future = self._submitted(*task)
                    waiting[future] = task
                    ended.add(future)
                yield Beat(workers, lost=lost)
                lost = ()
                futures = ended.next_batch(block=False) if waiting else []
                for future in futures:
                    job, number = waiting.pop(future)
                    error = _told(future.exception(), number)
                    if error is None:
                        job.done.add(number)
                    yield Beat(workers, job, number, error)
                if not futures:
                    time.sleep(_BEAT)
        finally:
            if waiting:
                self._client.cancel(list(waiting), force=True)

    def _roll_call(self) -> tuple[int, tuple[str, ...]]:
        """Count the workers, and name those that are gone."""
        described = self._client.scheduler_info(n_workers=-1)["workers"]
        lost = tuple(sorted(self._known - described.keys()))
        self._known = set(described)
        self._devices = any(_DEVICE in worker.get("resources", {}) for worker in described.values())
        return len(described), lost

    def _submitted(self, job: Job, number: int) -> Any:
        """Hand a unit out."""
        return self._client.submit(
            work,
            str(job.folder.resolve()),
            number,
            key=f"{job.image.path.stem}-{number}-{uuid.uuid4().hex[:8]}",
            pure=False,
            resources={_DEVICE: 1} if self._devices else None,
        )


def work(folder: str, number: int) -> int:
    """Do a unit of a job, on a worker.

    Parameters
    ----------
    folder : str
        Of the job.
    number : int
        Of the unit.

    Returns
    -------
    int
        The unit's number.

    Raises
    ------
    VdipError
        As `Job.fit` and `Job.keep`.
    """
    job = _opened(folder)
    fit = job.fit(number)
    while True:
        try:
            next(fit)
        except StopIteration as end:
            job.keep(number, end.value)
            return number


def _deaf(distributed: Any) -> Any:
    """Make a plugin by which workers leave Ctrl-C, which a terminal sends to them too, to this process."""

    class Deaf(distributed.WorkerPlugin):  # type: ignore[misc]
        def setup(self, worker: Any) -> None:
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    return Deaf()


@functools.lru_cache(maxsize=2)
def _opened(folder: str) -> Job:
    return jobs.load(Path(folder))


def _told(error: BaseException | None, number: int) -> BaseException | None:
    """Say of a unit that took its workers with it what a user can do."""
    if type(error).__name__ == "KilledWorker":
        return OutOfMemory(
            f"slice {number} was given up: the workers that tried it were lost, most likely for want of "
            "memory; use fewer workers, or larger ones"
        )
    if error is None or isinstance(error, (VdipError, MemoryError, OSError)):
        return error
    return VdipError(f"slice {number} failed on its worker: {type(error).__name__}: {error}")
