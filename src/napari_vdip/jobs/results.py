"""The files that a user gets: deblurred image, kernel, uncertainty, report; from a job, slice by slice."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_vdip import files
from napari_vdip.errors import InvalidInput
from napari_vdip.jobs import identity as identities

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import numpy.typing as npt

    from napari_vdip.imagefile import ImageFile
    from napari_vdip.jobs.job import Job
    from napari_vdip.result import Result

    Array = npt.NDArray[Any]

OUTPUTS = ("_deblurred.tif", "_kernel.tif", "_uncertainty.tif", "_report.json")
_MEMBERS = ("image", "kernel", "uncertainty")


def outputs_of(folder: Path, stem: str) -> list[Path]:
    """Files that are written for an input."""
    return [folder / f"{stem}{ending}" for ending in OUTPUTS]


def write_report(path: Path, image: ImageFile, report: Mapping[str, Any]) -> None:
    """Write a report with what the input's file says."""
    told = {"input": str(image.path), "axes": image.axes, "pixel_size": image.pixel_size}
    text = json.dumps(told | dict(report), indent=2, ensure_ascii=False)
    with files.atomic(path) as part:
        part.write_text(text + "\n", encoding="utf-8")


def already_done(folder: Path, stem: str, now: Mapping[str, Any]) -> bool:
    """Whether the results are there, whole, and follow from the same input and settings.

    Parameters
    ----------
    folder : Path
        Of the results.
    stem : str
        Of their names.
    now : mapping
        As `identities.identity` makes it.

    Raises
    ------
    InvalidInput
        If they are there but follow from other settings or another input.
    """
    paths = outputs_of(folder, stem)
    try:
        report = json.loads(paths[-1].read_text(encoding="utf-8"))
        job = report["job"]
        before = {
            "input": job["input"],
            "arrays": job["arrays"],
            "options": identities.plain(report["options"]),
        }
    except (OSError, ValueError, KeyError, TypeError):
        return False  # none, damaged, or of a run that kept no account of it
    remedy = "choose another --output, or leave --resume out to replace it"
    identities.refuse_differences(paths[-1], before, now, remedy)
    if report["partial"]:
        return False
    try:
        return all(identities.checksum(path) == job["files"][path.name] for path in paths[:-1])
    except (OSError, KeyError):
        return False


def write(
    job: Job,
    folder: Path,
    stem: str,
    *,
    partial: Mapping[int, Result] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> tuple[list[Path], dict[str, Any]]:
    """Write the results of a job; what is neither done nor among the partial ones is NaN.

    Parameters
    ----------
    job : Job
    folder : Path
        For the results.
    stem : str
        Of their names.
    partial : mapping, optional
        Results of units that were stopped on the way, by number.
    extra : mapping, optional
        What else the report shall tell; ``options`` in it go on top of those of the job.

    Returns
    -------
    paths : list of Path
    report : dict

    Raises
    ------
    InvalidInput
        If no slice of the stack can be deblurred.
    StorageFailed
        If a unit cannot be read any more.
    OSError
        If the disk is full or read-only.
    """
    partial, extra = dict(partial or {}), dict(extra or {})
    report = _report(job, partial)
    if job.by_slices and all(told["steps"] == 0 for told in report["slices"]):
        raise InvalidInput(f"no slice can be deblurred; the first one: {report['slices'][0]['stop_reason']}")
    paths = outputs_of(folder, stem)
    name = json.dumps([job.manifest[key] for key in ("input", "options", "arrays")], sort_keys=True)
    for path, member in zip(paths, _MEMBERS, strict=False):
        shape = _shape(job, partial, member)
        if member != "kernel" and job.by_slices and _in_order(job):
            planes = _planes(job, partial, member, shape[len(job.layout.leading) :])
            files.write_planes(path, planes, shape, job.image, name)
        else:
            files.write(path, _gathered(job, partial, member, shape), job.image, name)
    report |= {key: value for key, value in extra.items() if key != "options"}
    report["options"] = job.options.as_dict() | extra.get("options", {})
    checksums = {path.name: identities.checksum(path) for path in paths[:-1]}
    report["job"] = {key: job.manifest[key] for key in ("input", "arrays", "threads")} | {"files": checksums}
    write_report(paths[-1], job.image, report)
    return paths, report


def _report(job: Job, partial: Mapping[int, Result]) -> dict[str, Any]:
    """Report of the whole from those of its units."""
    reports = {number: job.units.report(number) for number in job.done}
    reports |= {number: result.report for number, result in partial.items()}
    if not job.by_slices:
        return reports[0]
    from napari_vdip import stack  # torch, which is not needed to see that all is done

    report = stack.joined_report(dict(sorted(reports.items())), job.total)
    return report | {"kernel_size_reason": job.manifest["kernel_size_reason"]}


def _shape(job: Job, partial: Mapping[int, Result], member: str) -> tuple[int, ...]:
    """Shape of a result in its file."""
    if member != "kernel":
        return job.layout.shape
    first = next(iter(partial), None)
    kernel = job.units.member(min(job.done), member) if first is None else partial[first].kernel
    return (*job.layout.leading_shape, *kernel.shape) if job.by_slices else kernel.shape


def _in_order(job: Job) -> bool:
    """Whether the slices stand one after the other in the file."""
    return job.layout.leading == tuple(range(len(job.layout.leading)))


def _planes(job: Job, partial: Mapping[int, Result], member: str, shape: tuple[int, ...]) -> Iterator[Array]:
    """Give the units' planes one after the other."""
    for number in range(job.total):
        if number in partial:
            yield getattr(partial[number], member)
        elif number in job.done:
            yield job.units.member(number, member)
        else:
            yield np.full(shape, np.nan, np.float32)


def _gathered(job: Job, partial: Mapping[int, Result], member: str, shape: tuple[int, ...]) -> Array:
    """Collect a result in memory: kernels, which are small, and slices that stand across the file."""
    if not job.by_slices:
        return next(_planes(job, partial, member, shape))
    kernel = member == "kernel"
    whole = np.full(shape, np.nan, np.float32)
    part = shape[len(job.layout.leading) :] if kernel else job.layout.spatial_shape
    for number, plane in enumerate(_planes(job, partial, member, part)):
        at = np.unravel_index(number, job.layout.leading_shape)
        whole[at if kernel else job.layout.slices[number]] = plane
    return whole
