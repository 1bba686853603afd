"""The two plots of a benchmark: quality against time, and each image's gain. The only user of matplotlib."""

from __future__ import annotations

import importlib.util
import statistics
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_vdip.benchmark.campaign import REFERENCES, RESULTS
from napari_vdip.benchmark.figures import FAILURE
from napari_vdip.benchmark.summary import groups, latest
from napari_vdip.benchmark.table import Reference, Row, Table
from napari_vdip.errors import VdipError
from napari_vdip.files import atomic

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

QUALITY, GAIN = "quality_time.png", "gain.png"
# Okabe and Ito: told apart by people who see few colours. Each group has a marker of its own, too.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999933")
_MARKERS = "osD^vPX*"


def check() -> None:
    """Raise VdipError if matplotlib is absent: before the runs, not after hours of them."""
    if importlib.util.find_spec("matplotlib") is None:
        raise VdipError('the plots need matplotlib; install it with: pip install "napari-vdip[benchmark]"')


def write(output: Path) -> list[Path]:
    """Draw the plots of a folder with ``results.csv``.

    Returns
    -------
    list of Path
        The files; empty if there is no result yet.

    Raises
    ------
    VdipError
        If matplotlib is absent.
    """
    check()
    rows = [row for row in latest(Table(output / RESULTS, Row).records) if row.error is None]
    if not rows:
        return []
    references = Table(output / REFERENCES, Reference).records
    drawn = {QUALITY: quality_against_time(rows, references), GAIN: gain_of_each_image(rows)}
    for name, figure in drawn.items():
        with atomic(output / name) as part:
            figure.savefig(part, format="png", dpi=130)
    return [output / name for name in drawn]


def quality_against_time(rows: Sequence[Row], references: Sequence[Reference]) -> Any:
    """Draw PSNR and SSIM against the seconds of a run: each run small, the mean of each group large.

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogFormatter, ScalarFormatter

    figure = Figure(figsize=(11, 4.8), layout="constrained")
    cases = {row.case for row in rows}
    known = [one for one in references if one.case in cases]
    for axes, name, title in zip(
        figure.subplots(1, 2), ("psnr", "ssim"), ("PSNR in dB", "SSIM"), strict=True
    ):
        for number, (label, group) in enumerate(groups(rows).items()):
            _cloud(axes, group, name, label, number)
        blurred = statistics.mean(getattr(row, f"{name}_blurred") for row in rows)
        _level(axes, blurred, "blurred", ":")
        if len(known) == len(cases):
            _level(axes, statistics.mean(getattr(one, name) for one in known), "known kernel", "--")
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter(LogFormatter(labelOnlyBase=False, minor_thresholds=(1.5, 0.5)))
        axes.set_xlabel("time of a run in s")
        axes.set_ylabel(title)
        axes.grid(alpha=0.25, which="both")
    figure.axes[0].legend(loc="best", framealpha=0.9)
    images = f"{len(cases)} image{'s' if len(cases) > 1 else ''}"
    figure.suptitle(f"Quality against time, {images}: each run, mean and standard deviation")
    return figure


def gain_of_each_image(rows: Sequence[Row]) -> Any:
    """Draw the gain in PSNR of each image: a mark for each seed, a line over their range.

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib.figure import Figure

    cases = sorted({row.case for row in rows})
    named = groups(rows)
    width = max(7.0, 1.5 + len(cases) * (0.25 + 0.14 * len(named)))
    figure = Figure(figsize=(width, 4.8), layout="constrained")
    axes = figure.subplots()
    for number, (label, group) in enumerate(named.items()):
        offset = (number - (len(named) - 1) / 2) * 0.8 / len(named)
        colour, marker = _COLOURS[number % 8], _MARKERS[number % 8]
        at = np.array([cases.index(row.case) + offset for row in group])
        gained = np.array([row.gain for row in group], dtype=float)
        axes.plot(
            at, gained, color=colour, marker=marker, linestyle="", markersize=5, alpha=0.85, label=label
        )
        for place, case in enumerate(cases):
            gains = [row.gain for row in group if row.case == case and row.gain is not None]
            if gains:
                axes.vlines(place + offset, min(gains), max(gains), color=colour, linewidth=1.5)
    for place in range(0, len(cases), 2):
        axes.axvspan(place - 0.5, place + 0.5, color="0.95", zorder=0)
    axes.axhline(FAILURE, color="0.2", linestyle="--", linewidth=1)
    axes.annotate(
        f"under {FAILURE:g} dB: a failure",
        (1, FAILURE),
        (-4, 3),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="right",
        fontsize="small",
        color="0.2",
    )
    axes.set_xlim(-0.5, len(cases) - 0.5)
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    axes.set_xticks(
        range(len(cases)),
        cases,
        rotation=40 if len(cases) > 4 else 0,
        ha="right" if len(cases) > 4 else "center",
    )
    axes.set_ylabel("gain in PSNR in dB")
    axes.set_title("Gain of each image over its blurred one")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def _cloud(axes: Axes, rows: Sequence[Row], name: str, label: str, number: int) -> None:
    """Draw the runs of a group small, their mean large with the standard deviations."""
    seconds = np.array([row.seconds for row in rows], dtype=float)
    values = np.array([getattr(row, name) for row in rows], dtype=float)
    colour, marker = _COLOURS[number % 8], _MARKERS[number % 8]
    axes.plot(seconds, values, color=colour, marker=marker, linestyle="", markersize=4, alpha=0.3)
    middle = float(np.median(seconds))
    axes.errorbar(
        middle,
        values.mean(),
        xerr=[[middle - np.quantile(seconds, 0.16)], [np.quantile(seconds, 0.84) - middle]],
        yerr=values.std(),
        color=colour,
        marker=marker,
        markersize=10,
        markeredgecolor="white",
        capsize=3,
        label=label,
        zorder=5,
    )


def _level(axes: Axes, value: float, label: str, style: str) -> None:
    """Draw a level that does not depend on time."""
    axes.axhline(value, color="0.35", linestyle=style, linewidth=1)
    axes.annotate(
        label,
        (0, value),
        (4, 3),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        fontsize="small",
        color="0.35",
    )
