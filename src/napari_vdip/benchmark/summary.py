"""``summary.md``: the rows of a benchmark as Markdown tables that can be read without any tool."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from napari_vdip.about import environment
from napari_vdip.benchmark.campaign import REFERENCES, RESULTS
from napari_vdip.benchmark.figures import FAILURE, LEVELS
from napari_vdip.benchmark.table import Reference, Row, Table
from napari_vdip.files import atomic
from napari_vdip.options import PRESETS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

SUMMARY = "summary.md"


def write(output: Path, command: str) -> list[Path]:
    """Write the summary of a folder with ``results.csv``.

    Parameters
    ----------
    output : Path
    command : str
        What was called, to be told.

    Returns
    -------
    list of Path
        The file; empty if there is no row yet.
    """
    rows = latest(Table(output / RESULTS, Row).records)
    if not rows:
        return []
    references = {reference.case: reference for reference in Table(output / REFERENCES, Reference).records}
    target = output / SUMMARY
    with atomic(target) as part:
        part.write_text(text_of(rows, references, command), encoding="utf-8")
    return [target]


def latest(rows: Iterable[Row]) -> list[Row]:
    """One row a run: the last one, as a run that failed may have been repeated."""
    return list({row.key: row for row in rows}.values())


def groups(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Rows by preset and method, and by all else that they differ in, under a name that tells it.

    Presets come in the order of their declaration, a preset's own method before its baselines.
    """
    presets = list(PRESETS)

    def place(row: Row) -> tuple[Any, ...]:
        known = row.preset in PRESETS  # a table may be older than this version
        own = known and row.method == PRESETS[row.preset].method
        return (
            presets.index(row.preset) if known else len(presets),
            not own,
            row.preset,
            row.method,
            *_facts(row).values(),
            row.case,
            row.seed,
        )

    rows = sorted(rows, key=place)
    telling: dict[str, list[str]] = {}
    for preset in {row.preset for row in rows}:
        facts = [_facts(row) for row in rows if row.preset == preset]
        telling[preset] = [name for name in facts[0] if len({fact[name] for fact in facts}) > 1]
    found: dict[str, list[Row]] = {}
    for row in rows:
        facts_of_row = _facts(row)
        words = [row.preset, row.method, *(facts_of_row[name] for name in telling[row.preset])]
        found.setdefault(", ".join(words), []).append(row)
    return found


def _facts(row: Row) -> dict[str, str]:
    """All that runs of one preset and method may differ in, beside image and seed, for people."""
    return {
        "iterations": f"{row.iterations or 'its own'} iterations",
        "noise": f"{row.noise} noise",
        "device": row.device,
        "version": f"version {row.version}",
        "constants": f"constants {row.constants}",
        "kernel_size": "kernel size auto" if row.kernel_size == "auto" else "kernel size known",
    }


def text_of(rows: Sequence[Row], references: dict[str, Reference], command: str) -> str:
    """Write the whole page."""
    done = [row for row in rows if row.error is None]
    dates = sorted(row.date for row in rows if row.date)
    threads = sorted({str(row.threads) for row in done})
    head = [
        "# Benchmark",
        "",
        "```",
        command,
        "```",
        "",
        f"* Runs: {len(rows)} of {len({row.case for row in rows})} images, {_span(dates)}",
        f"* Device: {'; '.join(sorted({str(row.machine) for row in done}))}; threads: {', '.join(threads)}",
        *(f"* {line}" for line in environment()),
        "",
    ]
    named = groups(rows)
    parts = [
        _section("Quality and cost", _quality(named, references)),
        _section("Uncertainty", _uncertainty(named)),
        _section("PSNR of each image in dB", _images(named, references)),
        _section("Runs that ended in an error", _errors(rows)),
    ]
    return "\n".join(head) + "\n" + "\n".join(part for part in parts if part)


def share_text(share: float) -> str:
    """Write a share of time as issues and papers do: 1/52, or 0.4 above a half."""
    return f"1/{1 / share:.0f}" if share < 0.5 else f"{share:.1f}"


def _quality(named: dict[str, list[Row]], references: dict[str, Reference]) -> list[list[str]]:
    """Lines of the first table: what is put in, what can be reached, what each preset reaches."""
    head = ["", "runs", "PSNR dB", "SSIM", "gain dB", "error ratio", "kernel similarity"]
    head += [
        f"failures (gain under {FAILURE:g} dB)",
        "median s",
        "s a step",
        "share of `paper`'s time",
        "peak MB",
    ]
    rows = [row for group in named.values() for row in group if row.error is None]
    images = {row.case: row for row in rows}
    known = [references[case] for case in images if case in references]
    empty = [""] * 8
    lines = [head]
    lines += [
        [
            "blurred",
            "",
            _mean(images.values(), "psnr_blurred", 2),
            _mean(images.values(), "ssim_blurred", 3),
            *empty,
        ]
    ]
    if known and len(known) == len(images):
        psnr, ssim = (statistics.mean(getattr(one, name) for one in known) for name in ("psnr", "ssim"))
        lines += [["known kernel, classical", "", f"{psnr:.2f}", f"{ssim:.3f}", *empty]]
    for name, group in named.items():
        done = [row for row in group if row.error is None]
        failures = sum(row.gain is None or row.gain < FAILURE for row in group)
        lines += [
            [
                name,
                str(len(group)),
                _mean(done, "psnr", 2) + _over_seeds(done),
                _mean(done, "ssim", 3),
                _mean(done, "gain", 2),
                _mean(done, "error_ratio", 2),
                _mean(done, "kernel_similarity", 3),
                f"{failures} of {len(group)}",
                _median(done, "seconds", 1),
                _median(done, "seconds_per_step", 3),
                share_text(statistics.median(shares)) if (shares := _values(done, "share")) else "",
                f"{max(peaks):.0f}" if (peaks := _values(done, "peak_mb")) else "",
            ]
        ]
    return lines


def _uncertainty(named: dict[str, list[Row]]) -> list[list[str]]:
    """Lines of the second table: means of the figures of the uncertainty."""
    head = ["", "within 50 %", "68 %", "90 %", "95 %", "AUSE", "of the gradient", "ratio"]
    lines = [[*head, "rank correlation", "ENCE"]]
    for name, group in named.items():
        done = [row for row in group if row.ause is not None]
        if not done:
            continue
        levels = [_mean(done, f"coverage_{level}", 3) for level in LEVELS]
        ause, gradient = (statistics.mean(_values(done, figure)) for figure in ("ause", "ause_gradient"))
        ratio = f"{ause / gradient:.2f}" if gradient > 0 else ""
        rest = [_mean(done, "rank_correlation", 3), _mean(done, "ence", 3)]
        lines += [[name, *levels, f"{ause:.3f}", f"{gradient:.3f}", ratio, *rest]]
    return lines


def _images(named: dict[str, list[Row]], references: dict[str, Reference]) -> list[list[str]]:
    """Lines of the third table: PSNR of each image, mean and range of its seeds."""
    lines = [["image", "kernel px", "blurred", "known kernel", *named]]
    for case in sorted({row.case for group in named.values() for row in group}):
        of_case = {name: [row for row in group if row.case == case] for name, group in named.items()}
        done = [row for group in of_case.values() for row in group if row.error is None]
        sizes = sorted({str(row.kernel_px) for row in done})
        known = f"{references[case].psnr:.2f}" if case in references else ""
        cells = [_range(_values(group, "psnr")) for group in of_case.values()]
        lines += [[case, ", ".join(sizes), _mean(done, "psnr_blurred", 2), known, *cells]]
    return lines


def _errors(rows: Sequence[Row]) -> list[list[str]]:
    """Lines of the last table."""
    head = ["image", "preset", "method", "seed", "error"]
    return [head] + [[r.case, r.preset, r.method, str(r.seed), r.error] for r in rows if r.error]


def _section(title: str, lines: list[list[str]]) -> str:
    """Write a table under its title; nothing if it has a head only."""
    if len(lines) < 2:
        return ""
    rule = ["---"] * len(lines[0])
    told = "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |"
        for line in [lines[0], rule, *lines[1:]]
    )
    return f"## {title}\n\n{told}\n"


def _values(rows: Iterable[Row], figure: str) -> list[float]:
    """Values of a figure, where there is one."""
    return [float(value) for row in rows if (value := getattr(row, figure)) is not None]


def _mean(rows: Iterable[Row], figure: str, digits: int) -> str:
    values = _values(rows, figure)
    return f"{statistics.mean(values):.{digits}f}" if values else ""


def _median(rows: Iterable[Row], figure: str, digits: int) -> str:
    values = _values(rows, figure)
    return f"{statistics.median(values):.{digits}f}" if values else ""


def _over_seeds(rows: Sequence[Row]) -> str:
    """Write the standard deviation of the seeds' means, where each seed has all images."""
    seeds = {row.seed for row in rows}
    means = [_values([row for row in rows if row.seed == seed], "psnr") for seed in seeds]
    if len(seeds) < 2 or len({len(values) for values in means}) > 1:
        return ""
    return f" ± {statistics.stdev(statistics.mean(values) for values in means):.2f}"


def _range(values: Sequence[float]) -> str:
    """Write one value, or the mean of several with their range."""
    if len(values) < 2:
        return f"{values[0]:.2f}" if values else ""
    return f"{statistics.mean(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def _span(dates: Sequence[str]) -> str:
    """Write the days from the first to the last date."""
    days = sorted({date[:10] for date in dates})
    return " to ".join(dict.fromkeys((days[0], days[-1]))) if days else "no date"
