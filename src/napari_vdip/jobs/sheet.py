"""A job whose slices come together in memory as they are done: what a viewer shows of it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_vdip.imagefile import ImageFile
from napari_vdip.jobs import identity as identities
from napari_vdip.jobs import results, sequence
from napari_vdip.jobs.units import MANIFEST, Advice, Units
from napari_vdip.layout import layout_of
from napari_vdip.result import History, Progress, Result

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari_vdip.jobs.job import Job
    from napari_vdip.options import Options

_ADVICE = Advice("press Resume", "choose another folder")


@dataclass(frozen=True)
class Keep:
    """Where the finished slices of an image without a file are kept.

    Attributes
    ----------
    folder : Path
        The job gets a folder of its own in it, see `job_folder`.
    resume : bool
        Whether to go on with what is there. If not, finished slices there are an error.
    threads : int or None
        What the user says; another number than on the first run is refused only then.
    """

    folder: Path
    resume: bool = False
    threads: int | None = None


def job_folder(folder: Path, name: str) -> Path:
    """Folder of the job of an image with this name."""
    return folder / f"{re.sub(r'[^A-Za-z0-9._-]+', '_', name).strip('._') or 'image'}_job"


def fit(data: Any, options: Options, name: str, keep: Keep) -> Generator[Progress, None, Result]:
    """Deblur an image or a stack as `napari_vdip.stack.fit` does, each slice on the disk when it is done.

    Parameters
    ----------
    data : array
    options : Options
        With the number of threads.
    name : str
        Of the image.
    keep : Keep

    Yields
    ------
    Progress
        Its result covers the whole image, slices of earlier runs included.

    Raises
    ------
    VdipError
        As `napari_vdip.stack.fit`, `jobs.job.prepare` and `Job.keep`.
    """
    from napari_vdip.jobs import job as jobs  # torch

    data = data if hasattr(data, "shape") and hasattr(data, "dtype") else np.asarray(data)
    own = replace(options, threads=keep.threads)
    letters = "QRPOLK"[: data.ndim - 2 - options.rgb] + ("YXS" if options.rgb else "YX")
    job = jobs.prepare(
        job_folder(keep.folder, name),
        ImageFile(Path(name), "tiff", data, letters, options.rgb),
        own,
        resume=keep.resume,
        threads=options.threads,
        identity=identities.identity_of_pixels(data, own),
        advice=_ADVICE,
    )
    try:
        return (yield from _shown(job))
    finally:
        job.close()


def _shown(job: Job) -> Generator[Progress, None, Result]:
    """Do what is missing; show all that is there."""
    if not job.by_slices:
        for step in sequence.run(job):
            yield step.progress
        (whole,) = (job.units.read(unit) for unit in job.done)
        assert whole is not None
        return replace(whole, report=_told(job, whole.report))
    sheet = _Sheet(job)
    sheet.catch_up()
    if job.done and job.missing:
        yield sheet.progress_before()
    for step in sequence.run(job):
        sheet.catch_up()
        yield replace(step.progress, result=sheet.with_part(step.unit, step.progress.result))
    sheet.catch_up()
    return sheet.result(sheet.reports)


class _Sheet:
    """The arrays of a stack, filled slice by slice."""

    def __init__(self, job: Job) -> None:
        shape, size = job.layout.shape, tuple(job.manifest["kernel_size"])
        self.reports: dict[int, dict[str, Any]] = {}
        self._job = job
        self._histories: dict[int, History] = {}
        self._image = np.full(shape, np.nan, dtype=np.float32)
        self._uncertainty = np.full(shape, np.nan, dtype=np.float32)
        self._kernel = np.full((*job.layout.leading_shape, *size), np.nan, dtype=np.float32)

    def catch_up(self) -> None:
        """Take in the units that are done."""
        for unit in sorted(self._job.done - self.reports.keys()):
            found = self._job.units.read(unit)
            if found is not None:
                self.reports[unit], self._histories[unit] = found.report, found.history
                self._place(unit, found)

    def with_part(self, unit: int, part: Result) -> Result:
        """Make the result with a unit that is on its way."""
        if unit not in self.reports:
            self._place(unit, part)
        return self.result({**self.reports, unit: part.report}, part.history)

    def result(self, reports: dict[int, dict[str, Any]], at_work: History | None = None) -> Result:
        """Make the result as of now; its arrays go on being filled."""
        begun, histories = 0.0, []
        for unit in sorted(self.reports):
            histories.append((begun, self._histories[unit]))
            begun += self.reports[unit]["seconds"]
        if at_work is not None:
            histories.append((begun, at_work))
        report = _told(self._job, results.report_of(self._job, reports))
        return Result(self._image, self._uncertainty, self._kernel, History.joined(histories), report)

    def progress_before(self) -> Progress:
        """Progress of the runs before this one."""
        from napari_vdip import stack

        job = self._job
        costs = [stack.cost_of(visit, job.options)[0] for visit in job.visits]
        done = sum(costs[unit] for unit in job.done)
        slices = len(job.final)
        result = self.result(self.reports)
        return Progress("kept slices", done, sum(costs), 0, slices, 0.0, float("nan"), result)

    def _place(self, unit: int, part: Result) -> None:
        """Put a slice into its place."""
        number = self._job.visits[unit].number
        index = self._job.layout.slices[number]
        self._image[index], self._uncertainty[index] = part.image, part.uncertainty
        self._kernel[np.unravel_index(number, self._job.layout.leading_shape)] = part.kernel


def _told(job: Job, report: dict[str, Any]) -> dict[str, Any]:
    """Report with the options as given, and where the slices are."""
    warnings = [*job.notes, *report["warnings"]]
    return report | {"options": job.options.as_dict(), "warnings": warnings, "kept_in": str(job.folder)}


def kept(folder: Path) -> tuple[int, int] | None:
    """Count the finished slices of a job, and all its slices; None where there is no job.

    Only a look, without torch: a unit that is damaged counts until it is taken up.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        options = manifest["options"]
        layout = layout_of(tuple(manifest["shape"]), options["rgb"], options["channel_axis"])
        visits = manifest.get("visits") or [[number] for number in range(len(layout.slices))]
    except (OSError, ValueError, KeyError, TypeError):  # an InvalidInput is a ValueError
        return None
    final = {visit[0]: unit for unit, visit in enumerate(visits)}
    present = set(Units(folder, "").present())
    return len(present & set(final.values())), len(final)
