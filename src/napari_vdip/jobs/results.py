"""The files that a user gets: deblurred image, kernel, uncertainty, report; from a job, slice by slice."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_vdip import files
from napari_vdip.errors import InvalidInput
from napari_vdip.fitsfile import write_fits
from napari_vdip.jobs import identity as identities
from napari_vdip.jobs.growing import Growing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import numpy.typing as npt

    from napari_vdip.imagefile import Form, ImageFile
    from napari_vdip.jobs.job import Job
    from napari_vdip.result import Result

    Array = npt.NDArray[Any]

_OUTPUTS = ("_deblurred", "_kernel", "_uncertainty")
_ENDINGS = {"tiff": ".tif", "ome-zarr": ".ome.zarr"}
_MEMBERS = ("image", "kernel", "uncertainty")


def outputs_of(folder: Path, stem: str, form: Form = "tiff") -> list[Path]:
    """Files that are written for an input; the last one, which holds all, for a FITS frame only."""
    images = [folder / f"{stem}{name}{_ENDINGS[form]}" for name in _OUTPUTS]
    return [*images, folder / f"{stem}_report.json", folder / f"{stem}_deblurred.fits"]


def growing(job: Job, stem: str, form: Form) -> Growing | None:
    """Results that are written as they come, in a form that can be; None for TIFF.

    Raises
    ------
    InvalidInput
        If the axes of the input do not fit into OME-Zarr.
    """
    if form == "tiff":
        return None
    return Growing(job, _MEMBERS, [path.name for path in outputs_of(job.folder, stem, form)[:3]])


def write_report(path: Path, image: ImageFile, report: Mapping[str, Any]) -> None:
    """Write a report with what the input's file says."""
    told = {"input": str(image.path), "axes": image.axes, "pixel_size": image.pixel_size}
    text = json.dumps(told | dict(report), indent=2, ensure_ascii=False)
    with files.atomic(path) as part:
        part.write_text(text + "\n", encoding="utf-8")


def already_done(folder: Path, stem: str, now: Mapping[str, Any], form: Form = "tiff") -> bool:
    """Whether the results are there, whole, and follow from the same input and settings.

    Parameters
    ----------
    folder : Path
        Of the results.
    stem : str
        Of their names.
    now : mapping
        As `identities.identity` makes it.
    form : {"tiff", "ome-zarr"}
        Of the images.

    Raises
    ------
    InvalidInput
        If they are there but follow from other settings or another input.
    """
    *paths, told, _ = outputs_of(folder, stem, form)
    try:
        report = json.loads(told.read_text(encoding="utf-8"))
        job = report["job"]
        before = {
            "input": job["input"],
            "arrays": job["arrays"],
            "options": identities.plain(report["options"]),
        }
    except (OSError, ValueError, KeyError, TypeError):
        return False  # none, damaged, or of a run that kept no account of it
    remedy = "choose another --output, or leave --resume out to replace it"
    identities.refuse_differences(told, before, now, remedy)
    if report["partial"]:
        return False
    try:
        return all(identities.checksum(path) == job["files"][path.name] for path in paths)
    except (OSError, KeyError):
        return False


def write(
    job: Job,
    folder: Path,
    stem: str,
    *,
    partial: Mapping[int, Result] | None = None,
    extra: Mapping[str, Any] | None = None,
    grown: Growing | None = None,
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
        Results of units that were stopped on the way, by unit.
    extra : mapping, optional
        What else the report shall tell; ``options`` in it go on top of those of the job.
    grown : Growing, optional
        As `growing` made it; images are written as TIFF without.

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
    *paths, told, whole = outputs_of(folder, stem)
    if grown is None:
        _write_tiffs(job, paths, partial)
    else:
        paths = grown.finish(folder, partial)
    paths += _write_kernel_grid(job, folder, stem, partial)
    report |= {key: value for key, value in extra.items() if key != "options"}
    report["options"] = job.options.as_dict() | extra.get("options", {})
    checksums = {path.name: identities.checksum(path) for path in paths}
    report["job"] = {key: job.manifest[key] for key in ("input", "arrays", "threads")} | {"files": checksums}
    write_report(told, job.image, report)
    paths.append(told)
    if job.image.kind == "fits":
        shapes = {member: _shape(job, partial, member) for member in _MEMBERS}
        data = {member: _gathered(job, partial, member, shape) for member, shape in shapes.items()}
        with files.atomic(whole) as part:
            write_fits(part, job.image, data["image"], data["uncertainty"], data["kernel"], report)
        paths.append(whole)
    return paths, report


def _write_tiffs(job: Job, paths: list[Path], partial: Mapping[int, Result]) -> None:
    """Write deblurred image, kernel and uncertainty."""
    name = json.dumps([job.manifest[key] for key in ("input", "options", "arrays")], sort_keys=True)
    for path, member in zip(paths, _MEMBERS, strict=False):
        shape = _shape(job, partial, member)
        if member != "kernel" and job.by_slices and _in_order(job):
            planes = _planes(job, partial, member, shape[len(job.layout.leading) :])
            files.write_planes(path, planes, shape, job.image, name)
        else:
            files.write(path, _gathered(job, partial, member, shape), job.image, name)


def _write_kernel_grid(job: Job, folder: Path, stem: str, partial: Mapping[int, Result]) -> list[Path]:
    """Write the kernels of a frame's parts, (rows, columns, Kh, Kw), where there are such."""
    if job.by_slices:
        return []
    kernels = partial[0].kernel_grid if 0 in partial else job.units.kernel_grid(0)
    if kernels is None:
        return []
    path = folder / f"{stem}_kernel_grid.tif"
    files.write(path, kernels)
    return [path]


def _report(job: Job, partial: Mapping[int, Result]) -> dict[str, Any]:
    """Report of the whole from those of its units."""
    units = {unit: job.units.report(unit) for unit in sorted(job.done)}
    return report_of(job, units | {unit: result.report for unit, result in partial.items()})


def report_of(job: Job, units: Mapping[int, dict[str, Any]]) -> dict[str, Any]:
    """Make the report of the whole from those of its units, of which later ones count more."""
    if not job.by_slices:
        return units[0]
    from napari_vdip import stack  # torch, which is not needed to see that all is done

    reports = {job.visits[unit].number: report for unit, report in units.items()}
    report = stack.joined_report(dict(sorted(reports.items())), len(job.final))
    done = len(job.finished)
    return report | {
        "steps": sum(told["steps"] for told in units.values()),
        "seconds": round(sum(told["seconds"] for told in units.values()), 3),
        "partial": done < len(job.final),
        "stop_reason": "finished"
        if done == len(job.final)
        else f"stopped with {done} of {len(job.final)} slices done",
        "kernel_size_reason": job.manifest["kernel_size_reason"],
        "kernel_from": sorted({visit.number for visit in job.visits if not visit.sources}),
    }


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
    """Give the slices' planes one after the other, each by its latest visit."""
    latest = {job.visits[unit].number: unit for unit in [*sorted(job.done), *partial]}
    for number in range(len(job.final)):
        unit = latest.get(number)
        if unit is None:
            yield np.full(shape, np.nan, np.float32)
        elif unit in partial:
            yield getattr(partial[unit], member)
        else:
            yield job.units.member(unit, member)


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
