"""``napari-vdip deblur``: many inputs, each as a job; what is told of them, and the worst exit status."""

from __future__ import annotations

import glob
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_vdip import messages, render, shell
from napari_vdip.errors import InvalidInput, StorageFailed, VdipError
from napari_vdip.files import split, stem_of
from napari_vdip.imagefile import FORMS
from napari_vdip.jobs import identity as identities
from napari_vdip.jobs import results, sequence
from napari_vdip.jobs.units import MANIFEST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from napari_vdip.imagefile import Form, ImageFile
    from napari_vdip.jobs.growing import Growing
    from napari_vdip.jobs.job import Job
    from napari_vdip.options import Options
    from napari_vdip.result import Result

    Opener = Callable[[Path], tuple[ImageFile, Options, str]]


@dataclass(frozen=True)
class Order:
    """What the command asks for.

    Attributes
    ----------
    inputs, stems : list
        Files, and the names that their results begin with.
    folder : Path
        For the results.
    opener : callable
        Reads an input: with its options, and what is to be told about its kernel.
    extra : dict
        What every report shall tell besides.
    resume, quiet : bool
    workers : int or None
        Processes to start on this machine.
    scheduler : str or None
        Address of a scheduler that runs already.
    save_model : Path or None
        For the fitted network, of a single input that is a single image.
    form : {"tiff", "ome-zarr"}
        Of the images that are written.
    """

    inputs: list[Path]
    stems: list[str]
    folder: Path
    opener: Opener
    extra: dict[str, Any] = field(default_factory=dict)
    resume: bool = False
    quiet: bool = False
    workers: int | None = None
    scheduler: str | None = None
    save_model: Path | None = None
    form: Form = "tiff"


@dataclass(frozen=True)
class _Item:
    """An input at work."""

    path: Path
    stem: str
    job: Job
    note: str
    grown: Growing | None

    def grow(self) -> None:
        """Write the slices that are finished, in a form that can grow.

        Raises
        ------
        StorageFailed
            If the disk is full, read-only or gone.
        """
        if self.grown is None:
            return
        try:
            self.grown.catch_up()
        except OSError as error:
            raise StorageFailed(
                f"a finished slice cannot be written: {error.strerror or error}; it is kept in "
                f"{self.job.folder}: make room, then run the same command with --resume"
            ) from error


def run(order: Order) -> int:
    """Do what is asked for; one input that fails does not stop the others.

    Returns
    -------
    int
        Exit status: that of the worst input.
    """
    batch = _Batch(order)
    remote = order.workers is not None or order.scheduler is not None
    with shell.Interrupt() as interrupt:
        (batch.on_workers if remote else batch.here)(interrupt)
        batch.summarise(interrupt.asked)
        return messages.INTERRUPTED if interrupt.asked else batch.status


class _Batch:
    """The inputs of one command, and what has become of them."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._several = len(order.inputs) > 1
        self._failed: dict[Path, str] = {}
        self._finished = self._skipped = 0
        self.status = 0

    def here(self, interrupt: shell.Interrupt) -> None:
        """One input after the other, in this process."""
        for path, stem in zip(self._order.inputs, self._order.stems, strict=True):
            if interrupt.asked:
                return
            item = self._prepared(path, stem, threads=None)
            if item is not None:
                self._one(item, interrupt)

    def on_workers(self, interrupt: shell.Interrupt) -> None:
        """All units of all inputs on the workers; an input is written when its last unit is done."""
        from napari_vdip.jobs.cluster import Cluster

        items: dict[Path, _Item] = {}
        count = len(self._order.inputs)
        label = f"{count} files" if count > 1 else self._order.inputs[0].name
        meter = shell.Meter(label, self._order.quiet)
        started = time.monotonic()
        with Cluster(self._order.workers, self._order.scheduler) as cluster:
            beats = cluster.run(self._tasks(items))
            ended = 0
            for beat in beats:
                if beat.lost:
                    messages.warn(f"{len(beat.lost)} worker(s) lost; what they were at is done again")
                if beat.job is not None:
                    ended += 1
                    self._ended(items, beat.job, beat.unit, beat.error)
                left = sum(len(item.job.missing) for item in items.values())
                seconds = (time.monotonic() - started) * left / ended if ended else float("nan")
                meter.tell(
                    "1 worker" if beat.workers == 1 else f"{beat.workers} workers",
                    ended,
                    ended + left,
                    seconds,
                )
                if interrupt.asked:
                    beats.close()
                    break
        meter.close()
        for item in items.values():
            item.job.look_again()
            self._stopped(item, {})

    def summarise(self, interrupted: bool) -> None:
        """Tell how many inputs went well, and which did not."""
        if not self._several or (self._order.quiet and not self._failed):
            return
        left = len(self._order.inputs) - self._finished - self._skipped - len(self._failed)
        told = [f"{self._finished} deblurred"]
        told += [f"{self._skipped} done before"] if self._skipped else []
        told += [f"{len(self._failed)} failed"] if self._failed else []
        told += [f"{left} not finished"] if interrupted else []
        print(f"{len(self._order.inputs)} files: {', '.join(told)}", file=sys.stderr)
        for path, text in self._failed.items():
            print(f"  failed: {path}: {text}", file=sys.stderr)

    def _tasks(self, items: dict[Path, _Item]) -> Iterator[tuple[Job, int] | None]:
        """Units of one input after the other, opened when it is its turn; None: none can be begun now."""
        waiting: list[tuple[_Item, int]] = []

        def next_one() -> tuple[Job, int] | None:
            """Take the first unit whose sources are done; those of inputs that failed are dropped."""
            waiting[:] = [(item, unit) for item, unit in waiting if item.job.folder in items]
            for place, (item, unit) in enumerate(waiting):
                if item.job.ready(unit):
                    del waiting[place]
                    return item.job, unit
            return None

        for path, stem in zip(self._order.inputs, self._order.stems, strict=True):
            # one thread: the results are those of any number of workers, and slices side by side are
            # quicker than threads side by side
            item = self._prepared(path, stem, threads=1)
            if item is None:
                continue
            items[item.job.folder] = item
            if not item.job.missing:
                self._written(items.pop(item.job.folder))
                continue
            waiting += [(item, unit) for unit in item.job.missing]
            while (task := next_one()) is not None:
                yield task
        while waiting:
            yield next_one()

    def _prepared(self, path: Path, stem: str, threads: int | None) -> _Item | None:
        """Open an input and its job; None if it is done already, or cannot be."""
        order = self._order
        try:
            image, options, note = order.opener(path)
            from napari_vdip.jobs import job as jobs  # torch: not before a file is found to be readable

            identity = identities.identity(path, options)
            folder = order.folder / f"{stem}_job"
            if order.resume and not (folder / MANIFEST).exists():
                if results.already_done(order.folder, stem, identity, order.form):
                    self._skipped += 1
                    self._say(f"{path}: done before")
                    return None
            job = jobs.prepare(
                folder, image, options, resume=order.resume, threads=threads, identity=identity
            )
            item = _Item(path, stem, job, note, results.growing(job, stem, order.form))
        except (VdipError, MemoryError, OSError) as error:
            self._fail(path, error)
            return None
        for text in job.notes:
            messages.warn(text, self._prefix(path))
        if job.done:
            self._say(f"{path}: goes on, {len(job.finished)} of {len(job.final)} slices are done")
        return item

    def _one(self, item: _Item, interrupt: shell.Interrupt) -> None:
        """Do what is missing of an input, and write it."""
        meter = shell.Meter(item.path.name, self._order.quiet)
        steps = sequence.run(item.job)
        reached: sequence.Step | None = None
        try:
            item.grow()
            for reached in steps:
                meter.show(reached.progress)
                item.grow()
                if interrupt.asked:
                    break
        except (VdipError, MemoryError, OSError) as error:
            item.job.close()
            self._fail(item.path, error)
            return
        finally:
            meter.close()
            steps.close()
        if item.job.missing:
            on_its_way = reached is not None and reached.unit not in item.job.done
            self._stopped(item, {reached.unit: reached.progress.result} if on_its_way and reached else {})
        else:
            self._written(item)
            self._save_model(item, reached)

    def _save_model(self, item: _Item, reached: sequence.Step | None) -> None:
        """Write the network of the fit that was made just now."""
        path = self._order.save_model
        if path is None:
            return
        try:
            if reached is None:
                raise InvalidInput(
                    f"{item.path} was deblurred before, and its network was not kept; for --save-model "
                    "run the command without --resume"
                )
            render.save(path, reached.progress.result, item.job.image, self._order.quiet)
        except (VdipError, MemoryError, OSError) as error:
            self._fail(item.path, error)

    def _ended(self, items: dict[Path, _Item], job: Job, number: int, error: BaseException | None) -> None:
        """Take note of a unit that a worker is done with."""
        item = items.get(job.folder)
        if item is None:  # it failed before
            return
        if error is not None:
            del items[job.folder]
            job.close()
            self._fail(item.path, error)
            return
        try:
            item.grow()
        except VdipError as failure:
            self._ended(items, job, number, failure)
            return
        if not job.missing:
            self._written(items.pop(job.folder))

    def _stopped(self, item: _Item, partial: Mapping[int, Result]) -> None:
        """Write what was reached of an input; its job stays, if a unit of it is done."""
        if item.job.done or partial:
            try:
                self._write(item, partial)
            except (VdipError, MemoryError, OSError) as error:
                self._fail(item.path, error)
            if item.job.done:
                self._say(f"{item.path}: go on by the same command with --resume")
        else:
            print("napari-vdip: interrupted before the first step; nothing is written", file=sys.stderr)
        item.job.close()

    def _written(self, item: _Item) -> None:
        """Write a finished input; its job has done its work then."""
        try:
            self._write(item, {})
        except InvalidInput as error:  # no slice of it can be deblurred: nothing is worth keeping
            item.job.remove()
            self._fail(item.path, error)
        except OSError as error:
            item.job.close()
            kept = StorageFailed(
                f"the results cannot be written: {error.strerror or error}; what they are made of is kept in "
                f"{item.job.folder}: make room, then run the same command with --resume"
            )
            self._fail(item.path, kept)
        except (VdipError, MemoryError) as error:
            item.job.close()
            self._fail(item.path, error)
        else:
            item.job.remove()
            self._finished += 1

    def _write(self, item: _Item, partial: Mapping[int, Result]) -> None:
        """Write the results of an input and tell of them."""
        extra = self._order.extra | ({"kernel_note": item.note} if item.note else {})
        paths, report = results.write(
            item.job, self._order.folder, item.stem, partial=partial, extra=extra, grown=item.grown
        )
        messages.tell_report(report, self._prefix(item.path))
        if not self._order.quiet:
            print(*paths, sep="\n", flush=True)

    def _fail(self, path: Path, error: BaseException) -> None:
        """Tell why an input failed."""
        status, text = messages.complain(error, path if self._several else None)
        self.status = max(self.status, status)
        self._failed[path] = text

    def _prefix(self, path: Path) -> str:
        return path.name if self._several else ""

    def _say(self, text: str) -> None:
        if not self._order.quiet:
            print(text, file=sys.stderr)


def expanded(inputs: list[Path], folder: Path) -> list[Path]:
    """Replace patterns by the files that they match, for shells that do not.

    Parameters
    ----------
    inputs : list of Path
        Files, and patterns with ``*``, ``?``, ``[...]`` and ``**``; a file of that very name comes first.
    folder : Path
        For the results: those of an earlier run are no inputs, even where a pattern matches them.

    Returns
    -------
    list of Path
        Each file once.

    Raises
    ------
    InvalidInput
        If a pattern matches no file.
    """
    found: dict[Path, Path] = {}
    matched: set[Path] = set()
    for path in inputs:
        if not glob.has_magic(str(path)) or path.exists() or split(path)[1]:
            found.setdefault(path.resolve(), path)
            continue
        names = [Path(name) for name in sorted(glob.glob(str(path), recursive=True))]
        names = [name for name in names if name.resolve() not in found]
        matched |= {name.resolve() for name in names}
        found |= {name.resolve(): name for name in names}
        if not names and not any(other.match(str(path)) for other in found.values()):
            raise InvalidInput(f"no file matches {path}; see that it is right, and quoted")
    written = {
        output.resolve()
        for path in found.values()
        for form in FORMS
        for output in results.outputs_of(folder, stem_of(path), form)
    }
    return [path for whole, path in found.items() if whole not in matched & written]
