"""What the command tells on standard error: errors and warnings, each one line. No heavy imports."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

from napari_vdip.errors import OutOfMemory, VdipError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Any

INTERRUPTED = 130
_OF_SLICE = re.compile(r"slice (?P<number>\d+): (?P<words>.*)", re.DOTALL)
_NUMBER = re.compile(r"\d+(\.\d+)?")
_RUNS = 8  # of slices that are written out


def warn(text: str, prefix: str = "") -> None:
    """Print a warning as one line."""
    print(f"warning: {prefix}{': ' if prefix else ''}{text}", file=sys.stderr)


def tell_report(report: Mapping[str, Any], prefix: str = "") -> None:
    """Tell the warnings of a report, the note on its kernel, and whether the fit was stopped."""
    note = report.get("kernel_note")
    for text in [*([note] if note else []), *summarised(report["warnings"], len(report.get("slices", ())))]:
        warn(text, prefix)
    if report["stop_reason"] != "finished":
        print(f"napari-vdip: {report['stop_reason']}; what was reached is written", file=sys.stderr)


def summarised(warnings: Sequence[str], slices: int) -> list[str]:
    """Put the warnings of a stack together that differ in the slice and in numbers alone.

    Parameters
    ----------
    warnings : sequence of str
        Those that begin with ``slice 3:`` are about a slice.
    slices : int
        How many slices were begun.

    Returns
    -------
    list of str
        What many slices have is told once, in the words of the first one, with the numbers of the slices.
    """
    told: dict[str, tuple[str, list[int]]] = {}
    for text in warnings:
        found = _OF_SLICE.fullmatch(text)
        if found is None:
            told[text] = (text, [])
            continue
        words = found["words"]
        told.setdefault(_NUMBER.sub("#", words), (words, []))[1].append(int(found["number"]))
    lines = []
    for words, numbers in told.values():
        if len(numbers) > 1:
            words = f"{len(numbers)} of {slices} slices ({ranges(numbers)}), the first one: {words}"
        elif numbers:
            words = f"slice {numbers[0]}: {words}"
        lines.append(words)
    return lines


def ranges(numbers: Sequence[int]) -> str:
    """Write numbers with runs of them as ranges: ``0-4, 7``; of many ranges only the first ones."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    parts = [str(low) if low == high else f"{low}-{high}" for low, high in runs]
    return ", ".join(parts[:_RUNS]) + (", ..." if len(parts) > _RUNS else "")


def complain(error: BaseException, path: Path | None = None) -> tuple[int, str]:
    """Print an error as one line; its exit status, and its text without the name of the file."""
    if isinstance(error, OSError) and not isinstance(error, VdipError):
        text = error.strerror or str(error)
        if error.filename is not None:
            text = f"{error.filename}: {text}"
        text = f"cannot read or write: {text}"
    elif isinstance(error, MemoryError):
        text = "out of memory; crop the image or use preset fast"
    else:
        text = str(error)
    text = " ".join(text.split())
    prefix = "" if path is None or str(path) in text else f"{path}: "
    print(f"napari-vdip: error: {prefix}{text}", file=sys.stderr)
    if isinstance(error, VdipError):
        return error.exit_status, text
    status = OutOfMemory.exit_status if isinstance(error, MemoryError) else VdipError.exit_status
    return status, text
