"""What the command tells on standard error: errors and warnings, each one line. No heavy imports."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from napari_vdip.errors import OutOfMemory, VdipError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

INTERRUPTED = 130


def warn(text: str, prefix: str = "") -> None:
    """Print a warning as one line."""
    print(f"warning: {prefix}{': ' if prefix else ''}{text}", file=sys.stderr)


def tell_report(report: Mapping[str, Any], prefix: str = "") -> None:
    """Tell the warnings of a report, the note on its kernel, and whether the fit was stopped."""
    note = report.get("kernel_note")
    for text in [*([note] if note else []), *report["warnings"]]:
        warn(text, prefix)
    if report["stop_reason"] != "finished":
        print(f"napari-vdip: {report['stop_reason']}; what was reached is written", file=sys.stderr)


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
