"""Rows on disk: a CSV file to which one row after the other is appended, and which survives a break."""

from __future__ import annotations

import csv
import dataclasses
import io
import os
import typing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from napari_vdip.errors import InvalidInput

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Reference:
    """The known kernel's result on a case: the other end of the error ratio.

    Attributes
    ----------
    case : str
    psnr, ssim : float
        After the best shift; dB, and at most 1.
    version : str
        Of this package.
    """

    case: str
    psnr: float
    ssim: float
    version: str


@dataclass(frozen=True)
class Row:
    """One run. The columns of ``results.csv``; `None` (an empty cell) where there is no such figure.

    Attributes
    ----------
    case, preset, method, seed, iterations, kernel_size, noise, device, version, constants
        Which run this is; a run with the same ones is not done again. `iterations` is empty where the
        preset's hold, `kernel_size` is "auto" where it was estimated, `constants` stands for those
        of the preset.
    kernel_px : str
        Size that the kernel had, "17x17".
    steps : int
        Done, the pre-fit included.
    psnr_blurred, ... ence
        See `napari_vdip.benchmark.figures.Quality`.
    error_ratio : float
        Squared error over that of the known kernel's result.
    seconds : float
        Of the whole run, without the start of Python.
    seconds_per_step : float
        Of the fit.
    paper_seconds : float
        Time of the schedule of preset ``paper`` on this image: some of its steps, timed in the same
        run, times their number.
    share : float
        ``seconds / paper_seconds``.
    peak_mb : float
        Peak memory in 10^6 bytes: resident set of the fit's process, or what was allocated on a GPU.
    threads : int
        Processor threads of the fit.
    machine : str
        Name of the device.
    date : str
        When the run ended, ISO 8601.
    error : str
        What went wrong, if the run has no result.
    """

    case: str
    preset: str
    method: str
    seed: int
    iterations: int | None
    kernel_size: str
    noise: str
    device: str
    version: str
    constants: str
    kernel_px: str | None = None
    steps: int | None = None
    psnr_blurred: float | None = None
    ssim_blurred: float | None = None
    psnr: float | None = None
    ssim: float | None = None
    gain: float | None = None
    error_ratio: float | None = None
    kernel_similarity: float | None = None
    coverage_50: float | None = None
    coverage_68: float | None = None
    coverage_90: float | None = None
    coverage_95: float | None = None
    ause: float | None = None
    ause_gradient: float | None = None
    rank_correlation: float | None = None
    ence: float | None = None
    seconds: float | None = None
    seconds_per_step: float | None = None
    paper_seconds: float | None = None
    share: float | None = None
    peak_mb: float | None = None
    threads: int | None = None
    machine: str | None = None
    date: str | None = None
    error: str | None = None

    @property
    def key(self) -> tuple[Any, ...]:
        """Which run this is."""
        return tuple(getattr(self, name) for name in KEY)


KEY = tuple(item.name for item in dataclasses.fields(Row))[:10]
Record = TypeVar("Record")


class Table(Generic[Record]):
    """A CSV file of records of one kind.

    Parameters
    ----------
    path : Path
        File to read and to go on with; made at the first row.
    kind : type
        A dataclass, for example `Row`, with fields that are numbers, texts or None.

    Attributes
    ----------
    records : list
        What the file holds.

    Raises
    ------
    InvalidInput
        If the file has other columns.
    """

    def __init__(self, path: Path, kind: type[Record]) -> None:
        self._path = path
        self._kind: type[Any] = kind
        self._names = list(typing.get_type_hints(kind))
        self.records: list[Record] = []
        if not path.exists():
            return
        whole = path.read_bytes()
        kept = whole[: whole.rfind(b"\n") + 1]  # what a break has torn has no end of line
        lines = list(csv.reader(io.StringIO(kept.decode("utf-8"), newline="")))
        if lines and lines[0] != self._names:
            raise InvalidInput(
                f"{path} has other columns than this version writes; choose another --output, or move it away"
            )
        self.records = [self._record(cells) for cells in lines[1:]]
        if kept != whole:
            os.truncate(path, len(kept))

    def append(self, record: Record) -> None:
        """Write a record; it is on the disk when this returns."""
        head = not self._path.exists() or self._path.stat().st_size == 0
        with self._path.open("a", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            if head:
                writer.writerow(self._names)
            writer.writerow([_cell(getattr(record, name)) for name in self._names])
            file.flush()
            os.fsync(file.fileno())
        self.records.append(record)

    def _record(self, cells: list[str]) -> Record:
        kinds = typing.get_type_hints(self._kind)
        try:
            values = {n: _value(cell, kinds[n]) for n, cell in zip(self._names, cells, strict=True)}
        except ValueError as error:
            raise InvalidInput(f"{self._path} has a damaged line, {','.join(cells)!r}: delete it") from error
        record: Record = self._kind(**values)
        return record


def _cell(value: Any) -> Any:
    """Write a number as short as its use allows."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else value


def _value(cell: str, kind: Any) -> Any:
    """Turn a cell back into what it was."""
    parts = typing.get_args(kind)
    if cell == "" and parts:
        return None
    return next((part for part in parts if part is not type(None)), kind)(cell)
