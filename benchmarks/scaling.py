"""Time of a step and peak memory against the size of the image and of the kernel.

    python benchmarks/scaling.py --presets fast balanced --output scaling

Each measurement has a process of its own. It is appended to ``scaling.csv`` as soon as it is known; a run
that was broken off goes on with what is missing. ``scaling.md`` and ``scaling.png`` are made of all of it.
"""

from __future__ import annotations

import argparse
import datetime
import sys
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

import napari_vdip
from napari_vdip.about import environment
from napari_vdip.benchmark.campaign import constants_of
from napari_vdip.benchmark.processes import call
from napari_vdip.benchmark.table import Table
from napari_vdip.errors import VdipError
from napari_vdip.options import PRESETS

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
MARKERS = "osD^"


@dataclass(frozen=True)
class Cost:
    """What one preset takes for one size of image and kernel.

    Attributes
    ----------
    preset, constants, version : str
        What was measured.
    device : str
        As asked for.
    threads : int
        Processor threads.
    image, kernel : int
        Side of the image and of the kernel, in px.
    seconds_per_step : float
        Mean over the schedule, each stage by the median of its steps.
    seconds : float
        The whole schedule.
    peak_mb : float
        Peak memory of the process, or on the GPU, in 10^6 bytes.
    machine, date : str
    """

    preset: str
    constants: str
    version: str
    device: str
    threads: int
    image: int
    kernel: int
    seconds_per_step: float
    seconds: float
    peak_mb: float
    machine: str
    date: str


def main() -> int:
    """Measure what is missing, then write table and plot."""
    given = arguments()
    given.output.mkdir(parents=True, exist_ok=True)
    table = Table(given.output / "scaling.csv", Cost)
    pairs = [(size, given.kernel_size) for size in given.sizes]
    pairs += [(given.size, kernel) for kernel in given.kernel_sizes]
    status = 0
    try:
        for preset in given.presets:
            for image, kernel in dict.fromkeys(pairs):
                status = max(status, measure(table, given, preset, image, kernel))
    except KeyboardInterrupt:
        print("interrupted; what is measured is kept", file=sys.stderr)
        status = 130
    costs = [cost for cost in table.records if is_wanted(cost, given)]
    if costs:
        text = page(costs, given, environment())
        (given.output / "scaling.md").write_text(text, encoding="utf-8")
        draw(costs, given).savefig(given.output / "scaling.png", dpi=130)
    return status


def arguments() -> argparse.Namespace:
    """Parse the words of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--presets", nargs="+", choices=list(PRESETS), default=["balanced"])
    parser.add_argument("--sizes", nargs="+", type=int, default=[128, 256, 512, 1024, 2048])
    parser.add_argument("--kernel-size", type=int, default=31, help="with the sizes (default: 31)")
    parser.add_argument("--kernel-sizes", nargs="+", type=int, default=[11, 17, 23, 31, 45, 61, 75])
    parser.add_argument("--size", type=int, default=256, help="with the kernel sizes (default: 256)")
    parser.add_argument("--steps", type=int, default=5, help="of each stage that are timed (default: 5)")
    parser.add_argument("--threads", type=int, help="default: all cores")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--output", type=Path, required=True)
    return parser.parse_args()


def is_wanted(cost: Cost, given: argparse.Namespace) -> bool:
    """Whether a measurement is one of this version, on this device, with these threads."""
    same = cost.version == napari_vdip.__version__ and cost.device == given.device
    threads = given.threads is None or cost.threads == given.threads
    return same and threads and cost.preset in given.presets and cost.constants == constants_of(cost.preset)


def measure(table: Table[Cost], given: argparse.Namespace, preset: str, image: int, kernel: int) -> int:
    """Measure one pair of sizes unless the table has it; an exit status."""
    known = [cost for cost in table.records if is_wanted(cost, given)]
    if any((cost.preset, cost.image, cost.kernel) == (preset, image, kernel) for cost in known):
        return 0
    task = {
        "do": "steps",
        "options": {"preset": preset, "device": given.device, "threads": given.threads},
        "shape": [image, image],
        "kernel_size": [kernel, kernel],
        "count": given.steps,
    }
    try:
        found = call(task, given.threads)
    except VdipError as error:
        print(f"{preset}, {image} px, kernel {kernel} px: {error}", file=sys.stderr)
        return error.exit_status
    cost = Cost(
        preset,
        constants_of(preset),
        napari_vdip.__version__,
        given.device,
        found["threads"],
        image,
        kernel,
        found["seconds"] / found["steps"],
        found["seconds"],
        found["peak_mb"],
        found["machine"],
        datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
    )
    table.append(cost)
    print(
        f"{preset}, {image} px, kernel {kernel} px: {1e3 * cost.seconds_per_step:.1f} ms a step, "
        f"{cost.peak_mb:.0f} MB",
        flush=True,
    )
    return 0


def along_image(costs: list[Cost], given: argparse.Namespace) -> list[Cost]:
    """Choose the measurements with the common kernel, by the size of the image."""
    return sorted((c for c in costs if c.kernel == given.kernel_size), key=lambda c: (c.preset, c.image))


def along_kernel(costs: list[Cost], given: argparse.Namespace) -> list[Cost]:
    """Choose the measurements with the common image, by the size of the kernel."""
    return sorted((c for c in costs if c.image == given.size), key=lambda c: (c.preset, c.kernel))


def page(costs: list[Cost], given: argparse.Namespace, facts: list[str]) -> str:
    """Write both tables as Markdown."""
    head = "| preset | px | ms a step | whole schedule s | peak MB |"
    rule = "| --- | --- | --- | --- | --- |"
    days = sorted({cost.date[:10] for cost in costs})
    threads = ", ".join(sorted({str(cost.threads) for cost in costs}))
    lines = ["# Cost against size", ""]
    lines += [f"* {line}" for line in (*facts, f"{costs[0].machine}, threads: {threads}, {', '.join(days)}")]
    lines += ["", f"## Side of the image, kernel {given.kernel_size} px", ""]
    lines += [f"{head} time, if linear in the pixels = 1 |", f"{rule} --- |"]
    for cost in along_image(costs, given):
        alike = [other for other in along_image(costs, given) if other.preset == cost.preset]
        base = next((other for other in alike if other.image == given.size), alike[0])
        growth = cost.seconds / base.seconds / (cost.image / base.image) ** 2
        lines += [row(cost, cost.image, f"{growth:.2f} (from {base.image} px)")]
    lines += ["", f"## Side of the kernel, image {given.size} px", "", head, rule]
    lines += [row(cost, cost.kernel) for cost in along_kernel(costs, given)]
    return "\n".join(lines) + "\n"


def row(cost: Cost, size: int, *more: str) -> str:
    """Write one line of a table."""
    cells = [cost.preset, str(size), f"{1e3 * cost.seconds_per_step:.1f}", f"{cost.seconds:.0f}"]
    return "| " + " | ".join([*cells, f"{cost.peak_mb:.0f}", *more]) + " |"


def draw(costs: list[Cost], given: argparse.Namespace) -> Figure:
    """Draw time and memory against both sizes, all axes logarithmic."""
    figure = Figure(figsize=(10, 7.5), layout="constrained")
    grid = figure.subplots(2, 2, sharex="col", sharey="row")
    columns = (
        (along_image(costs, given), "image", f"side of the image in px (kernel {given.kernel_size} px)"),
        (along_kernel(costs, given), "kernel", f"side of the kernel in px (image {given.size} px)"),
    )
    for column, (chosen, size, title) in enumerate(columns):
        for line, (name, factor) in enumerate((("seconds_per_step", 1e3), ("peak_mb", 1.0))):
            axes = grid[line][column]
            for number, preset in enumerate(given.presets):
                of_preset = [cost for cost in chosen if cost.preset == preset]
                axes.plot(
                    [getattr(cost, size) for cost in of_preset],
                    [factor * getattr(cost, name) for cost in of_preset],
                    color=COLOURS[number % len(COLOURS)],
                    marker=MARKERS[number % len(MARKERS)],
                    label=preset,
                )
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.grid(alpha=0.25)
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                axis.set_major_formatter(ScalarFormatter())
                axis.set_minor_formatter(NullFormatter())
        axes = grid[1][column]
        axes.set_xlabel(title)
        sizes = sorted({getattr(cost, size) for cost in chosen})
        axes.set_xticks(sizes, [str(n) for n in sizes])
        axes.set_xticks([], minor=True)
    grid[0][0].set_ylabel("time of a step in ms")
    grid[1][0].set_ylabel("peak memory in MB")
    linear = [cost for cost in along_image(costs, given) if cost.preset == given.presets[0]]
    if linear:
        first = 1e3 * linear[0].seconds_per_step
        ideal = [first * (cost.image / linear[0].image) ** 2 for cost in linear]
        at = [cost.image for cost in linear]
        grid[0][0].plot(at, ideal, color="0.4", linestyle=":", label="linear in the pixels")
    grid[0][0].legend(frameon=False)
    return figure


if __name__ == "__main__":
    raise SystemExit(main())
