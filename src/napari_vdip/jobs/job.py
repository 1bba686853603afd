"""A job: an input, the settings of its first run, and the units that are done.

`prepare` begins one or goes on with it, `load` opens it elsewhere from its folder alone; `Job.fit` does a
unit. A unit is one visit of a slice, or the one image. Under ``kernel_mode="each"`` every slice is visited
once; under other modes some are visited first for their kernels, which the units of others start from.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

import napari_vdip
from napari_vdip import files, stack
from napari_vdip.errors import Diverged, InvalidInput, StorageFailed
from napari_vdip.jobs import identity as identities
from napari_vdip.jobs.units import MANIFEST, Advice, Units
from napari_vdip.layout import Layout, layout_of
from napari_vdip.modes import Visit
from napari_vdip.options import Options
from napari_vdip.placement import device_named, precision_of

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    import numpy.typing as npt

    from napari_vdip.imagefile import ImageFile
    from napari_vdip.result import Progress, Result

_FORMAT = 2


@dataclass(frozen=True, eq=False)
class Job:
    """An input on its way.

    Attributes
    ----------
    folder : Path
        Where the finished units are.
    image : ImageFile
        The input; read slice by slice where it can be.
    options : Options
        As given, with arrays.
    layout : Layout
        Which axes hold the slices.
    manifest : dict
        What was settled at the first run: identity, threads, kernel size, order of the visits.
    units : Units
    done : set of int
        Numbers of the units that are finished.
    notes : list of str
        What is different from the first run without being refused.
    """

    folder: Path
    image: ImageFile
    options: Options
    layout: Layout
    manifest: dict[str, Any]
    units: Units
    done: set[int] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    lock: Any = None

    @property
    def total(self) -> int:
        """Number of units."""
        return len(self.visits)

    @property
    def by_slices(self) -> bool:
        """Whether it is a stack, and a unit one of its slices."""
        return bool(self.layout.leading)

    @functools.cached_property
    def visits(self) -> list[Visit]:
        """Which slice each unit is, and where it has its kernel from."""
        if "visits" not in self.manifest:
            return [Visit(number) for number in range(len(self.layout.slices))]
        return [Visit(number, tuple(sources), follow) for number, sources, follow in self.manifest["visits"]]

    @functools.cached_property
    def final(self) -> dict[int, int]:
        """Unit of each slice whose result counts: its last visit."""
        return {visit.number: unit for unit, visit in enumerate(self.visits)}

    @property
    def finished(self) -> list[int]:
        """Slices whose result is there."""
        return sorted(number for number, unit in self.final.items() if unit in self.done)

    def ready(self, unit: int) -> bool:
        """Whether the units are done that this one has its kernel from."""
        return all(self._first[source] in self.done for source in self.visits[unit].sources)

    @property
    def missing(self) -> list[int]:
        """Units that are still to be done."""
        return [number for number in range(self.total) if number not in self.done]

    def fit(self, number: int) -> Generator[Progress, None, Result]:
        """Do a unit; yields as `napari_vdip.stack.fit` does.

        Raises
        ------
        VdipError
            As `napari_vdip.stack.fit`; a slice of a stack that cannot be deblurred is passed through
            with a warning instead.
        """
        options = dataclasses.replace(self.options, threads=self.manifest["threads"])
        if not self.by_slices:
            return (yield from stack.fit(self.image.data, options))
        visit = self.visits[number]
        index = self.layout.slices[visit.number]
        plane = np.asarray(self.image.data[index])
        masks = stack.masks_of(options.mask, self.layout, options.rgb)
        size = tuple(self.manifest["kernel_size"])
        mask = stack.mask_of(masks, self.layout, index)
        options = dataclasses.replace(options, kernel_size=size, channel_axis=None, mask=mask)
        try:
            return (
                yield from stack.fit(
                    plane, options, visit.number, kernels=self._kernels(visit), follow=visit.follow
                )
            )
        except (InvalidInput, Diverged) as error:
            return stack.untouched(plane, size, str(error))

    @functools.cached_property
    def _first(self) -> dict[int, int]:
        """Unit of each slice that others have their kernel from: its first visit."""
        return {visit.number: unit for unit, visit in reversed(list(enumerate(self.visits)))}

    def _kernels(self, visit: Visit) -> list[npt.NDArray[np.floating]]:
        """Kernels that a visit starts from; none if it finds its own."""
        if self.options.kernel_mode != "each" and stack.holds_kernel(self.options):
            return [stack.known_kernel(self.options.kernel)]
        found = [self._handed_on(source) for source in visit.sources]
        return [kernel for kernel in found if kernel is not None]

    def _handed_on(self, number: int) -> npt.NDArray[np.floating] | None:
        """Kernel of a slice; where it could not be deblurred, the one that it would have followed."""
        while True:
            unit = self._first[number]
            visit = self.visits[unit]
            if self.units.report(unit)["steps"] > 0:
                return self.units.member(unit, "kernel")
            if not visit.follow:
                return None
            (number,) = visit.sources

    def keep(self, number: int, result: Result) -> None:
        """Put a finished unit on the disk.

        Raises
        ------
        StorageFailed
            If the disk is full, read-only or gone.
        """
        self.units.write(number, result)
        self.done.add(number)

    def look_again(self) -> None:
        """Count what workers put on the disk without having been able to tell of it."""
        found = set(self.units.present()) - self.done
        self.done.update(number for number in found if self.units.read(number) is not None)

    def close(self) -> None:
        """Let others work on it; a job of which nothing is done leaves nothing behind."""
        if self.units.present():
            self.lock.release()
        else:
            self.remove()

    def remove(self) -> None:
        """Delete the folder: the results are elsewhere."""
        self.lock.release()
        shutil.rmtree(self.folder, ignore_errors=True)


def prepare(
    folder: Path,
    image: ImageFile,
    options: Options,
    *,
    resume: bool = False,
    threads: int | None = None,
    identity: dict[str, Any] | None = None,
    advice: Advice | None = None,
) -> Job:
    """Begin a job, or go on with the one that is in the folder.

    Parameters
    ----------
    folder : Path
        Folder of this job alone; made if it is absent.
    image : ImageFile
    options : Options
        With arrays, not with the names of their files.
    resume : bool
        Whether to go on with what is in the folder. If not, finished units there are an error.
    threads : int, optional
        Threads of a unit where neither the options nor the first run say; torch's own number if None. The
        last digits of a result follow from it.
    identity : dict, optional
        As `identities.identity` makes it of input and options, if that is known already.
    advice : Advice, optional
        What users are told to do; by default what they do in the shell.

    Raises
    ------
    InvalidInput
        If another run works on the job, it was begun with another input or other settings, or it is
        there and `resume` is off.
    StorageFailed
        If the folder cannot be written to.
    """
    now = identity or identities.identity(image.path, options)
    advice = advice or Advice()
    layout = layout_of(tuple(image.data.shape), options.rgb, options.channel_axis)
    lock = _locked(folder, advice)
    try:
        before = _manifest(folder)
        if before is not None and resume:
            remedy = f"use the same settings, {advice.elsewhere}, or delete that folder to begin anew"
            identities.refuse_differences(folder, before, now, remedy)
        elif before is not None and (kept := len(Units(folder, "").present())):
            raise InvalidInput(
                f"{folder} holds {kept} finished slice(s) of an earlier run; to go on with it "
                f"{advice.again}, or delete that folder to begin anew"
            )
        manifest = before if before is not None and resume else _begun(image, options, layout, threads, now)
        if manifest is not before:
            _write_manifest(folder, manifest, options, advice)
        job = Job(folder, image, options, layout, manifest, Units(folder, _key(manifest), advice), lock=lock)
        _take_up(job)
    except BaseException:
        lock.release()
        raise
    return job


def load(folder: Path) -> Job:
    """Open a job from its folder alone, to do units of it; whoever prepared it keeps the lock.

    Raises
    ------
    InvalidInput
        If folder or input cannot be seen from here, the input is another one, or this package is
        of another version.
    """
    manifest = _manifest(folder)
    if manifest is None:
        raise InvalidInput(
            f"{folder} holds no job, seen from this process; input and --output must be in folders that all "
            "workers see under the same path"
        )
    if manifest["versions"]["napari-vdip"] != napari_vdip.__version__:
        raise InvalidInput(
            f"this process has napari-vdip {napari_vdip.__version__}, the job was begun by "
            f"{manifest['versions']['napari-vdip']}; install the same version for all workers"
        )
    image = files.read(manifest["path"], lazy=True)
    arrays = {name: np.load(folder / f"{name}.npy", allow_pickle=False) for name in manifest["arrays"]}
    options = Options.from_keywords(**manifest["options"], **arrays)
    layout = layout_of(tuple(image.data.shape), options.rgb, options.channel_axis)
    if list(layout.shape) != manifest["shape"]:
        raise InvalidInput(
            f"{manifest['path']} has shape {layout.shape}, seen from this process, and {manifest['shape']} "
            "when the job was begun; the input must not change while it is worked on"
        )
    return Job(folder, image, options, layout, manifest, Units(folder, _key(manifest)))


def _begun(
    image: ImageFile, options: Options, layout: Layout, threads: int | None, now: dict[str, Any]
) -> dict[str, Any]:
    """Settle what all units share."""
    import torch

    manifest = now | {
        "format": _FORMAT,
        "path": f"{image.path.resolve()}{_extension(image)}",
        "shape": list(layout.shape),
        "threads": options.threads or threads or torch.get_num_threads(),
        "versions": _versions(options),
    }
    if layout.leading:
        masks = stack.masks_of(options.mask, layout, options.rgb)
        setting = stack.setting_of(image.data, layout, masks, options)
        manifest["kernel_size"] = list(setting.kernel_size)
        manifest["kernel_size_reason"] = setting.kernel_size_reason
        if options.kernel_mode != "each":
            visits = stack.visits_of(image.data, layout, masks, options)
            manifest["visits"] = [[visit.number, list(visit.sources), visit.follow] for visit in visits]
    return manifest


def _extension(image: ImageFile) -> str:
    """Tell the part of a FITS file as `files.read` takes it."""
    return f"[{image.metadata['extension']}]" if image.kind == "fits" else ""


def _versions(options: Options) -> dict[str, str]:
    """Tell what the last digits of a result follow from, besides the number of threads."""
    import torch

    device = device_named(options)
    return {
        "napari-vdip": napari_vdip.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        # Which of several equal cards it was does not count.
        "device": device if device.startswith("onnx:") else device.partition(":")[0],
        "precision": precision_of(options, device),
    }


def _take_up(job: Job) -> None:
    """Look through the units that are there; those that are damaged will be done again."""
    for number in job.units.present():
        if number < job.total and job.units.read(number) is not None:
            job.done.add(number)
        else:
            job.units.path(number).unlink()
            job.notes.append(f"slice {number} was damaged on the disk and is done again")
    for name, version in _versions(job.options).items():
        first = job.manifest["versions"].get(name)
        if job.done and first != version:
            job.notes.append(
                f"the first run had {name} {first}, this one has {version}: the slices from now on may "
                "differ from those done in their last digits"
            )


def _key(manifest: dict[str, Any]) -> str:
    """Name a job by what its units follow from."""
    return json.dumps({name: manifest[name] for name in ("input", "options", "arrays")}, sort_keys=True)


def _locked(folder: Path, advice: Advice) -> Any:
    """Make the folder and take it for this process.

    Raises
    ------
    InvalidInput
        If another process has it.
    StorageFailed
        If it cannot be made.
    """
    from filelock import FileLock, Timeout

    # of the process, not of one thread: in napari a run that waits may be given up by another one
    lock = FileLock(folder / "lock", thread_local=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise InvalidInput(f"another run is at work on {folder}; wait for it, or stop it") from None
    except OSError as error:
        raise StorageFailed(
            f"cannot write to {folder}: {error.strerror or error}; {advice.elsewhere}"
        ) from error
    with contextlib.suppress(OSError):  # left by a run that was killed
        for part in folder.glob(".*.part"):
            part.unlink()
    return lock


def _manifest(folder: Path) -> dict[str, Any] | None:
    """Read what the first run settled; None if there was none.

    Raises
    ------
    InvalidInput
        If it is damaged, or written by a version of another time.
    """
    path = folder / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as error:
        raise InvalidInput(f"{path} cannot be read: {error}; delete {folder} to begin anew") from error
    if not isinstance(manifest, dict) or manifest.get("format") != _FORMAT:
        raise InvalidInput(f"{path} is of another version of napari-vdip; delete {folder} to begin anew")
    return manifest


def _write_manifest(folder: Path, manifest: dict[str, Any], options: Options, advice: Advice) -> None:
    """Write what was settled, and the arrays among the options; the manifest last.

    Raises
    ------
    StorageFailed
        If the disk is full or read-only.
    """
    try:
        for name in manifest["arrays"]:
            with files.atomic(folder / f"{name}.npy") as part, part.open("wb") as file:
                np.save(file, np.asarray(getattr(options, name)), allow_pickle=False)
        with files.atomic(folder / MANIFEST) as part:
            part.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise StorageFailed(
            f"cannot write to {folder}: {error.strerror or error}; make room, or {advice.elsewhere}"
        ) from error
