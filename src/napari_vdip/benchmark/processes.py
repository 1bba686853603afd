"""Tasks in processes of their own, a number of them at a time; none outlives its caller."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from napari_vdip.errors import OutOfMemory, VdipError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_COMMAND = [sys.executable, "-P", "-m", "napari_vdip.benchmark.worker"]


@dataclass(frozen=True)
class Event:
    """News of a task.

    Attributes
    ----------
    index : int
        Which one.
    share : float
        How much of it is done, 0 to 1.
    answer : dict or None
        What it returned, once it is done.
    error : str
        What went wrong, if it has no answer.
    status : int
        Exit status that fits the error.
    """

    index: int
    share: float
    answer: dict[str, Any] | None = None
    error: str = ""
    status: int = 0

    @property
    def over(self) -> bool:
        """Whether the task has ended."""
        return self.answer is not None or bool(self.error)


def run(tasks: Sequence[dict[str, Any]], at_once: int, threads: int | None) -> Iterator[Event]:
    """Do tasks in their order, some at once; closing this generator ends those that run.

    Parameters
    ----------
    tasks : sequence of dict
        JSON-ready, as `napari_vdip.benchmark.worker` takes them.
    at_once : int
        Number of processes.
    threads : int or None
        Processor threads of each; None: as many as it takes.

    Yields
    ------
    Event
    """
    news: queue.Queue[Event] = queue.Queue()
    crew = _Crew(tasks, news, threads)
    try:
        crew.start(min(at_once, len(tasks)))
        left = len(tasks)
        while left:
            try:
                event = news.get(timeout=0.5)  # under Windows Ctrl-C does not end an endless wait
            except queue.Empty:
                continue
            left -= event.over
            yield event
    finally:
        crew.stop()


def call(task: dict[str, Any], threads: int | None = None) -> dict[str, Any]:
    """Do one task.

    Raises
    ------
    VdipError
        If it fails.
    """
    *_, last = run([task], 1, threads)
    if last.answer is None:
        raise (OutOfMemory if last.status == OutOfMemory.exit_status else VdipError)(last.error)
    return last.answer


class _Crew:
    """Threads, each of which waits for one process after the other."""

    def __init__(
        self, tasks: Sequence[dict[str, Any]], news: queue.Queue[Event], threads: int | None
    ) -> None:
        self._tasks = iter(enumerate(tasks))
        self._news = news
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._stopped = False
        self._hands: list[threading.Thread] = []
        self._environment = dict(os.environ)
        if threads is not None:
            self._environment["OMP_NUM_THREADS"] = str(threads)

    def start(self, count: int) -> None:
        self._hands = [threading.Thread(target=self._work, daemon=True) for _ in range(count)]
        for hand in self._hands:
            hand.start()

    def stop(self) -> None:
        """End what runs and begin nothing more."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                process.kill()
        for hand in self._hands:
            hand.join()

    def _work(self) -> None:
        while True:
            with self._lock:
                index, task = next(self._tasks, (-1, {}))
                if self._stopped or index < 0:
                    return
            try:
                self._news.put(self._do(index, task))
            except OSError as error:  # no memory or no file handle for another process
                self._news.put(Event(index, 1.0, error=f"cannot start a process: {error}", status=2))

    def _do(self, index: int, task: dict[str, Any]) -> Event:
        """Run one task to its end."""
        last: dict[str, Any] = {}
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as complaints:
            with self._lock:
                if self._stopped:
                    return Event(index, 1.0, error="stopped", status=2)
                process = subprocess.Popen(
                    _COMMAND,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=complaints,
                    env=self._environment,
                    text=True,
                    encoding="utf-8",
                    start_new_session=True,  # Ctrl-C is for the parent, which ends it
                )
                self._running.add(process)
            with process:
                assert process.stdin and process.stdout  # both are pipes
                self._news.put(Event(index, 0.0))
                _send(process.stdin, task)
                for line in process.stdout:
                    last = _parsed(line)
                    if "share" in last:
                        self._news.put(Event(index, last["share"]))
            with self._lock:
                self._running.discard(process)
            if "done" in last:
                return Event(index, 1.0, answer=last["done"])
            if "error" in last:
                return Event(index, 1.0, error=last["error"], status=last["status"])
            return _crashed(index, process.returncode, complaints)


def _send(pipe: IO[str], task: dict[str, Any]) -> None:
    """Give a process its task; one that has died already shows by its exit status."""
    try:
        pipe.write(json.dumps(task) + "\n")
        pipe.close()
    except BrokenPipeError:
        return


def _parsed(line: str) -> dict[str, Any]:
    """Read a line of a process; nothing from one that was cut off by its end."""
    try:
        said: dict[str, Any] = json.loads(line)
    except ValueError:
        return {}
    return said


def _crashed(index: int, code: int, complaints: IO[str]) -> Event:
    """Tell of a process that ended without an answer."""
    if code == -9:
        text = "its process was killed, most likely for want of memory; crop the image or use preset fast"
        return Event(index, 1.0, error=text, status=OutOfMemory.exit_status)
    complaints.seek(0)
    lines = [line.strip() for line in complaints if line.strip()]
    said = lines[-1] if lines else "it said nothing"
    return Event(index, 1.0, error=f"its process ended with status {code}: {said}", status=2)
