"""Finished units on the disk: each written whole or not at all, each with its checksum.

A unit is an ordinary ``.npz`` of numpy: ``image``, ``uncertainty``, ``kernel``, the columns of the
history, and ``report`` (JSON, as bytes). Nothing of it is pickled.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import zipfile
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_vdip import files
from napari_vdip.errors import StorageFailed
from napari_vdip.result import History, Result

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    Array = npt.NDArray[Any]

MANIFEST = "job.json"  # what a job is, beside its units
_COLUMNS = tuple(item.name for item in dataclasses.fields(History))
_CHECKSUM = "sha256"
# all that numpy and zipfile raise on bytes that are not what was written
_DAMAGE = (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile, zlib.error, NotImplementedError)


@dataclass(frozen=True)
class Advice:
    """What users are told to do, by whoever runs a job.

    Attributes
    ----------
    again : str
        How an earlier run is gone on with.
    elsewhere : str
        How another folder is chosen.
    """

    again: str = "run the same command with --resume"
    elsewhere: str = "choose another --output"


class Units:
    """The units of one job.

    Parameters
    ----------
    folder : Path
        Folder that holds them; it must exist.
    key : str
        Of the job: a unit of another job is not taken for one of this.
    advice : Advice
    """

    def __init__(self, folder: Path, key: str, advice: Advice | None = None) -> None:
        self._folder = folder
        self._key = key
        self._advice = advice or Advice()

    def path(self, number: int) -> Path:
        """File of a unit."""
        return self._folder / f"unit_{number:06}.npz"

    def present(self) -> list[int]:
        """Numbers of the units that have a file, whole or damaged."""
        return sorted(int(path.stem.removeprefix("unit_")) for path in self._folder.glob("unit_*.npz"))

    def write(self, number: int, result: Result) -> None:
        """Put a finished unit on the disk; it is there for good when this returns.

        Raises
        ------
        StorageFailed
            If the disk is full, read-only or gone.
        """
        members: dict[str, Array] = {
            "image": result.image,
            "uncertainty": result.uncertainty,
            "kernel": result.kernel,
            "report": _bytes(json.dumps(result.report)),
            **{name: getattr(result.history, name) for name in _COLUMNS},
        }
        if result.kernel_grid is not None:
            members["kernel_grid"] = result.kernel_grid
        members[_CHECKSUM] = _bytes(self._digest(members))
        try:
            with files.atomic(self.path(number)) as part, part.open("wb") as file:
                np.savez(file, allow_pickle=False, **members)
        except OSError as error:
            raise StorageFailed(
                f"slice {number} could not be kept in {self._folder}: {error.strerror or error}; what was "
                f"finished before stays: make room, then {self._advice.again}"
            ) from error

    def read(self, number: int) -> Result | None:
        """Read a unit; None if it is absent or not, to the bit, what was written."""
        try:
            with self.path(number).open("rb") as file, np.load(file, allow_pickle=False) as archive:
                members = {name: archive[name] for name in archive.files}
            whole = members.pop(_CHECKSUM).tobytes().decode() == self._digest(members)
            history = History(**{name: members[name] for name in _COLUMNS})
            report = json.loads(members["report"].tobytes())
        except _DAMAGE:
            return None
        if not whole:
            return None
        arrays = (members["image"], members["uncertainty"], members["kernel"])
        return Result(*arrays, history, report, kernel_grid=members.get("kernel_grid"))

    def member(self, number: int, name: str) -> Array:
        """Read one array of a unit, held to the checksum that the archive itself keeps of each.

        Raises
        ------
        StorageFailed
            If it is absent or damaged: it was whole when the job was taken up.
        """
        try:
            with self.path(number).open("rb") as file, np.load(file, allow_pickle=False) as archive:
                return np.asarray(archive[name])
        except _DAMAGE as error:
            raise StorageFailed(
                f"{self.path(number)} cannot be read any more: {error}; {self._advice.again}: that slice is "
                "done again then"
            ) from error

    def kernel_grid(self, number: int) -> Array | None:
        """Read the kernels of a frame's parts; None where there is one kernel.

        Raises
        ------
        StorageFailed
            As `member`.
        """
        try:
            with np.load(self.path(number), allow_pickle=False) as archive:
                if "kernel_grid" not in archive.files:
                    return None
        except _DAMAGE:
            pass
        return self.member(number, "kernel_grid")

    def report(self, number: int) -> dict[str, Any]:
        """Read the report of a unit."""
        told: dict[str, Any] = json.loads(self.member(number, "report").tobytes())
        return told

    def _digest(self, members: dict[str, Array]) -> str:
        """Checksum over names, types, shapes and values, and the job that they belong to."""
        digest = hashlib.sha256(self._key.encode())
        for name in sorted(members):
            array = np.ascontiguousarray(members[name])
            digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
            digest.update(array.data)
        return digest.hexdigest()


def _bytes(text: str) -> Array:
    return np.frombuffer(text.encode(), dtype=np.uint8)
