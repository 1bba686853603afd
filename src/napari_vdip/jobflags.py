"""Flags of ``napari-vdip deblur`` about its work, not about the deblurring. No heavy imports."""

from __future__ import annotations

import argparse
from pathlib import Path

from napari_vdip.flags import choice, number
from napari_vdip.imagefile import FORMS


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Give the parser of the command what is asked for here."""
    parser.add_argument(
        "--format",
        type=choice(FORMS),
        default=FORMS[0],
        metavar=f"{{{','.join(FORMS)}}}",
        help="of the images that are written (default: tiff); ome-zarr: slice by slice (extra 'zarr')",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on where an earlier run of the same command was ended; what is finished is not done again",
    )
    parser.add_argument(
        "--settings",
        type=Path,
        metavar="FILE",
        help="take the options from a report (<stem>_report.json) or another JSON file; flags go on top",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--workers",
        type=_at_least_one,
        metavar="N",
        help="deblur N slices at once, in N processes of one thread each (extra 'cluster')",
    )
    where.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="deblur on the workers of this dask scheduler: tcp://host:8786, or its .json (extra 'cluster')",
    )


def _at_least_one(text: str) -> int:
    value = number(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed; expected at least 1")
    return value
