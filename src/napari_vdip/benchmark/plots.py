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
# Okabe and Ito: told apart by people who see few colours. Each preset has a marker of its own, too.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999933")
_MARKERS = "osD^vPX*"
_FACES = ("", "white", "0.7")  # a preset's own runs have its colour, its baselines these


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

    figure = Figure(figsize=(11, 5.2), layout="constrained")
    named, cases = groups(rows), {row.case for row in rows}
    styles = _styles(named)
    known = [one for one in references if one.case in cases]
    panels = (("psnr", "PSNR in dB"), ("ssim", "SSIM"))
    for axes, (name, title) in zip(figure.subplots(1, 2), panels, strict=True):
        for label, group in named.items():
            _cloud(axes, group, name, label, styles[label])
        if len(known) == len(cases):
            _level(axes, statistics.mean(getattr(one, name) for one in known), "known kernel", "--")
        _blurred(axes, statistics.mean(getattr(row, f"{name}_blurred") for row in rows))
        _time(axes, [row.seconds for row in rows if row.seconds])
        axes.set_ylabel(title)
        axes.grid(alpha=0.25)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 4), frameon=False)
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
    styles, number = _styles(named), len(named)
    width = min(15.0, max(6.0, 1.0 + len(cases) * (0.25 + 0.14 * number)))
    figure = Figure(figsize=(width, 5.5), layout="constrained")
    axes = figure.subplots()
    for place in range(0, len(cases), 2):
        axes.axvspan(place - 0.5, place + 0.5, color="0.95", zorder=0)
    axes.axhline(FAILURE, color="0.2", linestyle="--", linewidth=1)
    _note(axes, f"under {FAILURE:g} dB: a failure", (1, FAILURE), right=True)
    for index, (label, group) in enumerate(named.items()):
        offset = (index - (number - 1) / 2) * 0.8 / number
        at = np.array([cases.index(row.case) + offset for row in group])
        gained = np.array([row.gain for row in group], dtype=float)
        for place in np.unique(at):
            here = gained[at == place]
            axes.vlines(place, here.min(), here.max(), color=styles[label]["color"], linewidth=1)
        axes.plot(at, gained, **styles[label], linestyle="", markersize=5, label=label)
    axes.set_xlim(-0.5, len(cases) - 0.5)
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    slanted = len(cases) > 4
    axes.set_xticks(
        range(len(cases)), cases, rotation=40 if slanted else 0, ha="right" if slanted else "center"
    )
    axes.set_ylabel("gain in PSNR in dB")
    axes.set_title("Gain of each image over its blurred one")
    figure.legend(loc="outside lower center", ncols=min(number, 4 if width > 8 else 2), frameon=False)
    return figure


def _styles(named: dict[str, list[Row]]) -> dict[str, dict[str, Any]]:
    """Choose a colour and a marker for each preset, and another filling for each group that it has."""
    counts: dict[str, int] = {}
    found = {}
    for label, rows in named.items():
        count = counts.get(rows[0].preset, 0)
        counts[rows[0].preset] = count + 1
        number = list(counts).index(rows[0].preset) % len(_COLOURS)
        colour, face = _COLOURS[number], _FACES[min(count, len(_FACES) - 1)]
        found[label] = {"color": colour, "marker": _MARKERS[number], "markerfacecolor": face or colour}
    return found


def _cloud(axes: Axes, rows: Sequence[Row], name: str, label: str, style: dict[str, Any]) -> None:
    """Draw the runs of a group small, their mean at the median time large, with their spreads."""
    seconds = np.array([row.seconds for row in rows], dtype=float)
    values = np.array([getattr(row, name) for row in rows], dtype=float)
    axes.plot(seconds, values, **style, linestyle="", markersize=4, alpha=0.3)
    middle = float(np.median(seconds))
    low, high = np.quantile(seconds, (0.16, 0.84))  # as far as one standard deviation
    axes.errorbar(
        middle,
        values.mean(),
        xerr=[[middle - low], [high - middle]],
        yerr=values.std(),
        **style,
        markersize=10,
        markeredgecolor="black",
        capsize=3,
        label=label,
        zorder=5,
    )


def _time(axes: Axes, seconds: Sequence[float]) -> None:
    """Label the axis of time; logarithmic where the times lie far apart."""
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    axes.set_xlabel("time of a run in s")
    if max(seconds) > 3 * min(seconds):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())


def _level(axes: Axes, value: float, label: str, line: str) -> None:
    """Draw a level that does not depend on time."""
    axes.axhline(value, color="0.35", linestyle=line, linewidth=1)
    _note(axes, label, (0, value))


def _blurred(axes: Axes, value: float) -> None:
    """Draw the level of the blurred images, or tell it where it lies far below the runs."""
    low, high = axes.get_ylim()
    if value > low - 0.15 * (high - low):
        _level(axes, value, "blurred", ":")
    else:
        axes.set_ylim(low, high)
        _note(axes, f"blurred: {value:.3g}, below", (0, low))


def _note(axes: Axes, text: str, at: tuple[float, float], right: bool = False) -> None:
    """Write just above a height, at the left or right end of the axes."""
    axes.annotate(
        text,
        at,
        (-4 if right else 4, 3),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="right" if right else "left",
        fontsize="small",
        color="0.35",
    )
