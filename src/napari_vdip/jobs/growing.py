"""Results of a job as OME-Zarr that grow in its folder, slice by slice, until they take their place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_vdip import zarrout
from napari_vdip.writing import settle

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from napari_vdip.jobs.job import Job
    from napari_vdip.result import Result

_LEFT = "*.partial"  # what zarr leaves behind when it is killed while it writes


class Growing:
    """OME-Zarr folders of a job, one for each of its results.

    The finished units stay what counts: whatever was written here before is compared with them, and
    written again if it is not the same.

    Parameters
    ----------
    job : Job
    members : sequence of str
        Names of the results, as attributes of `Result`.
    names : sequence of str
        Names of the folders at the end; they grow under the same names.

    Raises
    ------
    InvalidInput
        If the axes of the input do not fit into OME-Zarr.
    """

    def __init__(self, job: Job, members: Sequence[str], names: Sequence[str]) -> None:
        self._job = job
        self._names = dict(zip(members, names, strict=True))
        self._images: dict[str, zarrout.ZarrImage] = {}
        self._taken: set[int] = set()
        zarrout.axis_names(job.image.axes)

    def catch_up(self) -> None:
        """Write the slices that are finished and not written yet; nothing of a single image.

        Raises
        ------
        OSError
            If the disk is full or read-only.
        StorageFailed
            If a unit cannot be read any more.
        """
        if self._job.by_slices:
            for number in sorted(self._job.done - self._taken):
                for member in self._names:
                    self._put(member, number, self._job.units.member(number, member))
                self._taken.add(number)

    def finish(self, folder: Path, partial: Mapping[int, Result]) -> list[Path]:
        """Write what is missing, and let all of it take its place in a folder.

        Parameters
        ----------
        folder : Path
        partial : mapping
            Results of units that were stopped on the way, by number.

        Returns
        -------
        list of Path
            In the order of the names.

        Raises
        ------
        OSError, StorageFailed
            As `catch_up`.
        """
        units = [*sorted(self._job.done), *partial]
        for number in units:
            for member in self._names:
                there = number not in partial
                data = self._job.units.member(number, member) if there else getattr(partial[number], member)
                self._put(member, number, data)
        for image in self._images.values():
            image.complete()
        paths = []
        for name in self._names.values():
            for left in (self._job.folder / name).rglob(_LEFT):
                left.unlink()
            settle(self._job.folder / name, folder / name)
            paths.append(folder / name)
        self._images.clear()
        self._taken.clear()
        return paths

    def _put(self, member: str, number: int, data: Any) -> None:
        """Write a unit's share of a result."""
        job = self._job
        index: tuple[int | slice, ...] = (slice(None),) * data.ndim
        if job.by_slices:
            index = job.layout.slices[job.visits[number].number]
            if member == "kernel":
                index = (*(part for part in index if isinstance(part, int)), slice(None), slice(None))
        self._image(member, data.shape).put(index, data)

    def _image(self, member: str, part: tuple[int, ...]) -> zarrout.ZarrImage:
        """Make the array of a result when its first part comes."""
        if member not in self._images:
            layout, like = self._job.layout, self._job.image
            shape, letters = layout.shape, like.axes
            if member == "kernel":
                leading = layout.leading_shape if self._job.by_slices else part[:-2]
                shape = (*leading, *part[-2:])
                letters = "".join(like.axes[axis] for axis in layout.leading[: len(leading)]) + "YX"
            name = self._names[member]
            title = name.partition(".")[0].replace("_", " ")
            self._images[member] = zarrout.ZarrImage(self._job.folder / name, shape, letters, like, title)
        return self._images[member]
